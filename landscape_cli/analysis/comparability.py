"""What surfaces have in common, and which measures of them may be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from landscape_cli.analysis.captions import split_of
from landscape_cli.analysis.invariance import is_relative_noise
from landscape_cli.analysis.measurement import Measurement
from landscape_cli.analysis.relative_noise import line_of, num_parts
from landscape_cli.analysis.sharpness import FROM_MODEL, MEASURES
from landscape_cli.analysis.unchecked import section, text
from landscape_cli.grid import Grid
from landscape_cli.surface import Surface

Family = Literal["centre", "grid", "noise", "model"]
_Effect = Literal["obstacle", "unpaired", "unequal"]
_Facts = dict[str, tuple[str, str]]  # aspect → what decides whether two are the same, and that in words

OF_PATHS = ("barrier", "error_barrier")  # the same in all slices, with an error over the examples
_OF_NOISE = ("adaptive_radius", "adaptive_avg")
_ON_SLICES = ("slice_curvature", "nonconvexity")  # from the model, but along the directions of the grid
_AT_DISTANCES = ("eps_sharpness", "mean_rise", "flat_radius", "flat_radius_min", "curvature", "asymmetry")
_BUDGETS = ("steps", "products", "probes", "tolerance", "count", "max_products", "seed")  # how exactly, not what
_NAMELESS = ("<lambda>", "<locals>", "functools.partial")  # of different functions, and without their options
_NOT_RANDOM = ("between", "pca", "gradient", "hessian", "file")
_FILES = {"between": "checkpoint", "pca": "checkpoints", "file": "path"}  # arguments that name files

_ALWAYS: dict[str, _Effect] = {"loss": "obstacle", "BatchNorm": "obstacle", "precision": "unequal"}
_ALONG_AXES: dict[str, _Effect] = {"axes": "obstacle", "grid": "obstacle", "network": "unpaired", "seed": "unpaired"}
_OF_DRAWING = ("network", "seed", "seed of the noise")
_ALONG_NOISE: dict[str, _Effect] = {
    "noise": "obstacle",
    "line of noise": "unequal",
    "network": "unpaired",
    "seed of the noise": "unpaired",
    "parts of the data": "unpaired",  # the signs of the noise are others
}


@dataclass(frozen=True)
class Aspect:
    """Something that surfaces have in common or not.

    Attributes:
        name: Such as ``"loss"``, or ``"data train"``.
        keys: Of each surface; equal ones are the same, and ``""`` is not known.
        words: The same for people.
    """

    name: str
    keys: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether all files say."""
        return all(self.keys)

    @property
    def is_same(self) -> bool:
        """Whether all files that say anything say the same."""
        return len({key for key in self.keys if key}) < 2

    def __str__(self) -> str:
        if len(set(self.keys)) < 2:
            return f"{self.name}: {self.words[0] or 'not known'}"
        shown = [words or "not known" for words in self.words]
        return f"{self.name}: {' → '.join(shown)}" + (" (not quite the same)" if len(set(shown)) < 2 else "")


@dataclass(frozen=True)
class Relation:
    """How two measurements of one measure relate.

    Attributes:
        obstacles: Why they may not be compared; none where they may.
        unpaired: Why slice i of one is not along the random direction of slice i of the other.
        unequal: What differs and moves the numbers a little.
        unknown: What a file does not say, so that nobody can tell.
        remarks: What else differs.
    """

    obstacles: tuple[str, ...] = ()
    unpaired: tuple[str, ...] = ()
    unequal: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def why_unpaired(self) -> tuple[str, ...]:
        """Why slice i of one is not, or may not be, along the random direction of slice i of the other."""
        return (*self.unpaired, *(f"{name}: not known" for name in self.unknown if name in _OF_DRAWING))

    @property
    def differences(self) -> tuple[str, ...]:
        """Everything that must be the same before a decision is based on the two."""
        unknown = tuple(f"{name}: not known" for name in self.unknown)
        return (*self.obstacles, *self.unpaired, *self.unequal, *unknown)


def family_of(name: str) -> Family:
    """What a measure rests on; anything else is a metric at the checkpoint."""
    plain = _plain(name)
    if plain in _OF_NOISE:
        return "noise"
    if plain in FROM_MODEL:
        return "model"
    return "grid" if plain in MEASURES else "centre"


def aspects(surfaces: Sequence[Surface]) -> dict[str, Aspect]:
    """Everything that decides whether numbers of these surfaces may be compared, by name."""
    found = [_facts(surface) for surface in surfaces]
    names = dict.fromkeys(name for facts in found for name in facts)
    columns = {name: [facts.get(name, ("", "")) for facts in found] for name in names}
    return {name: Aspect(name, tuple(k for k, _ in each), tuple(w for _, w in each)) for name, each in columns.items()}


