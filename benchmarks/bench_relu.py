"""Fast evaluation of one-neuron learning against what a user would write instead: `python benchmarks/bench_relu.py`.

Prints a table and writes _build/benchmarks/relu.csv. One thread for everybody, and its CPU time, so that a busy machine
does not decide. Bernoulli design, d = 200, lambda_i proportional to i^-2, w* = 1, start -0.1, gamma = sigma = 1/2.

- Simulation: 1000 runs of N = 4096 samples by `relu.simulate`, against a loop over samples with torch.optim.SGD, a run
  at a time. The loop makes one run, must end where `relu.run_sequence` ends on the same draws, and counts 1000 times;
  its loss is the squared one for SGD and the matching loss for GLM-tron. The floor is the time of drawing the random
  numbers that a seed-step needs: a uniform of 53 bits (which coordinate), a bit (its sign) and a normal (the noise).
- Exact risk: `relu.density_evolution` against `relu.simulate` run until the 95 per cent interval of its mean is within
  0.05 per cent, the spread of a run being that of the 1000 runs above. 300 times is asked of this reading. If 0.05 per
  cent is to be one standard error, simulation needs 3.84 times fewer runs: then SGD has 300 times still, and GLM-tron,
  whose runs spread less, has NOT (the rows' notes have that ratio). The exact risk itself is near 1e-6, not 0.05 per
  cent; coarser splines hardly make it faster, small matrices being all overhead. Exact and simulated risk must agree
  within 4 standard errors, and finer splines must change the exact risk by less than 0.05 per cent.
"""

import csv
import math
import statistics
import time
from pathlib import Path

import torch
from tenpapers import relu

D, N, SEEDS, GAMMA, SIGMA = 200, 4096, 1000, 0.5, 0.5


def clock(function, repeats):
    """(result, median CPU seconds) of `repeats` calls after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        result = function()
        times.append(time.process_time() - begin)
    return result, statistics.median(times)


def optimizer_loop(algorithm, lam, w_star, w0, generator):
    """(seconds per step, distance to `run_sequence` on the same draws) of the loop that a user would write, one run."""
    w = w0.clone().requires_grad_(True)
    optimizer = torch.optim.SGD([w], lr=GAMMA)
    stepsizes = [g for g, count in relu.geometric_schedule(N, GAMMA) for _ in range(count)]
    indices = torch.multinomial(lam, N, replacement=True, generator=generator)
    signs, noise = torch.empty(N, dtype=torch.float64), torch.empty(N, dtype=torch.float64)
    begin = time.process_time()
    for t in range(N):
        x = torch.zeros(D, dtype=torch.float64)
        signs[t] = 1.0 if torch.rand((), generator=generator) < 0.5 else -1.0
        x[indices[t]] = signs[t]
        noise[t] = SIGMA * torch.randn((), generator=generator, dtype=torch.float64)
        y = torch.relu(x @ w_star) + noise[t]
        z = x @ w
        loss = (torch.relu(z) - y) ** 2 / 2 if algorithm == "sgd" else relu.matching_loss(z, y)
        optimizer.param_groups[0]["lr"] = stepsizes[t]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = (time.process_time() - begin) / N
    ours = relu.run_sequence(algorithm, indices, signs, noise, w_star, w0, GAMMA)
    return seconds, float((w.detach() - ours).abs().max())


def random_floor(generator):
    """Nanoseconds of random numbers per seed-step."""
    n = 2**21

    def draw():
        torch.rand(n, generator=generator, dtype=torch.float64)
        torch.empty(n, dtype=torch.bool).random_(generator=generator)
        torch.randn(n, generator=generator)

    return clock(draw, 5)[1] / n * 1e9


def main():
    torch.set_num_threads(1)
    lam = torch.arange(1, D + 1, dtype=torch.float64) ** -2
    lam = lam / lam.sum()
    w_star = torch.ones(D, dtype=torch.float64)
    w0 = -0.1 * w_star
    args = (lam, w_star, w0, N, GAMMA, SIGMA)
    generator = torch.Generator().manual_seed(0)
    rows, checks = [], []

    def row(what, seconds, ratio, note):
        rows.append({"what": what, "seconds": seconds, "ratio": ratio, "note": note})

    floor = random_floor(generator)
    for algorithm in ("glmtron", "sgd"):
        runs, batched = clock(lambda a=algorithm: relu.simulate(a, "bernoulli", *args, SEEDS, generator), 3)
        step, apart = optimizer_loop(algorithm, lam, w_star, w0, generator)
        loop = step * N * SEEDS
        nanoseconds = batched / (N * SEEDS) * 1e9
        row(
            f"{algorithm}: simulate",
            batched,
            1.0,
            f"{nanoseconds:.1f} ns per seed-step, {nanoseconds / floor:.1f} x random numbers",
        )
        row(
            f"{algorithm}: torch.optim.SGD loop",
            loop,
            loop / batched,
            f"one run of {N} steps of {step * 1e6:.0f} us, times {SEEDS}; {apart:.0e} from run_sequence",
        )
        exact, seconds = clock(lambda a=algorithm: relu.density_evolution(a, *args), 5)
        spread = float(runs.std() / runs.mean())
        needed = math.ceil((1.96 * spread / 0.0005) ** 2)
        monte_carlo = needed * batched / SEEDS
        z = (float(runs.mean()) - exact) / (float(runs.std()) / math.sqrt(SEEDS))
        with relu.finer_splines(1.5):
            finer = relu.density_evolution(algorithm, *args)
        row(
            f"{algorithm}: density evolution", seconds, 1.0, f"risk {exact:.7f}, finer splines {finer / exact - 1:+.1e}"
        )
        row(
            f"{algorithm}: Monte Carlo to 0.05%",
            monte_carlo,
            monte_carlo / seconds,
            f"{needed} runs at 95%, spread {spread:.1%} per run; z {z:+.1f}; one standard error needs "
            f"{monte_carlo / 1.96**2 / seconds:.0f} x",
        )
        checks += [
            (apart < 1e-12, f"{algorithm}: the loop and run_sequence end {apart:.1e} apart on the same draws"),
            (abs(z) < 4, f"{algorithm}: exact and simulated risk differ by {z:.1f} standard errors"),
            (abs(finer / exact - 1) < 5e-4, f"{algorithm}: the exact risk depends on its splines"),
            (loop / batched >= 100, f"{algorithm}: the simulator must be 100 times a loop"),
            (nanoseconds < 60, f"{algorithm}: a seed-step must take less than 60 ns"),
            (monte_carlo / seconds >= 300, f"{algorithm}: the exact risk must be 300 times Monte Carlo at 95 per cent"),
        ]
    _, closed = clock(lambda: relu.glmtron_noiseless_risk(lam, w_star, N, GAMMA), 20)
    row("noiseless closed form", closed, 1.0, "")
    row("random numbers of a seed-step", floor * 1e-9, 1.0, f"{floor:.1f} ns: uniform, sign and normal")
    for line in rows:
        print(f"{line['what']:<34} {line['seconds']:>10.4g} s {line['ratio']:>9.4g} x  {line['note']}")
    folder = Path("_build/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "relu.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    missed = [sentence for holds, sentence in checks if not holds]
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    main()
