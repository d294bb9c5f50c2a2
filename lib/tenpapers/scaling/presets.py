"""Presets of the chapter's notebooks: what each runs at the scales smoke, quick and full."""

from __future__ import annotations

from dataclasses import dataclass

from tenpapers.presets import field

PARTS = {
    "surface": ("C2", "C3", "C4", "C5", "C6", "C19"),
    "least_squares": ("C18",),
    "paper_fit": ("C13", "C15", "C16"),
    "frontier": ("C8",),
    "monte_carlo": ("C11",),
    "averaging": ("C10",),
    "logarithm": ("C7",),
    "stepsize": ("C17",),
    "edge": ("C20",),
    "batches": ("C14",),
}
"""The parts of the experiments' notebook, each with the claims that only it checks."""


@dataclass(frozen=True)
class Experiments:
    """Settings of the experiments. M counts parameters, N samples; sketches are independent draws of S per cell."""

    parts: tuple[str, ...] = field(choices=tuple(PARTS), doc="parts of the notebook to run; the others are left out")
    a: tuple[float, ...] = field(above=1.0, doc="exponents of the spectrum i^-a")
    b: tuple[float, ...] = field(above=1.0, doc="source exponents, paired with every a > b - 1")
    M: tuple[int, ...] = field(ascending=True, minimum=4, doc="sizes of the exact surface")
    N: tuple[int, ...] = field(ascending=True, minimum=16, doc="samples of the exact surface")
    d: int = field(minimum=64, doc="explicit modes, at least; 16 M where that is more; the rest through their mean")
    sketches: int = field(minimum=2, doc="sketches per cell of the exact surface")
    gamma: float = field(above=0.0, maximum=0.3, doc="first stepsize, below the stability edge; the paper's is 0.1")
    visible_b: float = field(above=2.0, below=3.0, doc="source exponent at a = 2 that makes the variance visible")
    visible_gamma: float = field(above=0.0, maximum=0.3, doc="stepsize of that comparison")
    paper_a: tuple[float, ...] = field(choices=(1.5, 2.0), doc="spectra of the paper's Figures 1 and 3")
    paper_d: int = field(minimum=64, doc="most modes: the paper has 20000 at a = 1.5 and 2000 at a = 2")
    paper_M: tuple[int, ...] = field(ascending=True, minimum=4, doc="sizes that the joint fit may use")
    paper_N: tuple[int, ...] = field(ascending=True, minimum=16, doc="samples that the joint fit may use")
    paper_rows: int = field(minimum=1, doc="rows of S drawn per size: sketches times M, where that gives 4 sketches")
    paper_sketches: int = field(minimum=2, doc="sketches per size, at most; the paper has 1000")
    windows_M: tuple[int, ...] = field(
        ascending=True, minimum=4, doc="largest sizes of a window; the smallest are the first two of paper_M"
    )
    windows_N: tuple[int, ...] = field(
        ascending=True, minimum=16, doc="most samples of a window; the fewest are the first two of paper_N"
    )
    frontier_M: tuple[int, ...] = field(ascending=True, minimum=4, doc="sizes of the compute frontier")
    frontier_C: tuple[int, ...] = field(ascending=True, minimum=256, doc="compute budgets C = M N")
    frontier_sketches: int = field(minimum=2, doc="sketches per size of the frontier")
    mc_M: tuple[int, ...] = field(ascending=True, minimum=2, doc="sizes of the Monte-Carlo grid")
    mc_N: tuple[int, ...] = field(ascending=True, minimum=4, doc="samples of the Monte-Carlo grid")
    mc_reduced: bool = field(doc="true: M random numbers per step; false: the algorithm in its d dimensions")
    mc_blocks: int = field(minimum=1, doc="pieces of a cell: what a killed run resumes by")
    mc_sketches: int = field(minimum=2, doc="sketches per piece")
    mc_runs: int = field(minimum=1, doc="runs of SGD per sketch, each with its own w*")
    honest_runs: int = field(minimum=10, doc="runs of the one small cell in d dimensions")
    averaged_N: tuple[int, ...] = field(ascending=True, minimum=16, doc="samples of the averaged iterates")
    averaged_sketches: int = field(minimum=2, doc="sketches per cell of the averaged iterates")
    log_a: tuple[float, ...] = field(above=1.0, doc="exponents of the logarithmic spectrum")
    log_decades: tuple[int, ...] = field(
        ascending=True, minimum=1, maximum=250, doc="powers of ten of M for the fixed-point equation"
    )
    step_M: int = field(minimum=4, doc="size of the stepsize sweep's small model; the wide one is 8 times that")
    step_full_N: int = field(minimum=16, doc="samples that fill the small model, N_eff far above M^1.5")
    step_N: tuple[int, ...] = field(ascending=True, minimum=16, doc="samples of the best-stepsize sweep")
    edge_M: int = field(minimum=2, doc="size of the stability experiment")
    edge_steps: int = field(minimum=100, doc="steps of its recursion")
    batch_M: int = field(minimum=4, doc="size of the mini-batch experiment")
    batch_N: tuple[int, ...] = field(ascending=True, minimum=256, doc="samples of the mini-batch experiment")
    batch: tuple[int, ...] = field(ascending=True, minimum=1, doc="batch sizes")

    def __post_init__(self) -> None:
        if not set(self.windows_M) <= set(self.paper_M) or not set(self.windows_N) <= set(self.paper_N):
            raise ValueError(
                "windows_M and windows_N must be among paper_M and paper_N: a window ends at a size computed."
            )


