"""The constants and bounds of the derivation's second half: each by a plainer computation."""

import math

import pytest
import torch
from scipy.integrate import quad
from tenpapers import scaling
from tenpapers.scaling import theory
from torch.testing import assert_close


def power(a, d):
    return torch.arange(1, d + 1, dtype=torch.float64) ** -a


@pytest.mark.parametrize("n", [1, 5, 16, 100])
def test_filter_and_label_noise_are_those_of_single_steps(n):
    mu = torch.tensor([1e-8, 1e-3, 0.2, 1.0, 1.7], dtype=torch.float64)
    schedule = scaling.geometric_schedule(n, 1.0)
    q, f = torch.ones_like(mu), torch.zeros_like(mu)
    for stepsize, count in schedule:
        for _ in range(count):
            q = q * (1 - stepsize * mu)
            f = (1 - stepsize * mu) ** 2 * f + (stepsize * mu) ** 2
    assert_close(theory.spectral_filter(mu, schedule), q)
    assert_close(theory.label_noise(mu, schedule), f, rtol=1e-12, atol=0)


def test_noise_profile_is_the_limit_of_long_phases():
    n, h = 2**40, torch.logspace(-3, 3, 50, dtype=torch.float64)
    K = scaling.effective_samples(n)
    f = theory.label_noise(h / K, scaling.geometric_schedule(n, 1.0))
    assert_close(K * f, theory.noise_profile(h), rtol=1e-6, atol=0)
    small = float(theory.noise_profile(torch.tensor([1e-6], dtype=torch.float64)))
    assert small * 1e12 == pytest.approx(4 / 3, rel=1e-5)


@pytest.mark.parametrize("a", [1.2, 2.0, 3.5])
def test_constants_are_their_integrals(a):
    def profile(x):
        return float(theory.noise_profile(torch.tensor([x**-a], dtype=torch.float64)))

    integral = quad(profile, 0, 1)[0] + quad(profile, 1, 50)[0] + 4 / 3 * 50 ** (1 - 2 * a) / (2 * a - 1)
    assert theory.variance_constant(a) == pytest.approx(integral, rel=1e-3)
    for b in (1.5, a, a + 1, 2 * a + 0.5):

        def bias(y, b=b):
            return y ** ((b - 1) / a - 1) * math.exp(-4 * y) / a

        def averaged(y, b=b):
            return y ** ((b - 1) / a - 1) * (math.expm1(-y) / y) ** 2 / a

        assert theory.bias_constant(a, b) == pytest.approx(quad(bias, 0, 1)[0] + quad(bias, 1, 40)[0], rel=1e-6)
        far = 1e3 ** ((b - 1) / a - 2) / (2 - (b - 1) / a) / a  # where 1 - e^-y is 1
        found = quad(averaged, 0, 1)[0] + quad(averaged, 1, 1e3, limit=500)[0] + far
        assert theory.averaged_bias_constant(a, b) == pytest.approx(found, rel=1e-6)


def test_averaged_constant_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="b must be"):
        theory.averaged_bias_constant(2.0, 5.0)


def test_filter_bounds_in_all_dimensions():
    """The value and the ridge as dense matrix functions; the chain of bounds on several sketches and sources."""
    schedule = scaling.geometric_schedule(300, 0.2)
    for seed, b in enumerate((1.5, 2.0, 4.0)):
        generator = torch.Generator().manual_seed(seed)
        problem = scaling.sketched_problem(2.0, b, 8, 60, 1.0, generator, infinite=False)
        lam, c, S = problem.spectrum, problem.coefficients, problem.S
        bounds = theory.filter_bounds(lam, c, S, schedule, range(1, 8))
        T = (lam.sqrt()[:, None] * (S.T @ S)) * lam.sqrt()
        q = torch.eye(60, dtype=torch.float64)
        for stepsize, count in schedule:
            for _ in range(count):
                q = q - stepsize * T @ q
        assert bounds["value"] == pytest.approx(float(((q**2).sum(0) * lam * c).sum()), rel=1e-9)
        nu = 1 / (2 * sum(stepsize * count for stepsize, count in schedule))
        inverse = torch.linalg.inv(T + nu * torch.eye(60, dtype=torch.float64))
        assert bounds["ridge"] == pytest.approx(nu * float(inverse.diagonal() @ (lam * c)), rel=1e-9)
        assert bounds["lower"] <= bounds["value"] <= bounds["ridge"] <= bounds["trial"]
        # the trial vector of k = 3 by hand
        gram, tail = S[:, :3].T @ S[:, :3], (S[:, 3:] * lam[3:]) @ S[:, 3:].T
        by_hand = (torch.linalg.eigvalsh(tail)[-1] + nu) * c[:3].sum() / torch.linalg.eigvalsh(gram)[0] + (lam * c)[
            3:
        ].sum()
        one = theory.filter_bounds(lam, c, S, schedule, [3])
        assert one["trial"] == pytest.approx(min(float(by_hand), float(lam @ c)), rel=1e-9)


