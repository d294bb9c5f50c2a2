"""Presets of the chapter's notebooks: what each runs at the scales smoke, quick and full."""

from dataclasses import dataclass

from tenpapers.presets import field

PARTS = {
    "separation": ("C7",),
    "rates": ("C4",),
    "map": ("C6",),
    "rescue": ("C8",),
    "gaussian": ("C10",),
    "misspecified": ("C5", "C11"),
    "sharpness": ("C3", "C9"),
}
"""The parts of the experiments' notebook, each with the claims that it checks."""


@dataclass(frozen=True)
class Experiments:
    """Settings of the experiments. d counts coordinates, N samples, seeds independent runs; spectra are i^-decay."""

    parts: tuple[str, ...] = field(choices=tuple(PARTS), doc="parts of the notebook to run; the others are left out")
    d: int = field(minimum=4, doc="coordinates of the running example, spectrum i^-2")
    gamma: float = field(above=0.0, maximum=1.0, doc="first stepsize")
    sigma: float = field(above=0.0, doc="standard deviation of the label noise where there is one")
    N: tuple[int, ...] = field(minimum=16, doc="samples of the separation, ascending")
    seeds: int = field(minimum=20, doc="runs per point of the separation and the rescue")
    decays: tuple[float, ...] = field(above=1.0, doc="power laws of the rates; an exponential spectrum comes with them")
    rates_d: int = field(minimum=8, doc="coordinates of the rates")
    rates_N: tuple[int, ...] = field(minimum=16, doc="samples of the rates by density evolution")
    rates_far: tuple[int, ...] = field(minimum=16, doc="samples of the rates by the sandwich alone")
    map_d: int = field(minimum=4, doc="coordinates of the map of the ratio")
    map_sigma: tuple[float, ...] = field(minimum=0.0, doc="noise levels of the map")
    map_gamma: tuple[float, ...] = field(above=0.0, maximum=1.0, doc="stepsizes of the map")
    map_N: tuple[int, ...] = field(minimum=4, doc="samples of the map")
    rescue_N: int = field(minimum=64, doc="samples of the rescue")
    rescue_sigma: tuple[float, ...] = field(minimum=0.0, doc="noise levels of the rescue")
    gaussian_d: int = field(minimum=4, doc="coordinates of the Gaussian design")
    gaussian_N: tuple[int, ...] = field(minimum=16, doc="samples of the Gaussian design")
    gaussian_seeds: int = field(minimum=20, doc="runs per point of the Gaussian design")
    wrong_d: int = field(minimum=3, doc="coordinates of the misspecified problems")
    wrong_N: int = field(minimum=64, doc="samples of the misspecified problems")
    wrong_seeds: int = field(minimum=10, doc="runs of the misspecified problems")
    wrong_test: int = field(minimum=1000, doc="fresh samples that measure their risks")
    wrong_starts: int = field(minimum=2, doc="starts of the search for the best neuron")
    instances: int = field(minimum=10, doc="random spectra of the sharpness")


def _powers(low: int, high: int, step: int = 1) -> tuple[int, ...]:
    return tuple(2**k for k in range(low, high + 1, step))


EXPERIMENTS = {
    "smoke": Experiments(
        parts=tuple(PARTS),
        d=50,
        gamma=0.5,
        sigma=0.5,
        N=(64, 256),
        seeds=400,
        decays=(1.5, 2.0, 3.0),
        rates_d=60,
        rates_N=(64, 256),
        rates_far=(256, 1024, 4096),
        map_d=20,
        map_sigma=(0.0, 3.0),
        map_gamma=(0.9,),
        map_N=(64,),
        rescue_N=256,
        rescue_sigma=(0.0, 0.5),
        gaussian_d=20,
        gaussian_N=(64, 128),
        gaussian_seeds=100,
        wrong_d=4,
        wrong_N=256,
        wrong_seeds=40,
        wrong_test=4000,
        wrong_starts=3,
        instances=40,
    ),
    "quick": Experiments(
        parts=tuple(PARTS),
        d=200,
        gamma=0.5,
        sigma=0.5,
        N=_powers(6, 14, 2),
        seeds=1000,
        decays=(1.5, 2.0, 3.0),
        rates_d=2000,
        rates_N=_powers(8, 14),
        rates_far=_powers(8, 24),
        map_d=100,
        map_sigma=(0.0, 0.1, 0.5, 1.0, 3.0),
        map_gamma=(0.1, 0.5, 0.9),
        map_N=(256, 2048),
        rescue_N=4096,
        rescue_sigma=(0.0, 0.05, 0.2, 0.5, 1.0),
        gaussian_d=200,
        gaussian_N=(128, 256, 512, 1024),
        gaussian_seeds=200,
        wrong_d=20,
        wrong_N=1024,
        wrong_seeds=100,
        wrong_test=40_000,
        wrong_starts=8,
        instances=300,
    ),
    "full": Experiments(
        parts=tuple(PARTS),
        d=100_000,
        gamma=0.5,
        sigma=0.5,
        N=_powers(6, 22, 2),
        seeds=10_000,
        decays=(1.5, 2.0, 3.0),
        rates_d=100_000,
        rates_N=_powers(8, 22, 2),
        rates_far=_powers(8, 40),
        map_d=200,
        map_sigma=tuple(round(10 ** (-2 + 2.5 * k / 49), 6) for k in range(50)),
        map_gamma=tuple(round((k + 1) / 50, 6) for k in range(50)),
        map_N=(256, 2048),
        rescue_N=2**16,
        rescue_sigma=(0.0, 0.01, 0.05, 0.2, 0.5, 1.0, 2.0),
        gaussian_d=10_000,
        gaussian_N=(1000, 10_000, 100_000),
        gaussian_seeds=256,
        wrong_d=50,
        wrong_N=16_384,
        wrong_seeds=400,
        wrong_test=1_000_000,
        wrong_starts=64,
        instances=10_000,
    ),
}


@dataclass(frozen=True)
class Derivation:
    """Settings of the derivation's checks."""

    tree_N: int = field(minimum=2, maximum=8, doc="samples of the tree of all draws of one coordinate")
    pairs: int = field(minimum=10, doc="random pairs (w, w*) of the quarter and half")
    d: int = field(minimum=3, maximum=500, doc="coordinates of the running example, spectrum i^-2")
    N: int = field(minimum=64, doc="samples of the running example")
    runs: int = field(minimum=200, doc="runs per Monte-Carlo mean, Bernoulli design")
    gaussian_runs: int = field(minimum=100, doc="runs per Monte-Carlo mean, Gaussian design")
    spectra: int = field(minimum=10, doc="random spectra of the variance bound")
    phases: tuple[int, ...] = field(minimum=4, maximum=24, doc="numbers of phases L of the rates, N = 2^L")


DERIVATION = {
    "smoke": Derivation(tree_N=4, pairs=100, d=20, N=128, runs=2000, gaussian_runs=500, spectra=20, phases=(8, 12, 16)),
    "quick": Derivation(
        tree_N=8, pairs=2000, d=100, N=1024, runs=20_000, gaussian_runs=1000, spectra=200, phases=(8, 12, 16, 20, 24)
    ),
    "full": Derivation(
        tree_N=8, pairs=100_000, d=400, N=4096, runs=1_000_000, gaussian_runs=20_000, spectra=5000, phases=(8, 16, 24)
    ),
}
