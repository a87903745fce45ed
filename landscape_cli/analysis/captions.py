"""The words on a picture: titles, axis labels, footers, and which split a metric belongs to."""

from __future__ import annotations

import textwrap
from pathlib import Path

from pydantic import JsonValue

from landscape_cli.surface import Surface

_MAX_NAME = 28
_FOOTER_WIDTH = 112


def title(surface: Surface, what: str, slice_index: int | None) -> str:
    """What is drawn of which model; on lines of their own the slice, and how much of a partial surface there is."""
    model = _text(_section(surface, "model").get("_target_")).rpartition(".")[2]
    lines = [f"{_shorten(model)}: {what}" if model else what]
    if slice_index is not None:
        lines.append(f"slice {slice_index} of {surface.grid.num_slices}, counting from 0")
    if not surface.complete:
        lines.append(f"PARTIAL: {surface.num_evaluated:,} of {surface.grid.num_points:,} points")
    return "\n".join(lines)


def axis_label(surface: Surface, axis: str) -> str:
    """The direction of an axis and what its unit means."""
    recipe = surface.directions[axis].recipe
    target = _text(recipe.get("_target_")).rpartition(".")[2] or "unknown"
    normalization = _text(recipe.get("normalization")) or ("filter" if target == "random" else "")
    unit = {
        "filter": "1.0 = every filter moved by its own norm",
        "layer": "1.0 = every tensor moved by its own norm",
        "weight": "1.0 = 100 % relative noise on every weight",
    }.get(normalization, "multiples of the direction" if target != "unknown" else "coordinates as in the original")
    return f"{axis}: {_shorten(target)} direction ({unit})"


def quantity(surface: Surface, name: str) -> str:
    """A metric with, for a loss, the name of the loss function."""
    kind = _text(_section(surface, "loss").get("_target_")).rpartition(".")[2]
    return f"{readable(name)} ({_shorten(kind)})" if kind and name.endswith("_loss") else readable(name)


def footer(surface: Surface) -> str:
    """From what the picture was made: checkpoint, sizes, BatchNorm, precision, slices."""
    checkpoint = Path(_text(_section(surface, "checkpoint").get("path"))).name
    sizes = {split_of(surface, name): metric.num_examples for name, metric in surface.metrics.items()}
    evaluation = _section(surface, "evaluation")
    batchnorm = _text(evaluation.get("batchnorm"))
    num_slices = surface.grid.num_slices
    parts = [
        _shorten(" ".join(checkpoint.split())),
        _origin(surface),
        ", ".join(f"n({split}) = {size:,}" for split, size in sizes.items() if size) or "n unknown",
        f"BatchNorm {batchnorm}" if batchnorm and _section(surface, "found").get("has_batchnorm") is not False else "",
        _text(evaluation.get("precision")),
        "one slice: no error bar" if num_slices == 1 else f"{num_slices} slices",
    ]
    return "\n".join(textwrap.wrap("  ·  ".join(filter(None, parts)), _FOOTER_WIDTH))


def _origin(surface: Surface) -> str:
    """The file of another program that a surface was made from: not all programs mean the same by 1.0."""
    found = _section(surface, "found")
    file, dialect = Path(_text(found.get("converted_from"))).name, _text(found.get("dialect"))
    return f"converted from {_shorten(' '.join(file.split()))} ({dialect})" if dialect else ""


def readable(name: str) -> str:
    """``train_loss`` as words."""
    return name.replace("_", " ")


def split_of(surface: Surface, name: str) -> str:
    """The split of a metric: what stands before ``_loss``, and for other metrics the longest such split that fits."""
    splits = [other.removesuffix("_loss") for other in surface.metrics if other.endswith("_loss")]
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


def _section(surface: Surface, key: str) -> dict[str, JsonValue]:
    value = surface.provenance.resolved.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _shorten(name: str) -> str:
    """A name with its middle left out where it is too long for a picture."""
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME else f"{name[: half - 1]}…{name[-half:]}"
