"""What logits say, and means by group: laws, and a slow twin."""

from __future__ import annotations

import math

import pytest
import torch

from medtea.training.groups import mean_by_group
from medtea.training.outputs import class_logits, count_classes, cross_entropy, log_probabilities, predicted

LOGITS = torch.tensor([[-2.0], [0.0], [0.5], [30.0], [-200.0]])
LABELS = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])


def test_one_logit_is_two_classes_of_which_the_first_has_logit_0() -> None:
    both = torch.cat([torch.zeros_like(LOGITS), LOGITS], dim=1)
    torch.testing.assert_close(class_logits(LOGITS), both)
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS), cross_entropy(both, LABELS))
    torch.testing.assert_close(log_probabilities(LOGITS), log_probabilities(both))
    torch.testing.assert_close(predicted(LOGITS), predicted(both))
    assert count_classes(1) == count_classes(2) == 2
    assert count_classes(9) == 9


def test_cross_entropy_by_hand() -> None:
    # at log 3 class 1 has probability 3/4; of three classes with e^z of 1, 2 and 5 the last has 5/8
    found = cross_entropy(torch.full((2, 1), math.log(3)), torch.tensor([1.0, 0.0]))
    assert found.tolist() == pytest.approx([math.log(4 / 3), math.log(4)])
    three = torch.tensor([[1.0, 2.0, 5.0]]).log()
    assert cross_entropy(three, torch.tensor([2.0])).item() == pytest.approx(math.log(8 / 5))


@pytest.mark.parametrize("logits", [1, 2, 5])
def test_probabilities_sum_to_one_and_cross_entropy_is_their_negative_logarithm(logits: int) -> None:
    drawn = 3 * torch.randn(7, logits, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(7) % count_classes(logits)
    logarithms = log_probabilities(drawn)
    torch.testing.assert_close(logarithms.exp().sum(1), torch.ones(7))
    torch.testing.assert_close(cross_entropy(drawn, labels.float()), -logarithms[torch.arange(7), labels])
    assert torch.equal(predicted(drawn), logarithms.argmax(1))


def test_of_equals_the_first_class_is_predicted() -> None:
    assert predicted(torch.tensor([[0.0], [1e-6], [-1e-6]])).tolist() == [0, 1, 0]
    assert predicted(torch.tensor([[1.0, 3.0, 3.0]])).tolist() == [1]


def test_means_by_group_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    groups = torch.tensor([5.0, 2, 5, 9, 2, 5])
    for shape in ((), (3,), (2, 4)):
        values = torch.randn(6, *shape, generator=generator)
        found = mean_by_group(values, groups)
        for place, number in enumerate((2, 5, 9)):
            members = [value for value, group in zip(values, groups, strict=True) if group == number]
            torch.testing.assert_close(found[place], sum(members[1:], members[0]) / len(members))
        assert len(found) == 3


def test_each_member_has_an_equal_part_in_its_groups_mean_and_none_in_anothers() -> None:
    values = torch.randn(5, requires_grad=True)
    found = mean_by_group(values, torch.tensor([1.0, 0, 1, 1, 1]))
    (slopes,) = torch.autograd.grad(found[1], values)
    assert slopes.tolist() == [0.25, 0, 0.25, 0.25, 0.25]
