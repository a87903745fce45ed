"""Trials of the gate study: what the gate says of two networks whose radii are known from other directions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from landscape_cli import Surface
from landscape_cli.analysis.contrast import contrast
from landscape_cli.analysis.gate import gate
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.orientation import better_when
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.sharpness import measured
from landscape_cli.analysis.student import t_quantile
from landscape_cli.analysis.tolerance import Decided, Tolerance, outcome
from landscape_cli.beside import RadiusConfig
from landscape_cli.grid import Grid
from landscape_cli.surface import Direction, FloatArray, Metric
from scripts.gate_networks import Network

MEASURE, TAU = "adaptive_radius", 0.1
TOLERANCE = Tolerance(MEASURE, 0.15)
SIZES, LOOKS = (5, 10, 20, 40, 80), (20, 40, 80)  # numbers of directions
CONFIDENCE = 0.95
STRICT = 1 - (1 - CONFIDENCE) / len(LOOKS)  # Bonferroni
MOST = max(SIZES)

# ---------------------------------------------------------------- networks whose radii are known


@dataclass(frozen=True)
class Halves:
    """A network with its directions in two halves: trials are along one, what is true is from the other.

    Attributes:
        network: As trained.
        lines: Of the two halves.
        log_radius: log r of each half.
        rises: Of each half, the rise of the loss at a relative noise of 0.3, direction by direction.
    """

    network: Network
    lines: tuple[Surface, Surface]
    log_radius: tuple[float, float]
    rises: tuple[FloatArray, FloatArray]

    @classmethod
    def of(cls, network: Network) -> Halves:
        """Split the directions of a network."""
        line = network.line.surface
        num = line.grid.num_slices // 2
        first, second = line.of_slices(range(num)), line.of_slices(range(num, 2 * num))
        rises = [np.asarray(measured(each, "adaptive_avg").per_slice) for each in (first, second)]
        radii = (math.log(radius_of(first)), math.log(radius_of(second)))
        return cls(network, (first, second), radii, (rises[0], rises[1]))

    @property
    def size(self) -> int:
        """Directions in each half."""
        return self.lines[0].grid.num_slices


@dataclass(frozen=True)
class Case:
    """Two networks of one architecture, and the half of the directions that trials are along.

    Attributes:
        base, new: The networks.
        half: 0 or 1.
        truth: log (r_new / r_base) along the other half.
    """

    base: Halves
    new: Halves
    half: int
    truth: float

    @property
    def sharpening(self) -> float:
        """r_base / r_new: above 1 where NEW is sharper."""
        return math.exp(-self.truth)

    @property
    def architecture(self) -> str:
        """Of both."""
        return self.base.network.recipe.architecture

    @property
    def is_retrained(self) -> bool:
        """Whether they differ in the seed of the training alone."""
        return self.base.network.recipe.configuration == self.new.network.recipe.configuration


def cases(networks: Sequence[Halves]) -> list[Case]:
    """Every ordered pair of networks of one architecture, with either half."""
    return [
        Case(base, new, half, new.log_radius[1 - half] - base.log_radius[1 - half])
        for base, new in itertools.permutations(networks, 2)
        if base.network.recipe.architecture == new.network.recipe.architecture
        for half in (0, 1)
    ]


def evenly(found: Sequence[Case], num: int, rng: Generator) -> list[Case]:
    """Draw from each architecture in turn, and no case again before all of the architecture have been drawn."""
    by_architecture: dict[str, list[Case]] = {}
    for case in found:
        by_architecture.setdefault(case.architecture, []).append(case)
    decks = [itertools.cycle([deck[i] for i in rng.permutation(len(deck))]) for deck in by_architecture.values()]
    return [next(deck) for deck in itertools.islice(itertools.cycle(decks), num)] if decks else []


# ---------------------------------------------------------------- one trial


@dataclass(frozen=True)
class Look:
    """What the gate sees with so many directions.

    Attributes:
        log_ratio: D = log (r_new / r_base).
        error: Its standard error, by the paired jackknife; NaN where there is none.
        at: The outcome for each one-sided confidence.
    """

    log_ratio: float
    error: float
    at: Mapping[float, Decided]


Looks = dict[int, Look]


def looks(pair: tuple[Surface, Surface]) -> Looks:
    """Apply the gate to the first directions of both lines: 5, 10, 20, …"""
    base, new = pair
    return {size: look(base.of_slices(range(size)), new.of_slices(range(size))) for size in SIZES}


def look(base: Surface, new: Surface) -> Look:
    """Apply the gate as `landscape compare` does, with either confidence."""
    better = better_when(MEASURE)
    assert better is not None
    found = contrast(measurement(base), measurement(new), is_paired=True)
    if found is None:  # both beyond their lines
        return Look(math.nan, math.nan, {CONFIDENCE: "inconclusive", STRICT: "inconclusive"})
    at = {each: outcome(found, TOLERANCE, better, each) or "inconclusive" for each in (CONFIDENCE, STRICT)}
    return Look(found.log_ratio, found.error_of_log, at)


def measurement(line: Surface) -> Measurement:
    """The adaptive radius."""
    return measured(line, MEASURE, tau=TAU)


def radius_of(line: Surface) -> float:
    """The adaptive radius; every network of the study has one on the line."""
    found = measurement(line)
    assert found.value is not None
    assert found.bound is None
    return found.value


def pairs(drawn: Iterable[Case], rng: Generator) -> Iterator[tuple[Surface, Surface]]:
    """Both lines along the same random directions of the half, as many as the largest look takes."""
    for case in drawn:
        chosen = rng.permutation(case.base.size)[:MOST].tolist()
        yield case.base.lines[case.half].of_slices(chosen), case.new.lines[case.half].of_slices(chosen)


def sequential(found: Looks, confidence: float = STRICT) -> tuple[Decided, int]:
    """Look at 20, 40 and 80 directions, each time with this confidence, until it is decided; with how many it was."""
    for size in LOOKS:
        if found[size].at[confidence] != "inconclusive":
            return found[size].at[confidence], size
    return "inconclusive", LOOKS[-1]


def covers(found: Look, truth: float, size: int, size_of_truth: int) -> bool:
    """Whether the 90 % interval of D has the truth in it; the truth is a mean over directions too, which adds
    size / size_of_truth of the variance.
    """
    half = t_quantile(size - 1, confidence=0.9) * found.error * math.sqrt(1 + size / size_of_truth)
    return abs(found.log_ratio - truth) <= half


# ---------------------------------------------------------------- several baselines


def verdict_beside(group: Sequence[Surface]) -> str:
    """What the gate says with several baselines.

    Args:
        group: The line of NEW, then those of k ≥ 2 baselines, along the same S directions.
    """
    new, *bases = group
    named = [Named(f"baseline {index}", each) for index, each in enumerate(bases)]
    (verdict,) = gate(named, Named("NEW", new), [TOLERANCE], tau=TAU, confidence=CONFIDENCE)
    assert verdict.outcome != "not comparable", verdict.sentence
    return verdict.outcome


@dataclass(frozen=True)
class Retraining:
    """A new network beside several trainings with one configuration, and the half that trials are along.

    Attributes:
        bases: All trainings with the configuration but NEW itself.
        new: The new network.
        half: 0 or 1.
        sharpening: Mean radius (geometric) of the baselines along the other half, by that of NEW.
    """

    bases: tuple[Halves, ...]
    new: Halves
    half: int
    sharpening: float

    @property
    def architecture(self) -> str:
        """Of all of them."""
        return self.new.network.recipe.architecture

    @property
    def is_retrained(self) -> bool:
        """Whether NEW is of the same configuration."""
        return self.bases[0].network.recipe.configuration == self.new.network.recipe.configuration


def retrainings(networks: Sequence[Halves]) -> list[Retraining]:
    """Every configuration with every network of its architecture."""
    groups: dict[str, list[Halves]] = {}
    for each in networks:
        groups.setdefault(each.network.recipe.configuration, []).append(each)
    found = []
    for group, new, half in itertools.product(groups.values(), networks, (0, 1)):
        bases = tuple(each for each in group if each is not new)
        if bases and bases[0].network.recipe.architecture == new.network.recipe.architecture:
            mean = float(np.mean([each.log_radius[1 - half] for each in bases]))
            found.append(Retraining(bases, new, half, math.exp(mean - new.log_radius[1 - half])))
    return found


def groups(found: Sequence[Retraining], k: int, size: int, num: int, rng: Generator) -> Iterator[list[Surface]]:
    """NEW and k of its baselines, along the same random directions, as `verdict_beside` takes them."""
    able = [each for each in found if len(each.bases) >= k]
    for index in rng.permutation(np.resize(np.arange(len(able)), num if able else 0)):
        each = able[index]
        chosen = rng.permutation(each.new.size)[:size].tolist()
        bases = [each.bases[i] for i in rng.permutation(len(each.bases))[:k]]
        yield [one.lines[each.half].of_slices(chosen) for one in (each.new, *bases)]


# ---------------------------------------------------------------- what is used without error bars


def fires(case: Case, rng: Generator) -> dict[str, bool]:
    """Whether the rise at a relative noise of 0.3 is up by more than 38 % (as 15 % off the radius of a quadratic)."""
    base, new = case.base.rises[case.half], case.new.rises[case.half]
    order = rng.permutation(case.base.size)
    means = {
        "one direction, the same for both": (base[order[0]], new[order[0]]),
        "one direction each": (base[order[0]], new[order[1]]),
        "mean of ten directions each": (base[order[:10]].mean(), new[order[10:20]].mean()),
    }
    return {rule: bool(after > 1.38 * before) for rule, (before, after) in means.items()}


def rises_alike(case: Case) -> bool:
    """Whether the mean rise at 0.3 along the other half is the same within 10 %, too."""
    base, new = case.base.rises[1 - case.half].mean(), case.new.rises[1 - case.half].mean()
    return bool(abs(math.log(new / base)) <= math.log(1.1))


# ---------------------------------------------------------------- quadratics: the truth is known exactly


def quadratics(num: int, rng: Generator) -> Iterator[tuple[Surface, Surface]]:
    """Pairs with a true ratio r_new / r_base of exactly 0.85, where FAIL must not come in more than 5 %.

    L(θ + s|θ|⊙ε) − L(θ) = s²/2 Σ λᵢ εᵢ² with 40 eigenvalues λᵢ, r = √(2τ / Σ λᵢ); those of NEW are others.
    """
    for _ in range(num):
        base = np.exp(rng.normal(0, 1.5, 40))
        new = base * np.exp(rng.normal(0, 0.7, 40))
        base *= 2 * TAU / base.sum() / math.exp(rng.uniform(math.log(0.1), math.log(0.5))) ** 2
        new *= base.sum() / new.sum() / math.exp(2 * TOLERANCE.limit("higher"))
        squared = rng.standard_normal((MOST, 40)) ** 2
        yield quadratic(squared @ base), quadratic(squared @ new)


def quadratic(curvatures: FloatArray) -> Surface:
    """The line of relative noise with a rise of c s²/2, one c for every direction."""
    axis = RadiusConfig().axes().x.axis("x")
    values = curvatures[:, None] * np.asarray(axis.coordinates) ** 2 / 2
    num = len(curvatures)
    return Surface(
        grid=Grid((axis,), num),
        metrics={"train_loss": Metric(values, np.zeros_like(values), 0.0, 0.0, 0)},
        directions={"x": Direction({"_target_": "random", "normalization": "weight"}, (1.0,) * num)},
        fingerprint="",
        evaluated=np.ones(values.shape, dtype=np.bool_),
    )
