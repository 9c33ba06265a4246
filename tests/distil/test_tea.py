"""TEA's settings: layers, weights, distances, scales, and a student of another architecture than its teacher's."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from oracles.doubles import in_double
from oracles.made_batches import LAYERS, small_network
from oracles.slopes import assert_gradient_is_the_slope
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from medtea.core.errors import ConfigError
from medtea.core.names import BIASES, INPUT, Field
from medtea.data.loader import Batch
from medtea.distil.methods import tea
from medtea.distil.methods.method import on_one_grid, paired_layers
from medtea.lrp import HeatmapPass, cosine_distance, heatmap_energy_distance


def loss_of(batch: Batch | None = None, *, logits: int = 1, **options: Any) -> float:
    method, made = in_double("tea", logits=logits, **options)
    found: float = method.loss(batch or made).item()
    return found


@cache
def of_each_map() -> dict[str, float]:
    """The distance at each of the maps: a loss of one layer beside the input is the mean of the two."""
    at_input = loss_of(layers="input")
    return {INPUT: at_input} | {layer: 2 * loss_of(layers=[layer]) - at_input for layer in LAYERS}


def with_maps(batch: Batch, maps: dict[str, Tensor]) -> Batch:
    return Batch(batch.rows, batch._fields, maps, epsilon=batch._epsilon, cotangent=batch._cotangent)


def test_named_layers_are_matched_beside_the_input_in_whatever_order() -> None:
    each = of_each_map()
    assert loss_of(layers="all") == pytest.approx(sum(each.values()) / len(each))
    some = (each[INPUT] + each[LAYERS[0]] + each[LAYERS[2]]) / 3
    assert loss_of(layers=[LAYERS[0], LAYERS[2]]) == pytest.approx(some)
    assert loss_of(layers=[LAYERS[2], LAYERS[0]]) == pytest.approx(some)
    assert len(set(each.values())) == len(each)


def test_weights_are_of_the_maps_from_the_input_on_and_of_the_biases_one() -> None:
    each, first = of_each_map(), LAYERS[0]
    assert loss_of(layers=[first], weights=[3, 1]) == pytest.approx((3 * each[INPUT] + each[first]) / 4)
    assert loss_of(layers="input", weights=[7]) == pytest.approx(each[INPUT]), "they are a mean"
    of_biases = 2 * loss_of(layers="input", biases=True) - each[INPUT]
    assert loss_of(layers="input", biases=True, weights=[3]) == pytest.approx((3 * each[INPUT] + of_biases) / 4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": ["stage9"]}, r"distil\.tea\.options\.layers: no map of 'stage9' is stored\..*Did you mean 'stage"),
        ({"layers": [INPUT]}, "no map of 'input' is stored"),
        ({"layers": ["stem"], "weights": [1.0]}, r"weights: 1 weights for 2 maps, the input's first, stem\."),
        ({"layers": "input", "weights": [1.0, 1.0]}, "2 weights for 1 maps, the input's first"),
        ({"layers": "input", "weights": [0.0]}, "weights.*greater than 0"),
        ({"scales": 0}, "scales.*greater than or equal to 1"),
    ],
)
def test_layers_and_weights_that_do_not_fit_are_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        in_double("tea", **options)


@pytest.mark.parametrize("logits", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"distance": "cosine"},
        {"layers": ["stage2"], "weights": [2, 1], "scales": 3},
        {"distance": "published", "layers": "input"},
    ],
)
def test_the_gradient_in_the_weights_is_that_of_central_differences(options: dict[str, Any], logits: int) -> None:
    method, batch = in_double("tea", logits=logits, **options)
    assert assert_gradient_is_the_slope(method.network, lambda: method.loss(batch), tensors=4) > 1e-2


def test_a_cosine_leaves_each_radiographs_scale_free_and_not_its_sign() -> None:
    method, batch = in_double("tea", distance="cosine")
    loss = method.loss(batch).item()
    factors = torch.tensor([0.5, 1, 3, 40]).double()[:, None, None, None]
    maps = {layer: found for layer, found in batch.teacher_heatmaps.items() if layer != BIASES}
    scaled = with_maps(batch, {layer: found * factors for layer, found in maps.items()})
    turned = with_maps(batch, {layer: -found for layer, found in maps.items()})
    assert method.loss(scaled).item() == pytest.approx(loss)
    assert method.loss(turned).item() == pytest.approx(2 - loss)
    energy, _ = in_double("tea", distance="energy")
    assert energy.loss(scaled).item() != pytest.approx(energy.loss(batch).item(), rel=1e-2)


def test_scales_compare_the_maps_average_pooled_as_well() -> None:
    method, batch = in_double("tea", layers="input", scales=3)
    found = HeatmapPass(method.network, batch.radiograph, [])(batch.radiograph, batch.heatmap_cotangent).maps[INPUT]
    wanted = batch.teacher_heatmaps[INPUT]
    pooled = [(avg_pool2d(found, size), avg_pool2d(wanted, size)) for size in (1, 2, 4)]
    distances = [heatmap_energy_distance(*pair).item() for pair in pooled]
    assert method.loss(batch).item() == pytest.approx(sum(distances) / 3)
    assert loss_of(layers="input", distance="cosine", scales=2) == pytest.approx(
        sum(cosine_distance(*pair).item() for pair in pooled[:2]) / 2
    )


def test_scales_end_where_a_side_would_have_less_than_two_pixels() -> None:
    # 16 pixels are pooled to 8, 4 and 2
    assert loss_of(layers="input", scales=4) == loss_of(layers="input", scales=6)
    assert loss_of(layers="input", scales=3) != loss_of(layers="input", scales=4)
    assert loss_of(layers="input", distance="published", scales=1) == loss_of(
        layers="input", distance="published", scales=6
    ), "the published distance has its own scales"


# ---- another architecture


class TwoLayers(nn.Module):
    """Two layers, of 16 and of 8 pixels, with a head as wide as the teacher's."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU())
        self.late = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.late(self.early(x)).mean((2, 3)))
        return logits


