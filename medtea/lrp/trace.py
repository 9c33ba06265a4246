"""A network as the list of operators it is made of, by torch.export (ATen operators, batch size left open).

Parameters and buffers are looked up in the live network at every call: nothing is copied, gradients reach the
network's own parameters, and optimiser steps or load_state_dict need no new trace. Python branches of the network are
fixed as eval mode takes them; what depends on train mode (batch norm, dropout) asks its module at every call.
"""

from __future__ import annotations

import operator as arithmetic
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.export.graph_signature import InputKind

from medtea.core.errors import UsageError
from medtea.lrp.rules import GETITEM, RULES, Step
from medtea.lrp.rules.products import Dropout, Multiply
from medtea.lrp.rules.shapes import Expand, Permute, Reshape, Same, Select, Slice, Transpose

# Give several tensors, each of which is a range or an index of the input.
SPLITS = {"aten.chunk.default", "aten.split.Tensor", "aten.split_with_sizes.default", "aten.unbind.int"}
# A gate stays one when its values are only handed on in another shape.
HANDED_ON = (Reshape, Expand, Permute, Transpose, Select, Slice, Same, Dropout)
# Asked of a tensor's shape, not of its values: nothing flows back through these.
SIZES = {"aten.sym_size.int", "aten.sym_numel.default"}
CHECKS = {"aten._assert_tensor_metadata.default", "aten._assert_scalar.default", "aten._assert_async.msg"}


@dataclass(frozen=True)
class Ref:
    """Stands in an operator's arguments for a value computed earlier, or a parameter."""

    name: str