def test_noise_inflation_is_the_stationary_state_and_ends_at_the_edge():
    mu = power(1.5, 12)
    B = torch.zeros(12, 12, dtype=torch.float64)
    B = theory.matrix_recursion(torch.diag(mu), B, 1.0, [(0.2, 6000)])
    assert theory.noise_inflation(mu, 0.2) == pytest.approx(1 + float(mu @ B.diagonal()), rel=1e-6)
    edge = scaling.stability_threshold(scaling.Problem(mu, mu, 0.0, 1.0))
    assert theory.noise_inflation(mu, edge * (1 - 1e-6)) > 1e4
    with pytest.raises(ValueError, match="below the stability edge"):
        theory.noise_inflation(mu, edge * (1 + 1e-6))


def test_inflated_constant_tends_to_the_plain_one_for_small_stepsizes():
    mu = power(2.0, 500)
    plain = theory.variance_constant(2.0)
    assert theory.inflated_variance_constant(2.0, mu, 1e-9) == pytest.approx(plain, rel=1e-7)
    assert plain < theory.inflated_variance_constant(2.0, mu, 0.2) < plain * theory.noise_inflation(mu, 0.2)


def test_average_by_double_sum_is_the_mean_over_runs():
    """Two steps by hand: the average of v_0 and v_1."""
    Sigma, B, gamma, noise = torch.diag(torch.tensor([1.0, 0.5]).double()), torch.eye(2).double(), 0.1, 0.3
    after = theory.matrix_recursion(Sigma, B, noise, [(gamma, 1)])
    cross = torch.trace(Sigma @ (torch.eye(2).double() - gamma * Sigma) @ B)
    by_hand = (torch.trace(Sigma @ B) + torch.trace(Sigma @ after) + 2 * cross) / 4
    assert theory.average_by_double_sum(Sigma, B, noise, 2, gamma) == pytest.approx(float(by_hand), rel=1e-12)


def test_remainder_scale_splits_at_one_over_N_eff_gamma():
    problem = scaling.Problem(torch.tensor([1.0, 1e-6]).double(), torch.tensor([2.0, 3.0]).double(), 0.0, 1.0)
    s = scaling.effective_samples(256) * 0.1
    assert theory.remainder_scale(problem, 256, 0.1) == pytest.approx(2.0 / s + 3e-6, rel=1e-12)


@pytest.mark.parametrize("a", [1.25, 2.0])
def test_logarithmic_dimension_is_that_of_sketches(a):
    problem = scaling.logarithmic_problem(a, 128, 2048, 1.0, torch.Generator().manual_seed(0))
    h = 128 * problem.eigenvalues
    measured = float((h / (1 + h)).square().mean())
    assert theory.logarithmic_dimension(a, math.log(128)) == pytest.approx(measured, rel=0.04)


def test_logarithmic_dimension_tends_to_the_plateau():
    """D / M tends to L(M)^2, from below and slowly."""
    shares = []
    for exponent in (50, 100, 200):
        plateau = math.log(2) / 0.5 * (exponent * math.log2(10)) ** -0.5
        shares.append(theory.logarithmic_dimension(1.5, exponent * math.log(10)) / plateau**2)
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] < 1


def test_logarithmic_dimension_refuses_small_sizes():
    with pytest.raises(ValueError, match="log_M"):
        theory.logarithmic_dimension(1.5, 1.0)