def _powers(low: int, high: int, step: int = 1) -> tuple[int, ...]:
    """2^low, ..., 2^high."""
    return tuple(2**k for k in range(low, high + 1, step))


def _half_octaves(low: int, high: int) -> tuple[int, ...]:
    """2^low, ..., 2^high in steps of a factor sqrt(2)."""
    return tuple(round(2 ** (k / 2)) for k in range(2 * low, 2 * high + 1))


EXPERIMENTS = {
    "smoke": Experiments(
        parts=tuple(PARTS),
        a=(2.0, 1.5),
        b=(1.5, 2.5),
        M=(8, 16, 32),
        N=_powers(6, 12),
        d=512,
        sketches=2,
        gamma=0.1,
        visible_b=2.75,
        visible_gamma=0.1,
        paper_a=(2.0, 1.5),
        paper_d=500,
        paper_M=(8, 16, 32),
        paper_N=_powers(6, 10),
        paper_rows=64,
        paper_sketches=4,
        windows_M=(32,),
        windows_N=(512, 1024),
        frontier_M=_half_octaves(3, 5),
        frontier_C=_powers(10, 14),
        frontier_sketches=2,
        mc_M=(8,),
        mc_N=(64, 256),
        mc_reduced=True,
        mc_blocks=1,
        mc_sketches=2,
        mc_runs=200,
        honest_runs=200,
        averaged_N=_powers(6, 12, 2),
        averaged_sketches=2,
        log_a=(2.0,),
        log_decades=(3, 30, 200),
        step_M=8,
        step_full_N=2**14,
        step_N=(256, 1024),
        edge_M=8,
        edge_steps=3000,
        batch_M=16,
        batch_N=(4096,),
        batch=(1, 4, 8, 256),
    ),
    "quick": Experiments(
        parts=tuple(PARTS),
        a=(2.0, 1.5),
        b=(1.5, 2.0, 2.5),
        M=_powers(4, 9),
        N=_powers(8, 28),
        d=2000,
        sketches=5,
        gamma=0.1,
        visible_b=2.75,
        visible_gamma=0.2,
        paper_a=(2.0, 1.5),
        paper_d=20000,
        paper_M=_powers(3, 8),
        paper_N=_powers(6, 16, 2),
        paper_rows=512,
        paper_sketches=64,
        windows_M=(64, 128, 256),
        windows_N=(2**12, 2**14, 2**16),
        frontier_M=_half_octaves(3, 9),
        frontier_C=_powers(14, 26),
        frontier_sketches=3,
        mc_M=(16, 32, 64, 128),
        mc_N=(256, 1024, 4096),
        mc_reduced=True,
        mc_blocks=1,
        mc_sketches=4,
        mc_runs=50,
        honest_runs=1000,
        averaged_N=_powers(8, 24, 2),
        averaged_sketches=3,
        log_a=(1.5, 2.0, 3.0),
        log_decades=(3, 6, 12, 25, 50, 100, 200),
        step_M=32,
        step_full_N=2**20,
        step_N=_powers(8, 18, 2),
        edge_M=16,
        edge_steps=10_000,
        batch_M=128,
        batch_N=(2**12, 2**16),
        batch=_powers(0, 8),
    ),
    "full": Experiments(
        parts=tuple(PARTS),
        a=(2.0, 1.5),
        b=(1.5, 2.0, 2.5),
        M=_powers(4, 11),
        N=_powers(8, 40, 2),
        d=20000,
        sketches=3,
        gamma=0.1,
        visible_b=2.75,
        visible_gamma=0.2,
        paper_a=(2.0, 1.5),
        paper_d=20000,
        paper_M=_powers(3, 8),
        paper_N=_powers(6, 16, 2),
        paper_rows=256_000,
        paper_sketches=1000,
        windows_M=(64, 128, 256),
        windows_N=(2**12, 2**14, 2**16),
        frontier_M=_half_octaves(3, 11),
        frontier_C=_powers(14, 36),
        frontier_sketches=5,
        mc_M=_powers(3, 8),
        mc_N=_powers(8, 14, 2),
        mc_reduced=False,
        mc_blocks=20,
        mc_sketches=50,
        mc_runs=1,
        honest_runs=10_000,
        averaged_N=_powers(8, 30, 2),
        averaged_sketches=3,
        log_a=(1.5, 2.0, 3.0),
        log_decades=(3, 6, 12, 25, 50, 100, 200),
        step_M=128,
        step_full_N=2**28,
        step_N=_powers(8, 24, 2),
        edge_M=64,
        edge_steps=200_000,
        batch_M=1024,
        batch_N=(2**12, 2**16, 2**20),
        batch=_powers(0, 10),
    ),
}


