"""The words on a picture: titles, axis labels, footers, and which split a metric belongs to."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.analysis.unchecked import section, text, visible
from landscape_cli.surface import Surface

_MAX_NAME = 28
_FOOTER_WIDTH = 132
_MOST_OWN = 4  # files of which the footer says what is their own
_ZERO_COSINE = 1e-6  # of vectors in float32
_NOT_DRAWN = ("between", "pca", "gradient", "hessian", "file", "unknown")


def title(surface: Surface, what: str, slice_index: int | None) -> str:
    """What is drawn of which model; on lines of their own the slice, and how much of a partial surface there is."""
    model = text(_section(surface, "model").get("_target_")).rpartition(".")[2]
    lines = [f"{shortened(model)}: {what}" if model else what]
    if slice_index is not None:
        lines.append(f"slice {slice_index} of {surface.grid.num_slices}, counting from 0")
    if not surface.complete:
        lines.append(f"PARTIAL: {surface.num_evaluated:,} of {surface.grid.num_points:,} points")
    return "\n".join(lines)


def axis_label(surface: Surface, axis: str) -> str:
    """The direction of an axis and what its unit means."""
    direction = surface.directions[axis]
    recipe, found = direction.recipe, direction.found
    special = _SPECIAL.get(text(recipe.get("_target_")))
    only = _selected(recipe)
    if special is not None:
        orthogonal = ", orthogonal to the axes before" if recipe.get("orthogonal") else ""
        return f"{axis}: {special(surface, recipe, found)}{only}{orthogonal}"
    target = text(recipe.get("_target_")).rpartition(".")[2] or "unknown"
    normalization = text(recipe.get("normalization")) or ("filter" if target == "random" else "")
    unit = {
        "filter": "1.0 = every filter moved by its own norm",
        "layer": "1.0 = every tensor moved by its own norm",
        "weight": "1.0 = 100 % relative noise on every weight",
        "unit": "Euclidean length",
    }.get(normalization, "multiples of the direction" if target != "unknown" else "coordinates as in the original")
    return f"{axis}: {shortened(target)} direction{only} ({unit})"


def axes_by_label(surface: Surface) -> dict[str, list[str]]:
    """What the unit of the axes means → the names of those of which it is true."""
    labels: dict[str, list[str]] = {}
    for axis in surface.grid.axes:
        labels.setdefault(axis_label(surface, axis.name).removeprefix(f"{axis.name}: "), []).append(axis.name)
    return labels


def _selected(recipe: Mapping[str, JsonValue]) -> str:
    """Of which parameters a direction consists, where it is not all of them."""
    parameters = recipe.get("parameters")
    if not isinstance(parameters, dict):
        return ""
    names = {key: ", ".join(map(str, globs)) for key, globs in parameters.items() if isinstance(globs, list)}
    without = f" without {shortened(names['exclude'])}" if names.get("exclude") else ""
    return f" in {shortened(names.get('include', '*'))}{without}"


_Facts = Mapping[str, JsonValue]


def _between(surface: Surface, recipe: _Facts, found: _Facts) -> str:  # noqa: ARG001  # one signature for all
    ends = [Path(text(path)) for path in (_section(surface, "checkpoint").get("path"), recipe.get("checkpoint"))]
    is_same_name = ends[0].name == ends[1].name
    a, b = (shortened(f"{end.parent.name}/{end.name}" if is_same_name else end.name) or "the model" for end in ends)
    return f"towards {b}" if recipe.get("orthogonal") else f"from {a} (0) to {b} (1)"


def _principal(surface: Surface, recipe: _Facts, found: _Facts) -> str:  # noqa: ARG001
    share = found.get("explained_variance_ratio")
    variance = f" ({100 * share:.3g} % of the variance)" if isinstance(share, float) else ""
    return f"principal direction {found.get('component', '')} of the path{variance}"


def _eigenvector(surface: Surface, recipe: _Facts, found: _Facts) -> str:  # noqa: ARG001
    value = found.get("eigenvalue")
    words = f", λ = {value:.3g}" if isinstance(value, float) else ""
    return f"Hessian eigenvector{words} (Euclidean length)"


_SPECIAL = {"between": _between, "pca": _principal, "hessian": _eigenvector}


def quantity(surface: Surface, name: str) -> str:
    """A metric with, for a loss, the name of the loss function."""
    kind = text(_section(surface, "loss").get("_target_")).rpartition(".")[2]
    return f"{readable(name)} ({shortened(kind)})" if kind and name.endswith("_loss") else readable(name)


def footer(
    surface: Surface, width: int = _FOOTER_WIDTH, *, with_slices: bool = True, slice_index: int | None = None
) -> str:
    """From what the picture was made: checkpoint, sizes, BatchNorm, precision, slices; in lines that wide.

    Args:
        surface: What is drawn.
        width: Characters in a line.
        with_slices: Whether the directions of the grid have to do with the picture.
        slice_index: The one that is drawn; None for all of them.
    """
    return _wrapped(_facts(surface, with_slices, slice_index), width)


def footer_of_several(
    surfaces: Mapping[str, Surface],
    width: int = _FOOTER_WIDTH,
    *,
    with_slices: bool = True,
    slice_index: int | None = None,
) -> str:
    """The same of several surfaces: what is common to them, and of each file what is not."""
    facts = {name: _facts(surface, with_slices, slice_index) for name, surface in surfaces.items()}
    first = next(iter(facts.values()))
    common = [fact for fact in first if all(fact in each for each in facts.values())]
    own = [f"{shortened(name)}: {', '.join(f for f in each if f not in common)}" for name, each in facts.items()]
    differing = [words for words in own if not words.endswith(": ")]
    if len(differing) > _MOST_OWN:
        differing = [f"{len(differing)} files that differ in the rest: landscape compare"]
    return _wrapped([*common, *differing], width)


def _wrapped(facts: list[str], width: int) -> str:
    return "\n".join(textwrap.wrap("  ·  ".join(map(visible, facts)), width))


def _facts(surface: Surface, with_slices: bool, slice_index: int | None) -> list[str]:
    checkpoint = Path(text(_section(surface, "checkpoint").get("path"))).name
    sizes = {split_of(surface, name): metric.num_examples for name, metric in surface.metrics.items()}
    evaluation = _section(surface, "evaluation")
    batchnorm = text(evaluation.get("batchnorm"))
    parts = [
        shortened(" ".join(checkpoint.split())),
        _origin(surface),
        ", ".join(f"n({split}) = {size:,}" for split, size in sizes.items() if size) or "n unknown",
        _normalization(surface) if with_slices else "",
        f"BatchNorm {batchnorm}" if batchnorm and _section(surface, "found").get("has_batchnorm") is not False else "",
        text(evaluation.get("precision")),
        _cosines(surface, slice_index) if with_slices else "",
        _slices(surface) if with_slices else "",
    ]
    return [part for part in parts if part]


def _normalization(surface: Surface) -> str:
    """Of the directions that have one; random ones have ``filter`` where nothing else is said."""
    recipes = [direction.recipe for direction in surface.directions.values()]
    usual = {"random": "filter"}
    found = [text(each.get("normalization")) or usual.get(text(each.get("_target_")), "") for each in recipes]
    names = [shortened(name) for name in dict.fromkeys(found) if name]
    return f"{' and '.join(names)} normalization" if names else ""


def _cosines(surface: Surface, slice_index: int | None) -> str:
    """Between the axes, of a slice, or from the least to the largest of all of them."""
    words = []
    for pair, each in surface.cosines().items():
        chosen = each if slice_index is None else [each[slice_index]]
        ends = dict.fromkeys(f"{0.0 if abs(end) < _ZERO_COSINE else end:.2g}" for end in (min(chosen), max(chosen)))
        words.append(f"cos({pair}) = {' … '.join(ends)}")
    return ", ".join(words)


def _slices(surface: Surface) -> str:
    """How many draws of the random directions there are; nothing where no direction is random."""
    if surface.grid.num_slices > 1:
        return f"{surface.grid.num_slices} slices"
    drawn = [text(direction.recipe.get("_target_")) for direction in surface.directions.values()]
    return "one slice: no error bar" if any(target not in _NOT_DRAWN for target in drawn) else ""


def _origin(surface: Surface) -> str:
    """The file of another program that a surface was made from: not all programs mean the same by 1.0."""
    found = _section(surface, "found")
    file, dialect = Path(text(found.get("converted_from"))).name, text(found.get("dialect"))
    return f"converted from {shortened(' '.join(file.split()))} ({dialect})" if dialect else ""


def readable(name: str) -> str:
    """``train_loss`` as words."""
    return visible(name.replace("_", " "))


def split_of(surface: Surface, name: str) -> str:
    """The split of a metric: one of the data where the file names them, else what stands before ``_loss``; the longest
    that fits.
    """
    data = surface.provenance.identity.get("data")
    splits = (
        [*data]
        if isinstance(data, dict)
        else [other.removesuffix("_loss") for other in surface.metrics if other.endswith("_loss")]
    )
    fitting = [split for split in splits if name.startswith(f"{split}_")]
    return max(fitting, key=len) if fitting else name.partition("_")[0]


def default_metrics(surface: Surface) -> list[str]:
    """Losses, then accuracies; everything where there are neither."""
    names = [name for ending in ("_loss", "_accuracy") for name in surface.metrics if name.endswith(ending)]
    return names or list(surface.metrics)


def is_share(name: str) -> bool:
    """Whether a metric is a share from 0 to 1, by its name."""
    return name.endswith(("_accuracy", "_error", "_top_k"))


def distinct(values: list[float]) -> list[str]:
    """Numbers with as few digits, from three on, as tell them apart.

    >>> distinct([0.5, 100.0]), distinct([2.301, 2.302])
    (['0.5', '100'], ['2.301', '2.302'])
    """
    for digits in range(3, 17):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [repr(value) for value in values]


def shortened(name: str) -> str:
    """A name with its middle left out where it is too long for a picture."""
    half, name = _MAX_NAME // 2, visible(name)
    return name if len(name) <= _MAX_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _section(surface: Surface, key: str) -> Mapping[str, JsonValue]:
    return section(surface.provenance.resolved, key)
