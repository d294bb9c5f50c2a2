"""Tables and fits of the scaling experiments, each against numbers that were planted or computed another way."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from tenpapers import scaling
from tenpapers.scaling import presets, study, theory


def problem(M=12, seed=0):
    return scaling.sketched_problem(2.0, 2.0, M, 400, 1.0, torch.Generator().manual_seed(seed))


def test_a_curve_holds_the_parts_of_every_risk():
    mine, samples = problem(), [64, 512]
    columns = study.curve(mine, samples, 0.1)
    risks = [scaling.exact_risk(mine, n, 0.1) for n in samples]
    assert columns["N"] == samples
    assert columns["bias"] == pytest.approx([r.bias for r in risks], rel=1e-12)
    assert columns["variance"] == pytest.approx([r.variance for r in risks], rel=1e-12)
    averaged = study.curve(mine, samples, 0.1, averaged=True)
    assert averaged["bias"] == [scaling.averaged_risk(mine, n, 0.1).bias for n in samples]


def test_scales_follow_the_definitions():
    table = study.tidy(["a", "M"], [[2.0, 12]], [study.curve(problem(), [256], 0.1)])
    row = study.with_scales(table, 0.1).iloc[0]
    assert row["N_eff"] == 32.0
    assert row["k"] == pytest.approx(math.sqrt(3.2))
    assert row["reducible"] == pytest.approx(scaling.exact_risk(problem(), 256, 0.1).total - 1.0)
    assert row["unit_variance"] == pytest.approx(row["variance"] / (1 + row["approximation"]))
    assert study.with_scales(table, 0.1, averaged=True)["N_eff"].iloc[0] == 256.0


def test_the_law_divides_out():
    table = pd.DataFrame({"a": [2.0, 1.5], "b": [2.0, 2.0], "M": [8, 16], "scaled": [10.0, 20.0]})
    table["risk"] = [
        3 * (scaling.approximation_constant(a, b, M) + theory.bias_constant(a, b) * s ** (-(b - 1) / a))
        for a, b, M, s in table.to_numpy()[:, :4].tolist()
        for M in [int(M)]
    ]
    assert study.against_law(table, "risk").tolist() == pytest.approx([3.0, 3.0])


def test_a_planted_slope_is_found_with_its_spread():
    x = np.array([1.0, 10.0, 100.0])
    table = pd.concat([pd.DataFrame({"x": x, "y": 5 * x**s, "sketch": i}) for i, s in enumerate((-0.4, -0.6))])
    value, sd = study.slope(table, "x", "y")
    assert value == pytest.approx(-0.5)
    assert sd == pytest.approx(np.std([-0.4, -0.6], ddof=1))
    assert all(math.isnan(number) for number in study.slope(table[table["x"] == 1], "x", "y"))


def test_the_minimum_of_a_parabola_is_exact_and_an_edge_is_none():
    x = np.geomspace(1, 64, 7)
    y = np.exp((np.log(x) - np.log(11.0)) ** 2 + 1.0)
    y[0] = np.nan
    assert study.minimum(x, y) == pytest.approx((11.0, math.e))
    assert math.isnan(study.minimum(x, x)[0])
    assert math.isnan(study.minimum([], np.array([]))[0])


def test_windows_find_a_planted_law_and_leave_out_the_too_small():
    M, N = (grid.ravel() for grid in np.meshgrid([4, 8, 16, 32], [64, 256, 1024, 4096]))
    table = pd.DataFrame({"M": M, "N": N, "reducible": 2.0 * M**-0.9 + 0.7 * N**-0.4})
    fits = study.fit_windows(table, "N", (4, 16), (32,), (64,), (1024, 4096))
    assert fits["M_low"].tolist() == [4, 4]
    assert fits["alpha_M"].tolist() == pytest.approx([0.9, 0.9], abs=1e-6)
    assert fits["alpha_N"].tolist() == pytest.approx([0.4, 0.4], abs=1e-6)


def test_the_recursion_path_agrees_with_the_matrix_recursion_and_with_the_growth_factor():
    mine = problem(6)
    mu, start = mine.eigenvalues, mine.initial_error
    edge = scaling.stability_threshold(mine)
    gammas = np.array([0.5, 1.05]) * edge
    path = study.recursion_path(mu.numpy(), start.numpy(), 1.3, gammas, [1, 20, 400, 401])
    for row, gamma in zip(path, gammas, strict=True):
        B = theory.matrix_recursion(torch.diag(mu), torch.diag(start), 1.3, [(float(gamma), 20)])
        assert row[1] == pytest.approx(float((mu * B.diagonal()).sum()), rel=1e-10)
    assert path[1, 3] / path[1, 2] == pytest.approx(scaling.growth_factor(mine, float(gammas[1])), rel=1e-6)
    far = study.recursion_path(mu.numpy(), start.numpy(), 1.3, np.array([3.0 * edge]), [5000])
    assert np.isfinite(far).all()


def test_every_part_checks_claims_of_its_own():
    claims = [claim for ids in presets.PARTS.values() for claim in ids]
    assert len(claims) == len(set(claims))
    for preset in presets.EXPERIMENTS.values():
        assert preset.parts == tuple(presets.PARTS)
        assert preset.step_full_N / math.log2(preset.step_full_N) > 16 * preset.step_M**1.5