def relation(pair: Mapping[str, Aspect], base: Measurement, new: Measurement, metric: str) -> Relation:
    """How two measurements of the same measure relate.

    Args:
        pair: The aspects of these two surfaces.
        base: Of the first.
        new: Of the second.
        metric: The loss that was measured, or the metric at the checkpoint itself.
    """
    told: dict[_Effect, list[str]] = {"obstacle": [], "unpaired": [], "unequal": []}
    unknown = []
    for name, effect in _concerns(base, metric, pair).items():
        aspect = pair.get(name, Aspect(name, ("",), ("",)))
        if not aspect.is_same:
            told[effect].append(str(aspect))
        elif not aspect.is_known:
            unknown.append(name)
    obstacles, unequal, remarks = _of_settings(base, new)
    return Relation(
        obstacles=(*told["obstacle"], *obstacles),
        unpaired=tuple(told["unpaired"]),
        unequal=(*told["unequal"], *unequal),
        unknown=tuple(unknown),
        remarks=tuple(remarks),
    )


def _concerns(measurement: Measurement, metric: str, pair: Mapping[str, Aspect]) -> dict[str, _Effect]:
    """The aspects that a measure depends on, and what it means where they differ."""
    plain, family = _plain(measurement.name), family_of(measurement.name)
    splits = [name.removeprefix("data ") for name in pair if name.startswith("data ")]
    split = measurement.split or max((each for each in splits if metric.startswith(f"{each}_")), key=len, default="")
    concerns: dict[str, _Effect] = {f"data {split}".rstrip(): "obstacle", **_ALWAYS}
    own = metric.removeprefix(f"{split}_")
    if family == "centre" and own != "loss":
        del concerns["loss"]
        concerns[f"metric {own}"] = "obstacle"
    if family == "model":
        concerns["network"] = "unequal"
    if family == "noise":
        concerns |= _ALONG_NOISE
    if family == "grid" or plain in _ON_SLICES:
        concerns |= _ALONG_AXES
    if plain in _AT_DISTANCES:
        concerns["grid"] = "unequal"
    if plain in OF_PATHS:
        concerns["axes"] = "unequal"  # of a path, wherever it leads
    if plain == "slice_curvature":
        del concerns["grid"]
    return concerns


def _of_settings(base: Measurement, new: Measurement) -> tuple[list[str], list[str], list[str]]:
    """In which options two measurements differ: obstacles, what moves the numbers a little, remarks."""
    obstacles: list[str] = []
    remarks: list[str] = []
    for key in sorted({*base.settings, *new.settings}):
        found = [each.settings.get(key) for each in (base, new)]
        if found[0] != found[1]:
            words = f"{key}: {' → '.join('not given' if each is None else f'{each:g}' for each in found)}"
            (remarks if key in _BUDGETS else obstacles).append(words)
    if base.kind != new.kind:
        obstacles.append(f"{base.kind or 'not given'} → {new.kind or 'not given'}")
    *conditions, precision = [
        f"{before} → {after}" if before != after else ""
        for before, after in zip(base.holds_for or [""] * 5, new.holds_for or [""] * 5, strict=True)
    ]
    return [*obstacles, *filter(None, conditions)], [precision] if precision else [], remarks


# ---------------------------------------------------------------- what a file says


def _facts(surface: Surface) -> _Facts:
    identity, resolved = surface.provenance.identity, surface.provenance.resolved
    facts: _Facts = {
        "loss": _component(identity.get("loss") or resolved.get("loss")),
        "BatchNorm": _batchnorm(surface),
        "precision": _same(text(section(resolved, "evaluation").get("precision"))),
        "network": _network(section(section(resolved, "found"), "parameters")),
        "axes": _recipes(surface),
        "grid": _points(surface.grid),
        "seed": _seed(surface, section(resolved, "slices").get("seed")),
    }
    data = section(identity, "data") or {split_of(surface, name): None for name in surface.metrics}
    facts |= {f"data {name}": _data(given) for name, given in data.items()}
    facts |= {f"metric {name}": _component(given) for name, given in section(identity, "metrics").items()}
    line = line_of(surface)
    if len(line.grid.axes) == 1 and is_relative_noise(line.directions["x"].recipe):
        seed = section(resolved, "slices").get("seed")
        own = section(resolved, "radius").get("seed") if surface.radius is not None else None
        facts |= {"noise": _recipes(line), "line of noise": _points(line.grid)}
        facts["seed of the noise"] = _seed(line, seed if own is None else own)
        facts["parts of the data"] = _same(str(num_parts(line)))
    return facts


