"""A gradient step of the parity network on fresh signs, against the straightforward PyTorch of the same step.

    python benchmarks/bench_parity.py          # k = 4, d = 20, m = 256, batch 65536; one thread, and the GPU if any

The peer draws signs with randint, writes (x @ W.T)**k and lets autograd find the gradient. The floor is the two matrix
products alone, in the same blocks of rows, on signs already drawn. Times are CPU seconds of this process (a loaded
machine does not change them), the least of several repetitions taken in turn; on a GPU, wall time after synchronising.
"""

import statistics
import time

import torch
from tenpapers import parity
from tenpapers.parity._network import _BLOCK, gradient_sum

K, D, M, BATCH = 4, 20, 256, 65536
SUPPORT = tuple(range(K))


def peer_signs(generator):
    x = torch.randint(0, 2, (BATCH, D), generator=generator, device=generator.device).float() * 2 - 1
    return x, x[:, list(SUPPORT)].prod(dim=1)


def peer_gradient(W, a, x, y):
    w = W.clone().requires_grad_()
    loss = (1 - y * ((x @ w.T) ** K @ a)).mean()
    loss.backward()
    return -w.grad


def products(WT, X):
    """The two matrix products of a gradient step, in the library's blocks: what no exact method by products avoids."""
    rows = _BLOCK[X.device.type] // WT.shape[1]
    Z, total = X.new_empty(rows, WT.shape[1]), X.new_zeros(X.shape[1], WT.shape[1])
    for start in range(0, len(X), rows):
        x = X[start : start + rows]
        torch.mm(x, WT, out=Z[: len(x)])
        total.addmm_(x.T, Z[: len(x)])
    return total


def measure(device="cpu", repetitions=9):
    """Seconds by name, and the largest difference between the two gradients relative to the largest entry."""
    torch.manual_seed(0)
    W = (torch.randn(M, D) / 2).to(device)
    a = (torch.randint(0, 2, (M,)).float() * 2 - 1).to(device)
    generator = torch.Generator(device).manual_seed(1)
    X, y = parity.sample(BATCH, D, SUPPORT, generator)
    WT = W.T.contiguous()
    steps = {
        "peer": lambda: peer_gradient(W, a, *peer_signs(generator)),
        "library": lambda: parity.gradient(W, a, *parity.sample(BATCH, D, SUPPORT, generator), K),
        "floor": lambda: products(WT, X),
        "sample": lambda: parity.sample(BATCH, D, SUPPORT, generator),
        "inner loop": lambda: gradient_sum(WT, X, y, K),
    }
    times = {name: [] for name in steps}
    clock = time.process_time if device == "cpu" else time.perf_counter
    for repetition in range(repetitions + 1):
        for name, step in steps.items():
            if device != "cpu":
                torch.cuda.synchronize()
            begin = clock()
            step()
            if device != "cpu":
                torch.cuda.synchronize()
            if repetition:  # the first warms up
                times[name].append(clock() - begin)
    reference = peer_gradient(W, a, X, y)
    difference = float((parity.gradient(W, a, X, y, K) - reference).abs().max() / reference.abs().max())
    return {name: (min(t), statistics.median(t)) for name, t in times.items()}, difference


def report(device):
    times, difference = measure(device)
    for name, (least, median) in times.items():
        print(f"{device} {name:>10}: {1e3 * least:8.2f} ms least, {1e3 * median:8.2f} ms median")
    ratio, gap = times["peer"][0] / times["library"][0], times["library"][0] / times["floor"][0]
    print(f"{device}: {ratio:.1f} times the peer, {gap:.2f} times the two products; difference {difference:.1e}")
    return ratio, difference


def test_a_gradient_step_is_ten_times_the_peer_on_one_thread(capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with capsys.disabled():
            ratio, difference = report("cpu")
    finally:
        torch.set_num_threads(threads)
    assert difference <= 1e-4
    assert ratio >= 10


def test_a_gradient_step_is_three_times_the_peer_on_a_gpu(capsys):
    with capsys.disabled():
        if not torch.cuda.is_available():
            print("cuda: not run, there is no GPU here")
            return
        torch.backends.cuda.matmul.allow_tf32 = False
        ratio, difference = report("cuda")
    assert difference <= 1e-4
    assert ratio >= 3


if __name__ == "__main__":
    torch.set_num_threads(1)
    report("cpu")
    if torch.cuda.is_available():
        report("cuda")