@dataclass(frozen=True)
class Derivation:
    """Settings of the derivation's checks. M counts parameters, N steps of SGD; gamma is a first stepsize."""

    M: int = field(minimum=2, maximum=64, doc="parameters of the running example")
    d: int = field(minimum=64, doc="modes of the running example")
    N: int = field(minimum=16, doc="steps of the step-by-step recursions")
    gamma: float = field(above=0.0, below=1.0, doc="first stepsize of the running example")
    samples: int = field(minimum=1000, doc="samples of a moment")
    sgd_runs: int = field(minimum=50, doc="runs of SGD per Monte-Carlo mean, in the reduced form and in d dimensions")
    design_runs: int = field(minimum=50, doc="runs of SGD per design of the features")
    parts_N: tuple[int, ...] = field(ascending=True, minimum=4, doc="samples of the figure of the parts of the risk")
    sizes: tuple[int, ...] = field(
        ascending=True, minimum=8, doc="sizes M of the approximation error and of the spectrum, ascending"
    )
    modes: int = field(
        minimum=512, doc="explicit modes of those sketches; the rest through their mean where it matters"
    )
    sketches: int = field(minimum=2, doc="sketches per size")
    profile_N: tuple[int, ...] = field(
        ascending=True, minimum=16, doc="steps of the comparison of the noise profile, step by step"
    )
    instance_a: tuple[float, ...] = field(above=1.0, doc="spectra of the instance-wise bounds")
    instance_M: tuple[int, ...] = field(minimum=2, doc="sizes of the instance-wise bounds")
    instance_N: tuple[int, ...] = field(minimum=16, doc="samples of the instance-wise bounds")
    instance_shares: tuple[float, ...] = field(
        above=0.0, maximum=0.25, doc="stepsizes of the instance-wise bounds, as gamma tr(Sigma)"
    )
    wide_modes: int = field(minimum=64, doc="modes of the problem without a sketch")
    wide_N: tuple[int, ...] = field(
        ascending=True, minimum=256, doc="samples there, ascending; far fewer directions learned than modes"
    )
    bounds_M: int = field(minimum=8, doc="size of the sketches that are kept for the bounds of the main law; d = 12 M")
    ols_M: tuple[int, ...] = field(ascending=True, minimum=2, doc="sizes of the least-squares figure, ascending")
    ols_N: int = field(minimum=16, doc="its number of samples, above the largest size")
    beyond_M: int = field(minimum=16, doc="size of the sketches with a source exponent beyond a + 1")
    log_M: tuple[int, ...] = field(
        ascending=True, minimum=8, doc="sizes of the sketches of the logarithmic spectrum, ascending"
    )
    allocation_C: tuple[int, ...] = field(ascending=True, minimum=1024, doc="compute budgets C = M N of the allocation")
    allocation_octaves: int = field(minimum=2, maximum=10, doc="octaves of M above 8 that the allocation searches")
    double_N: int = field(minimum=8, maximum=500, doc="iterates of the average that is summed pair by pair")

    def __post_init__(self) -> None:
        if self.ols_N <= max(self.ols_M) + 1:
            raise ValueError(
                f"ols_N is {self.ols_N}; least squares needs more than max(ols_M) + 1 = {max(self.ols_M) + 1}."
            )