def _component(given: JsonValue) -> tuple[str, str]:
    found = given if isinstance(given, dict) else {}
    target = text(found.get("_target_"))
    if not target or any(each in target for each in _NAMELESS):
        return "", ""
    return json.dumps(found, sort_keys=True), _in_words(found)


def _batchnorm(surface: Surface) -> tuple[str, str]:
    evaluation = section(surface.provenance.resolved, "evaluation")
    if section(surface.provenance.resolved, "found").get("has_batchnorm") is False:
        return _same("none")
    policy, recalibration = text(evaluation.get("batchnorm")), section(evaluation, "recalibration")
    words = f"{policy}{_options_in_words(recalibration)}" if policy else ""
    if policy != "recalibrate":
        return _same(words)
    data = section(surface.provenance.identity, "data")  # statistics are those of a split, whatever else is measured
    split = text(recalibration.get("split")) or ("train" if "train" in data else next(iter(data), ""))
    key, in_words = _data(data.get(split))
    return f"{words} {key}" if key else "", f"{words} on {split}, {in_words}"


def _network(parameters: Mapping[str, JsonValue]) -> tuple[str, str]:
    num, sha256 = parameters.get("num"), text(parameters.get("sha256"))
    return sha256, f"{num:,} parameters, {sha256[:8]}…" if isinstance(num, int) and sha256 else sha256[:8]


def _data(given: JsonValue) -> tuple[str, str]:
    found = given if isinstance(given, dict) else {}
    digest, num = text(found.get("fingerprint")), found.get("num_examples")
    if not digest or not isinstance(num, int):
        return "", ""
    return f"{digest} {num}", f"n = {num:,}, {digest[:8]}…"


def _recipes(surface: Surface) -> tuple[str, str]:
    """Of all axes, with the defaults of random directions filled in."""
    recipes = {axis.name: dict(surface.directions[axis.name].recipe) for axis in surface.grid.axes}
    for recipe in recipes.values():
        if recipe.get("_target_") == "random":
            recipe.setdefault("normalization", "filter")
            recipe["ignore"] = recipe.get("ignore") or ("none" if recipe["normalization"] == "weight" else "biasbn")
    if any(recipe.get("_target_") in (None, "unknown") for recipe in recipes.values()):
        return "", ""
    words = [f"{name} {_in_words(recipe)}" for name, recipe in recipes.items()]
    contents = {name: recipe | _content(surface, name, text(recipe["_target_"])) for name, recipe in recipes.items()}
    return json.dumps(contents, sort_keys=True), ", ".join(words)


def _content(surface: Surface, axis: str, target: str) -> dict[str, JsonValue]:
    """Of a direction that is made of files, what these hold, by their SHA-256: not where they lie."""
    axes = section(surface.provenance.identity, "axes")
    argument, direction = _FILES.get(target, ""), section(section(axes, axis), "direction")
    return {argument: direction[argument]} if argument in direction else {}


def _in_words(component: Mapping[str, JsonValue]) -> str:
    options = {key: value for key, value in component.items() if key not in ("_target_", "ignore")}
    return f"{component['_target_']}{_options_in_words(options)}"


def _options_in_words(options: Mapping[str, JsonValue]) -> str:
    return f" ({', '.join(f'{key}: {_short(value)}' for key, value in options.items())})" if options else ""


def _points(grid: Grid) -> tuple[str, str]:
    ends = [f"{len(axis)} from {axis.coordinates[0]:g} to {axis.coordinates[-1]:g}" for axis in grid.axes]
    return repr([axis.coordinates for axis in grid.axes]), " × ".join(ends)


def _seed(surface: Surface, seed: JsonValue) -> tuple[str, str]:
    """Of the random directions; a remark where there are none."""
    targets = [direction.recipe.get("_target_") for direction in surface.directions.values()]
    if any(target in (None, "unknown") for target in targets):
        return "", ""
    if all(target in _NOT_RANDOM for target in targets):
        return "nothing is random", "nothing is random"
    return _same(str(seed) if isinstance(seed, int) else "")


def _same(text: str) -> tuple[str, str]:
    return text, text


def _plain(name: str) -> str:
    """``eps_sharpness`` of ``eps_sharpness(0.5)``."""
    return name.partition("(")[0]


def _short(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:20]}…{text[-12:]}"


def sha256_of_checkpoint(surface: Surface) -> str | None:
    """Of the file, or of the weights of a model that was in hand; None where the surface does not say."""
    found = section(surface.provenance.identity, "checkpoint")
    return text(found.get("sha256") or found.get("weights_sha256")) or None
