"""Exact risk of sketched SGD against what a user would write instead: `python benchmarks/bench_scaling.py`.

Prints a table and writes _build/benchmarks/scaling.csv. One thread for everybody, and its CPU time, so that a busy
machine does not decide. "Exact" contains everything from the problem's numbers to the risk, with nothing kept between
calls; cold is the first call of the process, warm the median of ten more.

- M = 128, N = 2^24: the recursion step by step in NumPy and compiled by numba, both for bias and variance. numba runs
  all 2^24 steps. NumPy runs 2^18 steps of the same phases and is extrapolated by the number of steps (every step costs
  the same); --whole runs all of them. All three must agree to 1e-9 at N = 2^14, and exact and numba at 2^24.
- M = 128, N = 2^14: `simulate` in its reduced form (the library's own, vectorised over seeds) until the 95 per cent
  interval of the risk above the noise variance is within 1 per cent. The spread of a run comes from a pilot of 64
  runs, which is timed; a run's cost is the same for every seed.
"""

import argparse
import csv
import math
import statistics
import time
from pathlib import Path

import numba
import numpy as np
import torch
from tenpapers import scaling

GAMMA, M, N_LONG, N_SHORT, STEPS_NUMPY = 0.1, 128, 2**24, 2**14, 2**18


def numpy_loop(mu, start, phases, limit=None):
    """(bias, unit variance, steps, seconds) of at most `limit` steps of every 2^24, spread over the phases."""
    total = sum(count for _, count in phases)
    keep = 1.0 if limit is None else min(1.0, limit / total)
    bias, unit, steps = start.copy(), np.zeros_like(mu), 0
    begin = time.process_time()
    for g, count in phases:
        decay, coupling = 1 - 2 * g * mu + 2 * g**2 * mu**2, g**2 * mu
        for _ in range(math.ceil(count * keep)):
            bias = decay * bias + coupling * (mu @ bias)
            unit = decay * unit + coupling * (mu @ unit + 1.0)
            steps += 1
    return mu @ bias, mu @ unit, steps, time.process_time() - begin


@numba.njit(fastmath=True)
def compiled_loop(mu, bias, unit, stepsizes, counts):
    size = mu.size
    for phase in range(stepsizes.size):
        g = stepsizes[phase]
        decay, coupling = 1 - 2 * g * mu + 2 * g**2 * mu**2, g**2 * mu
        for _ in range(counts[phase]):
            s = t = 0.0
            for i in range(size):
                s += mu[i] * bias[i]
                t += mu[i] * unit[i]
            for i in range(size):
                bias[i] = decay[i] * bias[i] + coupling[i] * s
                unit[i] = decay[i] * unit[i] + coupling[i] * (t + 1.0)
    return np.dot(mu, bias), np.dot(mu, unit)


def compiled(mu, start, phases):
    stepsizes, counts = (np.array(column) for column in zip(*phases, strict=True))
    begin = time.process_time()
    bias, unit = compiled_loop(mu, start.copy(), np.zeros_like(mu), stepsizes, counts)
    return bias, unit, time.process_time() - begin


def exact(problem, N):
    """(risk, cold seconds, warm seconds)"""
    times = []
    for _ in range(11):
        begin = time.process_time()
        risk = scaling.exact_risk(problem, N, GAMMA)
        times.append(time.process_time() - begin)
    return risk, times[0], statistics.median(times[1:])


def difference(risk, problem, bias, unit):
    noise = problem.noise_variance + problem.approximation
    return max(abs(bias / risk.bias - 1), abs(noise * unit / risk.variance - 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="run all 2^24 NumPy steps (minutes) instead of 2^18")
    whole = parser.parse_args().whole
    torch.set_num_threads(1)
    rows = []

    def row(what, N, seconds, ratio, note):
        rows.append({"what": what, "M": M, "N": N, "seconds": seconds, "ratio to exact": ratio, "note": note})

    problem = scaling.sketched_problem(2.0, 2.0, M, 16 * M, 1.0, torch.Generator().manual_seed(0))
    mu, start = problem.eigenvalues.numpy(), problem.initial_error.numpy()

    risk_long, cold, warm = exact(problem, N_LONG)
    long, short = (scaling.geometric_schedule(N, GAMMA) for N in (N_LONG, N_SHORT))
    risk_short, _, warm_short = exact(problem, N_SHORT)
    compiled(mu, start, [(GAMMA, 1)])  # compiles
    bias, unit, seconds_compiled = compiled(mu, start, long)
    agree = difference(risk_long, problem, bias, unit)
    assert agree < 1e-9, f"exact and compiled loop differ by {agree:.1e} at N = {N_LONG}"
    bias, unit, *_ = numpy_loop(mu, start, short)
    agree_short = max(
        difference(risk_short, problem, bias, unit),
        difference(risk_short, problem, *compiled(mu, start, short)[:2]),
    )
    assert agree_short < 1e-9, f"exact and loops differ by {agree_short:.1e} at N = {N_SHORT}"
    *_, steps, seconds = numpy_loop(mu, start, long, None if whole else STEPS_NUMPY)
    seconds_numpy = seconds * N_LONG / steps
    row("exact, cold", N_LONG, cold, 1.0, f"bias {risk_long.bias:.6e}, variance {risk_long.variance:.6e}")
    row("exact, warm", N_LONG, warm, warm / cold, "median of 10")
    how = "all steps" if whole else f"extrapolated from {steps} steps"
    row("NumPy loop", N_LONG, seconds_numpy, seconds_numpy / cold, f"{how}; at 2^14 equal to {agree_short:.0e}")
    row("numba loop", N_LONG, seconds_compiled, seconds_compiled / cold, f"all steps; equal to {agree:.0e}")

    # The first call at this N comes after others in the process, so the cold time is that of the longer N.
    pilot = 64
    generator = torch.Generator().manual_seed(1)
    scaling.simulate(problem, 64, GAMMA, pilot, generator)
    begin = time.process_time()
    runs = scaling.simulate(problem, N_SHORT, GAMMA, pilot, generator) - problem.noise_variance
    per_run = (time.process_time() - begin) / pilot
    spread = float(runs.std() / runs.mean())
    z = (float(runs.mean()) + problem.noise_variance - risk_short.total) / (float(runs.std()) / math.sqrt(pilot))
    seeds = math.ceil((1.96 * spread / 0.01) ** 2)
    row("exact, warm", N_SHORT, warm_short, 1.0, f"risk above sigma^2 {risk_short.total - 1:.6f}")
    row(
        "Monte Carlo, reduced",
        N_SHORT,
        seeds * per_run,
        seeds * per_run / warm_short,
        f"{seeds} runs for 1% at 95%, spread {spread:.1%} per run; z of the pilot {z:+.1f}; "
        f"ratio to a cold exact call at 2^24 {seeds * per_run / cold:.0f}",
    )

    for line in rows:
        print(
            f"{line['what']:<22} M={line['M']:<4} N={line['N']:<9} {line['seconds']:>10.4g} s "
            f"{line['ratio to exact']:>9.4g} x  {line['note']}"
        )
    folder = Path("_build/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "scaling.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert seconds_numpy / cold >= 500, "the exact risk must be 500 times a NumPy loop"
    assert seeds * per_run / warm_short >= 200, "the exact risk must be 200 times Monte Carlo"


if __name__ == "__main__":
    main()