DERIVATION = {
    "smoke": Derivation(
        M=8,
        d=64,
        N=128,
        gamma=0.1,
        samples=20_000,
        sgd_runs=400,
        design_runs=4000,
        parts_N=_powers(4, 20, 2),
        sizes=(16, 32, 64),
        modes=1024,
        sketches=8,
        profile_N=(16, 31, 64, 100),
        instance_a=(1.5, 2.0),
        instance_M=(16,),
        instance_N=(2**8, 2**14),
        instance_shares=(0.02, 0.25),
        wide_modes=256,
        wide_N=(2**8, 2**12),
        bounds_M=12,
        ols_M=(4, 8, 16, 32, 48, 60),
        ols_N=64,
        beyond_M=48,
        log_M=(16, 64),
        allocation_C=(2**12,),
        allocation_octaves=3,
        double_N=40,
    ),
    "quick": Derivation(
        M=16,
        d=256,
        N=1024,
        gamma=0.1,
        samples=400_000,
        sgd_runs=2000,
        design_runs=40_000,
        parts_N=_powers(4, 40),
        sizes=(16, 32, 64, 128, 256),
        modes=4096,
        sketches=8,
        profile_N=(16, 17, 31, 64, 100, 1000, 4096),
        instance_a=(1.3, 1.5, 2.0, 3.0),
        instance_M=(16, 64, 128),
        instance_N=(2**8, 2**12, 2**16, 2**24),
        instance_shares=(0.02, 0.1, 0.25),
        wide_modes=512,
        wide_N=(2**10, 2**12, 2**14, 2**16, 2**18),
        bounds_M=48,
        ols_M=(4, 8, 16, 32, 64, 128, 192, 232, 250),
        ols_N=256,
        beyond_M=256,
        log_M=(32, 128, 512),
        allocation_C=(2**14, 2**16, 2**18),
        allocation_octaves=5,
        double_N=200,
    ),
    "full": Derivation(
        M=32,
        d=1024,
        N=16384,
        gamma=0.1,
        samples=2_000_000,
        sgd_runs=10_000,
        design_runs=1_000_000,
        parts_N=_powers(4, 60),
        sizes=(16, 32, 64, 128, 256, 512, 1024, 2048),
        modes=32768,
        sketches=16,
        profile_N=(16, 17, 31, 64, 100, 1000, 4096, 2**16, 10**5),
        instance_a=(1.1, 1.3, 1.5, 2.0, 3.0, 4.0),
        instance_M=(16, 64, 256, 1024),
        instance_N=(2**8, 2**12, 2**16, 2**24, 2**32, 2**40),
        instance_shares=(0.001, 0.02, 0.1, 0.25),
        wide_modes=4096,
        wide_N=(2**10, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24),
        bounds_M=192,
        ols_M=(4, 8, 16, 32, 64, 128, 256, 384, 512, 640, 768, 896, 960, 1000, 1016),
        ols_N=1024,
        beyond_M=2048,
        log_M=(64, 256, 1024, 4096),
        allocation_C=(2**14, 2**17, 2**20, 2**24),
        allocation_octaves=7,
        double_N=400,
    ),
}
