"""Surfaces side by side: every measure that they have in common, with differences, intervals and a ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from landscape_cli.analysis.captions import default_metrics, is_share
from landscape_cli.analysis.comparability import Aspect, Relation, aspects, family_of, relation
from landscape_cli.analysis.contrast import Contrast, contrast
from landscape_cli.analysis.measurement import Measurement, joined
from landscape_cli.analysis.orientation import Better, better_when
from landscape_cli.analysis.relative_noise import line_of
from landscape_cli.analysis.sharpness import NAMES, measured
from landscape_cli.analysis.slices import name_of_loss, unit_of_loss
from landscape_cli.errors import SurfaceError, UsageError, did_you_mean
from landscape_cli.surface import Surface

CONFIDENCE = 0.95
AT_CHECKPOINT, OVER_EXAMPLES = "at the checkpoint", " over the examples"
_FOR_RANKING = (
    "adaptive_radius",
    "adaptive_avg",
    "adaptive_trace",
    "adaptive_lambda_max",
    "flat_radius",
    "mean_rise",
    "trace",
    "lambda_max",
)


@dataclass(frozen=True)
class Against:
    """One measurement against that of the first surface.

    Attributes:
        contrast: None where one of them is not measured, or they may not be compared.
        relation: What may not be the same.
    """

    contrast: Contrast | None
    relation: Relation

    @property
    def note(self) -> str:
        """Why there is no contrast, or what to know of it."""
        if self.relation.obstacles:
            return f"not compared: {joined(*self.relation.obstacles)}"
        found = self.contrast
        if found is None:
            return ""
        why = self.relation.why_unpaired if found.pairing != "paired" else ()
        return joined(
            "no error bar" if found.limits_of_difference(CONFIDENCE) is None else "",
            f"unpaired: {joined(*why)}" if why else "",
            *self.relation.unequal,
            *self.relation.remarks,
        )


@dataclass(frozen=True)
class Row:
    """One measure of all surfaces.

    Attributes:
        name: Of the measure, or of a metric at the checkpoint.
        better: Which way it is better; None where neither is.
        measurements: One for each surface.
        against_first: One for each surface but the first.
    """

    name: str
    better: Better | None
    measurements: tuple[Measurement, ...]
    against_first: tuple[Against, ...]

    @property
    def is_measured(self) -> bool:
        """Whether all surfaces have it."""
        return all(each.value is not None for each in self.measurements)

    @property
    def is_comparable(self) -> bool:
        """Whether all surfaces have it, and it may be compared."""
        return self.is_measured and not any(each.relation.obstacles for each in self.against_first)


@dataclass(frozen=True)
class Place:
    """A place in the ranking.

    Attributes:
        index: Of the surface.
        value: Of the measure.
        worse_than_previous: Whether it is surely worse than the one before, with 95 % confidence; None for the first,
            and where there is no error bar.
    """

    index: int
    value: float
    worse_than_previous: bool | None


@dataclass(frozen=True)
class Ranking:
    """The surfaces in the order of one measure, the best first.

    Attributes:
        measure: Its name.
        places: One for each surface.
    """

    measure: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Comparison:
    """Two or more surfaces side by side; the first is what the others are compared with.

    Attributes:
        loss: The metric that was measured, of all of them.
        aspects: What they have in common or not.
        rows: Every measure that at least one of them has.
        lacking: Measures that none of them has.
        ranking: None where no measure allows one.
    """

    loss: str
    aspects: tuple[Aspect, ...]
    rows: tuple[Row, ...]
    lacking: tuple[str, ...]
    ranking: Ranking | None


def compare(
    surfaces: Sequence[Surface],
    *,
    loss: str | None = None,
    tau: float | None = None,
    rank_by: str | None = None,
) -> Comparison:
    """Put surfaces side by side.

    Args:
        surfaces: Two or more; the first is the one to compare with.
        loss: By default the first loss that all of them have.
        tau: As for `landscape_cli.analysis.sharpness.sharpness`.
        rank_by: The measure of the ranking; by default the adaptive radius, or the best one that all of them have.

    Raises:
        UsageError: Fewer than two surfaces, or an unknown loss or measure.
        SurfaceError: They have no loss in common.
    """
    if len(surfaces) < 2:
        raise UsageError("compare: found one surface; expected at least two")
    view = View.of(surfaces, loss=loss, tau=tau)
    names = [*view.metrics, *NAMES]
    if rank_by is not None and rank_by not in names:
        raise UsageError(f"metric: found {rank_by!r}{did_you_mean(rank_by, names)}")
    pairs = [aspects((surfaces[0], other)) for other in surfaces[1:]]
    rows = [view.row(surfaces, pairs, name) for name in names]
    kept = tuple(row for row in rows if any(each.value is not None for each in row.measurements))
    return Comparison(
        loss=view.loss,
        aspects=tuple(aspects(surfaces).values()),
        rows=kept,
        lacking=tuple(row.name for row in rows if row not in kept),
        ranking=_ranking(view, surfaces, kept, rank_by),
    )


@dataclass(frozen=True)
class View:
    """What is measured of every surface.

    Attributes:
        loss: That all of them have.
        is_asked: Whether the user has named it; else what was measured from the model has a split of its own.
        options: As for `landscape_cli.analysis.sharpness.sharpness`, such as τ.
        metrics: That at least one of them has at the checkpoint.
    """

    loss: str
    is_asked: bool
    options: Mapping[str, float | None]
    metrics: tuple[str, ...]

    @classmethod
    def of(cls, surfaces: Sequence[Surface], *, loss: str | None = None, **options: float | None) -> View:
        """What these surfaces have in common.

        Raises:
            UsageError: No surface has that loss.
            SurfaceError: They have no loss in common.
        """
        metrics = dict.fromkeys(name for surface in surfaces for name in surface.metrics)
        if loss is None:
            fitting = [name for name in default_metrics(surfaces[0]) if not is_share(name)]
            common = [name for name in fitting if all(name in surface.metrics for surface in surfaces)]
            if not common:
                found = " and ".join(", ".join(surface.metrics) for surface in surfaces)
                raise SurfaceError(f"the surfaces have no loss in common: found {found}")
        else:
            common = [name_of_loss(surface, loss) for surface in surfaces]
        return cls(common[0], loss is not None, options, tuple(metrics))

    def measurement(self, surface: Surface, name: str) -> Measurement:
        """One measure of one surface, or a metric at its checkpoint."""
        family = family_of(name)
        if family == "centre":
            return _at_checkpoint(surface, name)
        loss = self.loss if self.is_asked or family != "model" else None
        return measured(surface, name, loss=loss, slice_index=None, **self.options)

    def against(self, base: Surface, new: Surface, name: str) -> Against:
        """One measure of two surfaces, side by side."""
        first, second = (base, self.measurement(base, name)), (new, self.measurement(new, name))
        return self._against(aspects((base, new)), first, second)

    def _against(
        self, pair: Mapping[str, Aspect], first: tuple[Surface, Measurement], second: tuple[Surface, Measurement]
    ) -> Against:
        (base, before), (new, after) = first, second
        name = before.name
        metric = name if family_of(name) == "centre" else self.loss
        if before.value is None or after.value is None:
            return Against(None, Relation())
        found = relation(pair, before, after, metric)
        if found.obstacles:
            return Against(None, found)
        is_paired = not found.why_unpaired
        if is_paired and before.left_out and after.left_out:
            before, after = (self.measurement(each, name) for each in with_common_noise(base, new))
        return Against(contrast(before, after, is_paired=is_paired), found)

    def row(self, surfaces: Sequence[Surface], pairs: Sequence[Mapping[str, Aspect]], name: str) -> Row:
        """One measure of all surfaces; ``pairs`` are the aspects of the first one and each of the others."""
        first, *others = [(surface, self.measurement(surface, name)) for surface in surfaces]
        return Row(
            name=name,
            better=better_when(name),
            measurements=(first[1], *(found for _, found in others)),
            against_first=tuple(self._against(pair, first, other) for pair, other in zip(pairs, others, strict=True)),
        )


def with_common_noise(*surfaces: Surface) -> list[Surface]:
    """Surfaces with the first slices of their lines of noise only, as many as all of them have."""
    num = min(line_of(surface).grid.num_slices for surface in surfaces)
    return [
        surface.of_slices(range(num))
        if surface.radius is None
        else replace(surface, radius=surface.radius.of_slices(range(num)))
        for surface in surfaces
    ]


def _at_checkpoint(surface: Surface, name: str) -> Measurement:
    """A metric at the checkpoint: of these examples exact, whatever others would give."""
    metric = surface.metrics.get(name)
    if metric is None:
        return Measurement(name, scope=AT_CHECKPOINT, note=f"the file has no {name}")
    if not math.isfinite(metric.centre):
        return Measurement(name, scope=AT_CHECKPOINT, note=f"{name} at the checkpoint is not known, or not finite")
    error = metric.centre_standard_error
    of_examples = f"± {error:.2g}{OVER_EXAMPLES}" if math.isfinite(error) else ""
    return Measurement(
        name,
        metric.centre,
        unit=unit_of_loss(surface) if name.endswith("_loss") else "",
        num_examples=metric.num_examples,
        scope=AT_CHECKPOINT,
        note=of_examples,
    )


def _ranking(view: View, surfaces: Sequence[Surface], rows: Sequence[Row], rank_by: str | None) -> Ranking | None:
    fitting = {row.name: row for row in rows if row.is_comparable and row.better is not None}
    wanted = [rank_by] if rank_by else [name for name in _FOR_RANKING if name in fitting and _is_telling(fitting[name])]
    chosen = next((name for name in wanted if name in fitting and _all_comparable(view, surfaces, name)), None)
    if chosen is None:
        return None
    better = fitting[chosen].better
    values = [each.value or 0.0 for each in fitting[chosen].measurements]
    order = sorted(range(len(surfaces)), key=values.__getitem__, reverse=better == "higher")
    places = [Place(order[0], values[order[0]], None)]
    for previous, index in pairwise(order):
        found = view.against(surfaces[previous], surfaces[index], chosen).contrast
        places.append(Place(index, values[index], None if found is None else _is_worse(found, better)))
    return Ranking(chosen, tuple(places))


def _is_telling(row: Row) -> bool:
    """Whether no two values lie beyond their lines on the same side: nobody knows which of these is higher."""
    bounds = [each.bound for each in row.measurements if each.bound is not None]
    return len(set(bounds)) == len(bounds)


def _all_comparable(view: View, surfaces: Sequence[Surface], name: str) -> bool:
    """Whether each may be compared with each, not with the first alone: that may not say what the others differ in."""
    return not any(view.against(*pair, name).relation.obstacles for pair in combinations(surfaces, 2))


def _is_worse(found: Contrast, better: Better | None) -> bool | None:
    limits = found.limits(CONFIDENCE)
    if limits is None:
        return None
    return limits[1] < 0 if better == "higher" else limits[0] > 0
