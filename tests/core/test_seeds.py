"""One seed becomes generators by name, independent of one another and of who else asks."""

from __future__ import annotations

import numpy as np
import torch

from medtea.core.seeds import named_seed, numpy_generator, torch_generator


def test_the_same_seed_and_name_give_the_same_numbers() -> None:
    assert (numpy_generator(3, "bank").random(9) == numpy_generator(3, "bank").random(9)).all()
    assert torch.equal(
        torch.rand(9, generator=torch_generator(3, "bank")), torch.rand(9, generator=torch_generator(3, "bank"))
    )


def test_another_name_or_another_seed_gives_other_numbers() -> None:
    seeds = [named_seed(seed, name) for seed in range(40) for name in ("bank", "teach/order", "distil/order", "")]
    assert len(set(seeds)) == len(seeds)
    assert named_seed(1, "1/x") != named_seed(11, "x")


def test_the_seed_is_fixed_for_ever_since_results_rest_on_it() -> None:
    # first 8 bytes of sha256("0/bank"), less the lowest bit, by `printf 0/bank | sha256sum`
    assert named_seed(0, "bank") == int("96245b236b1a400c", 16) >> 1


def test_every_named_seed_suits_both_generators() -> None:
    for seed in range(200):
        assert 0 <= named_seed(seed, "any") < 2**63


def test_generators_of_two_names_are_unrelated() -> None:
    one, other = (numpy_generator(0, name).standard_normal(4000) for name in ("a", "b"))
    # the correlation of independent samples has a standard deviation of 1/sqrt(4000) = 0.016
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.08


def test_named_generators_leave_the_global_ones_alone() -> None:
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.rand(5, generator=torch_generator(0, "a"))
    numpy_generator(0, "a").random(5)
    assert torch.equal(before, torch.get_rng_state())
    assert (state == np.random.get_state()[1]).all()