@dataclass(frozen=True)
class Operator:
    """One operator of the network.

    `step` is its rule, None where the value does not depend on the radiograph. `inputs` are the values that get a G,
    in the order of the rule's `adjoint` (None: a parameter, a number or a gate). `gated`: one of them is a gate.
    `bends`: the way back depends on activations other than by a mask. `by_radiograph`: the first dimension of its value
    counts radiographs. `finished` are values no later operator reads.
    """

    name: str
    target: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    paths: tuple[str, ...]
    module: nn.Module
    step: type[Step] | None
    inputs: tuple[str | None, ...] = ()
    gated: bool = False
    bends: bool = False
    by_radiograph: bool = True
    finished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trace:
    """The operators in order, the names of what goes in and out, and where the live tensors are."""

    operators: tuple[Operator, ...]
    radiograph: str
    logits: str
    classes: int
    shape: tuple[int, ...]
    tensors: dict[str, tuple[nn.Module, str]]
    constants: dict[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """The network's parameters and buffers as they are now, by their name in the trace."""
        return {name: getattr(owner, leaf) for name, (owner, leaf) in self.tensors.items()} | self.constants

    def layers(self) -> dict[str, str]:
        """Module path -> name of the last value that module computed from the radiograph."""
        return {path: op.name for op in self.operators if op.step is not None for path in op.paths if path}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def trace(network: nn.Module, example: Tensor) -> Trace:
    """The operators of `network` for radiographs shaped as `example`, whatever the batch size.

    Raises:
        UsageError: the network cannot be traced, has an operator without a rule, or does not return (batch, K) logits.
    """
    try:
        # Two radiographs: torch.export takes a batch of one for a constant.
        batch = example.detach()[:1].expand(2, *example.shape[1:]).contiguous()
        with evaluating(network):
            exported = torch.export.export(network, (batch,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False)
    except Exception as error:  # torch.export has no common error class
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"The network cannot be traced by torch.export, which says: {reason}") from error
    return _read(network, exported, tuple(example.shape[1:]))


def _read(network: nn.Module, exported: torch.export.ExportedProgram, shape: tuple[int, ...]) -> Trace:
    tensors: dict[str, tuple[nn.Module, str]] = {}
    constants: dict[str, Any] = {}
    radiograph = ""
    for spec in exported.graph_signature.input_specs:
        name = spec.arg.name
        if spec.kind is InputKind.USER_INPUT:
            radiograph = name
            continue
        found = _find(network, str(spec.target))
        if found is None:
            constants[name] = exported.constants[str(spec.target)]
        else:
            tensors[name] = found
    placeholder = next(node for node in exported.graph.nodes if node.name == radiograph)
    reader = _Reader(network, radiograph, str(placeholder.meta["val"].shape[0]))
    for node in exported.graph.nodes:
        # A pool's positions are listed even when nobody reads them.
        unread = str(node.target) == GETITEM and not node.users
        if node.op == "call_function" and str(node.target) not in CHECKS and not unread:
            reader.add(node)
    outputs = exported.graph.output_node().all_input_nodes
    found_logits = [
        node
        for node in outputs
        if isinstance(node.meta["val"], Tensor) and node.meta["val"].ndim == 2 and node.name in reader.flowing
    ]
    if len(found_logits) != 1:
        raise UsageError(
            "The network must return one tensor of logits, (batch, classes), alone or beside tensors of other shapes. "
            "Wrap it in one that does."
        )
    last = found_logits[0]
    logits = reader.current.get(last.name, last.name)
    operators = _with_lifetimes(reader.operators, logits)
    return Trace(operators, radiograph, logits, int(last.meta["val"].shape[1]), shape, tensors, constants)


class _Reader:
    """Turns graph nodes into operators; follows which values depend on the radiograph and which share memory."""

    def __init__(self, network: nn.Module, radiograph: str, batch: str) -> None:
        self.batch = batch  # the batch size as the trace writes it
        self.modules = dict(network.named_modules(remove_duplicate=False))
        self.operators: list[Operator] = []
        self.flowing = {radiograph}
        self.gates: set[str] = set()
        self.splits: dict[str, fx.Node] = {}
        self.current: dict[str, str] = {}  # overwritten in place -> the value that replaced it
        self.memory: dict[str, str] = {}  # a view -> the value whose memory it shows
        self.stale: dict[str, str] = {}  # a view of overwritten memory -> the operator that overwrote it

    def add(self, node: fx.Node) -> None:
        """Read one more node."""
        if str(node.target) in SPLITS:
            self.splits[node.name] = node
            return
        target, arguments, named = node.target, self._refs(node.args), self._refs(node.kwargs)
        if str(target) == GETITEM and isinstance(node.args[0], fx.Node) and node.args[0].name in self.splits:
            target, arguments = self._part(self.splits[node.args[0].name], int(arguments[1]))
        paths = tuple(path for path in _paths(node) if path in self.modules)
        where = place(paths)
        for name in _names((arguments, list(named.values()))):
            if name in self.stale:
                raise UsageError(
                    f"In {where}, {target} reads a view that {self.stale[name]} has overwritten in place. "
                    "Write that operation out of place."
                )
        flows = any(name in self.flowing for name in _names((arguments, list(named.values()))))
        step = self._rule(str(target), arguments, named, where) if flows and str(target) not in SIZES else None
        inputs: tuple[str | None, ...] = ()
        gated = bends = False
        if step is not None:
            self.flowing.add(node.name)
            inputs = tuple(self._flat(arguments, step))
            flowing = [name for name in inputs if name is not None]
            bends = step.bends(len(flowing))
            if step is Multiply and len(flowing) == 2 and (inputs[0] in self.gates) != (inputs[1] in self.gates):
                gated, inputs = True, tuple(None if name in self.gates else name for name in inputs)
            if step.is_gate or (issubclass(step, HANDED_ON) and inputs[0] in self.gates):
                self.gates.add(node.name)
            self._share(node, target, arguments, step)
        module = self.modules[paths[-1] if paths else ""]
        assert callable(target)
        value = node.meta.get("val")
        by_radiograph = isinstance(value, Tensor) and value.ndim > 0 and str(value.shape[0]) == self.batch
        self.operators.append(
            Operator(node.name, target, arguments, named, paths, module, step, inputs, gated, bends, by_radiograph)
        )

    def _part(self, split: fx.Node, index: int) -> tuple[Any, tuple[Any, ...]]:
        """One tensor of a split, as the operator that takes it from the whole."""
        whole, *rest = self._refs(split.args)
        unbound = str(split.target) == "aten.unbind.int"
        given = rest if unbound else rest[1:]
        dim: Any = given[0] if given else split.kwargs.get("dim", 0)
        if unbound:
            return torch.ops.aten.select.int, (whole, dim, index)
        sizes = [part.shape[dim] for part in split.meta["val"]]
        start = sum(sizes[:index])
        return torch.ops.aten.slice.Tensor, (whole, dim, start, start + sizes[index])

    def _rule(self, target: str, arguments: tuple[Any, ...], named: dict[str, Any], where: str) -> type[Step]:
        if target not in RULES:
            known = ", ".join(sorted({name.split(".")[1].rstrip("_") for name in RULES if name != GETITEM}))
            raise UsageError(
                f"Operator {target!r} in {where} has no relevance rule. Rules exist for: {known}. "
                "Replace the operator, or add a rule to medtea/lrp/rules."
            )
        step = RULES[target]
        allowed = set(_names([a for i, a in enumerate(arguments) if i in step.reads]))
        others = _names(([a for i, a in enumerate(arguments) if i not in step.reads], list(named.values())))
        for name in others:
            if name in self.flowing:
                raise UsageError(
                    f"Operator {target!r} in {where} divides by, or is steered by, a second value that depends on the "
                    "radiograph; relevance has no rule for that. Replace the operator."
                )
        if not allowed & self.flowing:
            raise UsageError(f"Operator {target!r} in {where} takes the radiograph in a place without a rule.")
        if target == "aten.pad.default" and len(arguments) > 2 and arguments[2] != "constant":
            raise UsageError(f"Operator {target!r} in {where} pads by {arguments[2]!r}; a rule exists for 'constant'.")
        if target == GETITEM and arguments[1] != 0:
            raise UsageError(f"The positions kept by the pool in {where} are used as values; they have no relevance.")
        return step

    def _flat(self, arguments: tuple[Any, ...], step: type[Step]) -> Iterator[str | None]:
        for position in step.reads:
            argument = arguments[position]
            for item in argument if isinstance(argument, list | tuple) else [argument]:
                yield item.name if isinstance(item, Ref) and item.name in self.flowing else None

    def _share(self, node: fx.Node, target: Any, arguments: tuple[Any, ...], step: type[Step]) -> None:
        schema = getattr(target, "_schema", None)
        first = arguments[0]
        if not isinstance(first, Ref) or schema is None:
            return
        root = self.memory.get(first.name, first.name)
        if schema.is_mutable:
            family = {root} | {name for name, r in self.memory.items() if r == root}
            self.stale |= {name: str(target) for name in family - {first.name}}
            self.current[first.name] = node.name
        elif any(r.alias_info for r in schema.returns) or issubclass(step, Same | Dropout):
            self.memory[node.name] = root

    def _refs(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            name = argument.name
            while name in self.current:
                name = self.current[name]
            return Ref(name)
        if isinstance(argument, dict):
            return {key: self._refs(value) for key, value in argument.items()}
        if isinstance(argument, list | tuple):
            return tuple(self._refs(item) for item in argument)
        return argument


def place(paths: Sequence[str]) -> str:
    """Where an operator ran, for messages, from the paths of its modules."""
    return f"module {paths[-1]!r}" if paths and paths[-1] else "the network itself"


def fill(argument: Any, values: dict[str, Any]) -> Any:
    """An operator's argument with the values put in."""
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, tuple):
        return [fill(item, values) for item in argument]
    return argument


def _names(argument: Any) -> Iterator[str]:
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, list | tuple):
        for item in argument:
            yield from _names(item)


def _paths(node: fx.Node) -> tuple[str, ...]:
    """Paths of the modules the operator ran in, outermost first; a module's second call is marked "@1" by export."""
    stack = node.meta.get("nn_module_stack") or {}
    return tuple(re.sub(r"@\d+", "", path) for path, _kind in stack.values())


def _find(network: nn.Module, path: str) -> tuple[nn.Module, str] | None:
    """The module that holds a tensor, and the tensor's name there."""
    *way, leaf = path.split(".")
    try:
        owner = arithmetic.attrgetter(".".join(way))(network) if way else network
    except AttributeError:
        return None
    return (owner, leaf) if hasattr(owner, leaf) else None


def _with_lifetimes(operators: Sequence[Operator], logits: str) -> tuple[Operator, ...]:
    """The operators, each told which values nobody reads after it, so that memory can be given back."""
    read = {logits}
    finished = []
    for op in reversed(operators):
        mine = {*_names((op.arguments, list(op.named.values()))), op.name}
        finished.append(tuple(mine - read))
        read |= mine
    return tuple(replace(op, finished=names) for op, names in zip(operators, reversed(finished), strict=True))