def of_another_architecture(**options: Any) -> tuple[tea.Method, Batch]:
    """A student of two layers for the teacher of five, whose sides are 16, 8, 4, 2 and 1."""
    like, batch = in_double("tea")
    torch.manual_seed(5)
    network = TwoLayers().double().eval()
    context = dataclasses.replace(like.context, layers=("early", "late"))
    return tea.Method(network, network.head, tea.Settings(**options), context), batch


def test_a_layer_is_paired_with_the_one_of_the_nearest_side() -> None:
    _, batch = in_double("tea")
    teacher = {layer: batch.teacher_heatmaps[layer] for layer in LAYERS}
    assert [found.shape[-1] for found in teacher.values()] == [16, 8, 4, 2, 1]
    student = {"early": torch.zeros(1, 3, 16, 16), "late": torch.zeros(1, 4, 8, 8)}
    assert paired_layers(student, teacher) == [("early", "stem"), *(("late", layer) for layer in LAYERS[1:])]


def test_layers_pair_by_the_ratio_of_sides_and_of_two_as_near_by_depth() -> None:
    def maps(**sides: int) -> dict[str, Tensor]:
        return {layer: torch.zeros(1, 1, side, side) for layer, side in sides.items()}

    # 8 is twice 4 and half of 16; the difference of sides alone would say 4
    assert paired_layers(maps(a=16, b=4), maps(x=8)) == [("b", "x")]
    assert paired_layers(maps(a=16, b=16, c=4), maps(x=14)) == [("b", "x")]
    assert paired_layers(maps(a=28, b=9), maps(x=16)) == [("a", "x")], "28/16 is 1.75 and 16/9 is 1.78"
    assert paired_layers(maps(a=4, b=4), maps(a=8, b=2)) == [("a", "a"), ("b", "b")], "of one architecture by name"


def test_maps_meet_on_the_coarser_grid_as_means_or_with_their_sum_kept() -> None:
    fine, coarse = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)
    for first, second in ((fine, coarse), (coarse, fine)):
        means, sums = on_one_grid(first, second), on_one_grid(first, second, conserved=True)
        place = 0 if first is fine else 1
        assert means[0].shape == means[1].shape == (2, 3, 4, 4)
        torch.testing.assert_close(means[place], avg_pool2d(fine, 2))
        torch.testing.assert_close(sums[place].sum((2, 3)), fine.sum((2, 3)))
        assert means[1 - place] is sums[1 - place] is coarse
    same = on_one_grid(fine, fine, conserved=True)
    assert same[0] is same[1] is fine
    uneven = on_one_grid(torch.ones(1, 1, 9, 9), torch.ones(1, 1, 4, 4), conserved=True)[0]
    assert uneven.mean().item() == pytest.approx(81 / 16), "sides that do not divide: still the mean's"


def test_a_student_of_another_architecture_is_compared_pair_by_pair_with_relevance_kept() -> None:
    method, batch = of_another_architecture()
    found = HeatmapPass(method.network, batch.radiograph, ["early", "late"])(batch.radiograph, batch.heatmap_cotangent)
    wanted = batch.teacher_heatmaps
    distances = [heatmap_energy_distance(found.maps[INPUT], wanted[INPUT])]
    for own, layer in paired_layers(
        {one: found.maps[one] for one in ("early", "late")}, {layer: wanted[layer] for layer in LAYERS}
    ):
        side = min(found.maps[own].shape[-1], wanted[layer].shape[-1])
        pooled = [
            adaptive_avg_pool2d(one, side) * (one.shape[-1] / side) ** 2 for one in (found.maps[own], wanted[layer])
        ]
        distances.append(heatmap_energy_distance(*pooled))
    assert method.loss(batch).item() == pytest.approx(torch.stack(distances).mean().item())
    assert torch.equal(method.head.weight, small_network(0).double().head.weight)


def test_a_student_of_another_architecture_has_true_slopes() -> None:
    method, batch = of_another_architecture(layers="without_deepest")
    assert assert_gradient_is_the_slope(method.network, lambda: method.loss(batch)) > 1e-2


def test_what_a_student_of_another_architecture_makes_of_its_deepest_map_is_its_logit_less_the_bias() -> None:
    # why the sum is kept and not the mean: relevance of both networks sums to their logits
    method, batch = of_another_architecture()
    maps = HeatmapPass(method.network, batch.radiograph, ["late"])(batch.radiograph, batch.heatmap_cotangent).maps
    pooled, _ = on_one_grid(maps["late"], batch.teacher_heatmaps["stage4"], conserved=True)
    logits = method.network(batch.radiograph)
    torch.testing.assert_close(pooled.sum((1, 2, 3)), (logits - method.head.bias)[:, 0])


def test_what_is_seen_is_the_same_for_every_setting() -> None:
    assert tea.Method.sees == {Field.RADIOGRAPH, Field.TEACHER_HEATMAP, Field.TEACHER_HEAD}
