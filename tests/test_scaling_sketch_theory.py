"""The random-matrix side of the derivation: each quantity by a second, plainer computation."""

import math

import pytest
import torch
from tenpapers import scaling
from tenpapers.scaling import sketch_theory
from torch.testing import assert_close


def sketch(M, d, seed=0):
    return torch.randn(M, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / math.sqrt(M)


def power(a, d):
    return torch.arange(1, d + 1, dtype=torch.float64) ** -a


def test_split_is_made_of_singular_values():
    S, lam = sketch(12, 60), power(1.5, 60)
    found = sketch_theory.split(S, lam, 5)
    head = torch.linalg.svdvals(S[:, :5])
    tail = torch.linalg.svdvals(S[:, 5:] * lam[5:].sqrt())
    assert_close(torch.tensor(found), torch.tensor([float(x) for x in (head[-1] ** 2, tail[-1] ** 2, tail[0] ** 2)]))
    assert sketch_theory.split(S, lam, 0).head == 1.0


def test_tail_bounds_fail_as_rarely_as_promised():
    """Forty sketches; at t = 1/2 and M = 32 either bound fails with probability at most 0.018: here at most once."""
    lam = power(1.2, 2000)
    low, high = sketch_theory.tail_bounds(lam, 32, 40, 0.5)
    assert 0 < low < high
    found = [sketch_theory.split(sketch(32, 2000, seed), lam, 40) for seed in range(40)]
    assert sum(one.low < low for one in found) <= 1
    assert sum(one.high > high for one in found) <= 1


@pytest.mark.parametrize(("a", "M"), [(1.5, 8), (2.0, 16)])
def test_floor_index_is_the_first_wide_tail(a, M):
    lam = power(a, 4000)
    k = sketch_theory.floor_index(lam, M, 0.25)
    wide = [float(lam[j + 1 :].sum()) >= 4 * 1.25**2 * M * float(lam[j]) for j in range(k + 1)]
    assert wide == [False] * k + [True]
    assert sketch_theory.tail_bounds(lam, M, k, 0.25)[0] >= 1.25**2 * float(lam[k]) * (1 - 1e-12)


def test_a_spectrum_without_a_wide_tail_is_refused():
    with pytest.raises(ValueError, match="tail that is wide for M = 16, got 50 modes"):
        sketch_theory.floor_index(power(2.0, 50), 16, 0.25)


def test_leftover_gives_the_approximation_error_for_every_prior():
    S, lam = sketch(10, 80, 3), power(2.0, 80)
    for c in (torch.ones(80, dtype=torch.float64), power(-0.5, 80)):
        problem = scaling.problem_from_sketch(lam, c, S, 1.0)
        assert_close(float((lam * c) @ sketch_theory.leftover(S, lam)), problem.approximation, rtol=1e-10, atol=0)


def test_leftover_with_a_tail_is_that_of_many_small_modes():
    """A tail of 10^5 equal modes is its mean up to 1 / sqrt(10^5)."""
    S, lam = sketch(6, 30, 1), power(1.5, 30)
    long = torch.cat([S, sketch(6, 100_000, 2)], dim=1)
    modes = torch.cat([lam, torch.full((100_000,), 1e-6, dtype=torch.float64)])
    mean = sketch_theory.leftover(S, lam, tail=0.1)
    assert_close(mean, sketch_theory.leftover(long, modes)[:30], rtol=0.02, atol=0)


def test_bounds_are_the_formulas_of_their_docstrings():
    lam, c, M = power(1.5, 100), power(0.5, 100), 13
    k = 3
    expected = (32 / M * sum(lam[k:]) + 50 * lam[k]) * sum(c[:k]) + sum(lam[i] * c[i] for i in range(k, 100))
    assert_close(sketch_theory.approximation_bound(lam, c, M), float(expected))
    bound = sketch_theory.spectrum_bound(lam, M)
    assert_close(float(bound[4]), float(lam[4] * (2 + math.sqrt(sum(lam[4:]) / lam[4] / M)) ** 2))
    with pytest.raises(ValueError, match="M must be"):
        sketch_theory.approximation_bound(lam, c, 3)
