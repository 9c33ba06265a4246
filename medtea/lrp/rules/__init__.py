"""One rule per ATen operator: what it computes, and how relevance per unit of input goes back through it.

Letters of the papers: a is an activation, z what it is made from, G = R / a its relevance per unit ("modified
gradient"), ε the stabiliser. LRP-ε written for the modified gradient (LRP-Flex): every linear operator sends G back
through its transpose, biases included in the forward alone, and a ReLU multiplies G by a / (a + ε). ε = 0 is
gradient × input.

Every adjoint is made of ordinary differentiable operators, so a loss on heatmaps needs a first-order backward only.
A new operator is one more `Step` in one of these files and one line of `RULES`.

    step.py         what a rule is          linear.py     convolution, fully connected: ε, z+, z^B
    activations.py  ReLU, SiLU, softmax     norms.py      batch, layer, group, instance and RMS norm
    pools.py        pools and means         sums.py       residual sums, concatenation, borders
    products.py     gates, attention        shapes.py     other shapes, orders and selections
"""

from __future__ import annotations

from medtea.lrp.rules.activations import (
    Clamp,
    Gelu,
    Hardsigmoid,
    Hardswish,
    LeakyRelu,
    ParametricRelu,
    Relu,
    Relu6,
    Silu,
    Slope,
    Softmax,
    Tanh,
)
from medtea.lrp.rules.linear import AddMatrixProduct, Convolution, Linear
from medtea.lrp.rules.norms import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RootMeanSquareNorm
from medtea.lrp.rules.pools import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    AveragePool,
    MaxPool,
    Mean,
    Sum,
)
from medtea.lrp.rules.products import (
    Attention,
    ChannelDropout,
    Divide,
    Dropout,
    Einsum,
    MatrixProduct,
    Multiply,
)
from medtea.lrp.rules.shapes import (
    Expand,
    Flatten,
    MatrixTranspose,
    Permute,
    Reshape,
    Same,
    Select,
    Slice,
    Squeeze,
    Transpose,
    Unflatten,
    Unsqueeze,
)
from medtea.lrp.rules.step import Setting, Step
from medtea.lrp.rules.sums import Add, Concatenate, Pad, Subtract

__all__ = ["GETITEM", "RULES", "Setting", "Step"]

# Takes the values, item 0, of an adaptive max pool's (values, positions).
GETITEM = "<built-in function getitem>"

RULES: dict[str, type[Step]] = {
    "aten.conv1d.default": Convolution,
    "aten.conv1d.padding": Convolution,
    "aten.conv2d.default": Convolution,
    "aten.conv2d.padding": Convolution,
    "aten.conv3d.default": Convolution,
    "aten.conv3d.padding": Convolution,
    "aten.linear.default": Linear,
    "aten.addmm.default": AddMatrixProduct,
    "aten.batch_norm.default": BatchNorm,
    "aten.layer_norm.default": LayerNorm,
    "aten.rms_norm.default": RootMeanSquareNorm,
    "aten.group_norm.default": GroupNorm,
    "aten.instance_norm.default": InstanceNorm,
    "aten.relu.default": Relu,
    "aten.relu_.default": Relu,
    "aten.leaky_relu.default": LeakyRelu,
    "aten.leaky_relu_.default": LeakyRelu,
    "aten.prelu.default": ParametricRelu,
    "aten.hardtanh.default": Clamp,
    "aten.hardtanh_.default": Clamp,
    "aten.relu6.default": Relu6,
    "aten.relu6_.default": Relu6,
    "aten.silu.default": Silu,
    "aten.silu_.default": Silu,
    "aten.gelu.default": Gelu,
    "aten.hardswish.default": Hardswish,
    "aten.hardswish_.default": Hardswish,
    "aten.tanh.default": Tanh,
    "aten.sigmoid.default": Slope,
    "aten.sigmoid_.default": Slope,
    "aten.hardsigmoid.default": Hardsigmoid,
    "aten.hardsigmoid_.default": Hardsigmoid,
    "aten.softmax.int": Softmax,
    "aten.max_pool1d.default": MaxPool,
    "aten.max_pool2d.default": MaxPool,
    "aten.max_pool3d.default": MaxPool,
    "aten.adaptive_max_pool1d.default": AdaptiveMaxPool,
    "aten.adaptive_max_pool2d.default": AdaptiveMaxPool,
    "aten.adaptive_max_pool3d.default": AdaptiveMaxPool,
    "aten.avg_pool1d.default": AveragePool,
    "aten.avg_pool2d.default": AveragePool,
    "aten.avg_pool3d.default": AveragePool,
    "aten.adaptive_avg_pool1d.default": AdaptiveAveragePool,
    "aten.adaptive_avg_pool2d.default": AdaptiveAveragePool,
    "aten.adaptive_avg_pool3d.default": AdaptiveAveragePool,
    "aten.mean.dim": Mean,
    "aten.sum.dim_IntList": Sum,
    "aten.add.Tensor": Add,
    "aten.add_.Tensor": Add,
    "aten.sub.Tensor": Subtract,
    "aten.sub_.Tensor": Subtract,
    "aten.mul.Tensor": Multiply,
    "aten.mul_.Tensor": Multiply,
    "aten.div.Tensor": Divide,
    "aten.div_.Tensor": Divide,
    "aten.matmul.default": MatrixProduct,
    "aten.bmm.default": MatrixProduct,
    "aten.einsum.default": Einsum,
    "aten.scaled_dot_product_attention.default": Attention,
    "aten.cat.default": Concatenate,
    "aten.view.default": Reshape,
    "aten.reshape.default": Reshape,
    "aten.unflatten.int": Unflatten,
    "aten.flatten.using_ints": Flatten,
    "aten.squeeze.dim": Squeeze,
    "aten.squeeze.dims": Squeeze,
    "aten.unsqueeze.default": Unsqueeze,
    "aten.permute.default": Permute,
    "aten.transpose.int": Transpose,
    "aten.mT.default": MatrixTranspose,
    "aten.t.default": MatrixTranspose,
    "aten.expand.default": Expand,
    "aten.select.int": Select,
    "aten.slice.Tensor": Slice,
    "aten.pad.default": Pad,
    "aten.constant_pad_nd.default": Pad,
    GETITEM: Same,
    "aten.clone.default": Same,
    "aten.contiguous.default": Same,
    "aten.alias.default": Same,
    "aten.dropout.default": Dropout,
    "aten.dropout_.default": Dropout,
    "aten.feature_dropout.default": ChannelDropout,
    "aten.feature_dropout_.default": ChannelDropout,
}
