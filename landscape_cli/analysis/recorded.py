"""A measurement from a record of the surface: what it holds for, and why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from landscape_cli.analysis.measurement import Bound, ErrorSource, Measurement, Spread, joined
from landscape_cli.analysis.slices import chosen_slices, name_of_loss, unit_of_loss
from landscape_cli.analysis.unchecked import text
from landscape_cli.records import Record
from landscape_cli.surface import Surface

WHOLE = "of the whole network"
DEFAULT_RECORDS = ("gradient", "eigenvalues", "adaptive_lambda_max", "trace", "adaptive_trace", "slice_curvature")
MAP = "map"  # what the section curvature of the YAML calls it
COMMAND = "landscape curvature CONFIG FILE"
OF_CHECKPOINT = ("frozen", "interpolate")  # which BatchNorm statistics there are at the checkpoint itself
FINITE_DIFFERENCES = "finite differences"
_WITHOUT_DECAY = ("fisher_rao",)  # from gradients of single examples, which have none
_DIFFERS, _DIFFERS_ABSOLUTELY = 0.05, 1e-3  # of two losses that ought to be the same
_MOST = 1e300  # of a number in a file
_HOW = ("estimator",)  # options that are words, and of no consequence but for the error


@dataclass(frozen=True)
class Conditions:
    """What a record holds for, from its settings; ``""`` and 0 where they do not say.

    Attributes:
        split: Of the data.
        num_examples: n.
        num_parameters: P, of the parameters that are differentiated by.
        parameters: Which these are, in words; ``""`` for all of them.
        weight_decay: λ of the λ/2·‖θ‖² that has been added to the loss.
        decayed: Of which parameters, in words; ``""`` for all of them.
        precision: ``"float32"`` or ``"float64"``.
        batchnorm: What its statistics do; ``""`` also for a model without.
        options: Of the measure.
    """

    split: str = ""
    num_examples: int = 0
    num_parameters: int = 0
    parameters: str = ""
    weight_decay: float = 0.0
    decayed: str = ""
    precision: str = ""
    batchnorm: str = ""
    options: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """``of the whole network`` or ``of the parameters layer3.*``."""
        return f"of the parameters {self.parameters}" if self.parameters else WHOLE

    @property
    def words(self) -> tuple[str, ...]:
        """See ``holds_for`` of `Measurement`."""
        decayed = f" of {self.decayed}" if self.decayed else ""
        return (
            self.scope,
            f"on the split {self.split}" if self.split else "",
            f"n = {self.num_examples:,}" if self.num_examples else "",
            f"with weight decay {self.weight_decay:g}{decayed}" if self.weight_decay else "without weight decay",
            f"in {self.precision}" if self.precision else "",
        )

    @property
    def numbers(self) -> dict[str, float]:
        """The options that are numbers."""
        return {key: value for key, given in self.options.items() if (value := _number(given)) is not None}

    @property
    def kind(self) -> str:
        """The options that are words, such as ``layers: fc1, fc2``."""
        words = {key: _in_words(given) for key, given in self.options.items() if key not in _HOW}
        return ", ".join(f"{key}: {each}" for key, each in sorted(words.items()) if each)

    def unlike(self, other: Conditions) -> str:
        """In what two records differ so that their values do not belong together; ``""`` where in nothing."""
        names = ("split", "num_examples", "num_parameters", "parameters", "weight_decay", "decayed", "batchnorm")
        return ", ".join(each for each in names if getattr(self, each) != getattr(other, each))


@dataclass(frozen=True)
class Recorded:
    """A record of a surface, or why it cannot be used.

    Attributes:
        name: Of the record.
        record: Without values where it cannot be used.
        conditions: See `Conditions`.
        lacking: Why it cannot be used; ``""`` where it can.
        unit: Of the loss.
        note: What to know before any of its values are compared.
        num_available: Examples of the split that the surface was scanned on; 0 where that is not known.
    """

    name: str
    record: Record
    conditions: Conditions
    lacking: str
    unit: str
    note: str
    num_available: int

    @property
    def examples(self) -> str:
        """``512 of 2,000 examples``."""
        n = self.conditions.num_examples
        if not n:
            return "an unknown number of examples"
        return f"{n:,} of {self.num_available:,} examples" if n < self.num_available else f"{n:,} examples"

    def biased(self, which: Literal["upwards", "downwards"]) -> str:
        """The remark on an extreme eigenvalue: that of a mean over few examples lies farther out."""
        return f"from {self.examples}: biased {which}, compare at equal n only"


def recorded(surface: Surface, name: str, loss: str | None = None, slice_index: int | None = None) -> Recorded:
    """The record of that name.

    Args:
        surface: Any.
        name: Such as ``"eigenvalues"``.
        loss: As asked for; where it is not the loss of the record, that one cannot be used. By default that one.
        slice_index: As asked for; a record is the same in all slices.

    Raises:
        UsageError: No such loss or slice.
    """
    chosen_slices(surface, slice_index)
    asked = name_of_loss(surface, loss)
    record = surface.curvature.records.get(name) if surface.curvature is not None else None
    conditions = conditions_of(record) if record is not None else Conditions()
    if name in _WITHOUT_DECAY:
        conditions = replace(conditions, weight_decay=0.0, decayed="")
    lacking = "" if record is not None else how_to_add(surface, name)
    target = text(record.settings.get("measure")) if record is not None else ""
    if target and target != name:
        lacking = f"the record {name} is of another measure, {target}"
    elif record is not None and loss is not None and loss != f"{conditions.split}_loss":
        lacking = f"was measured on {conditions.split}_loss, not on {loss}"
    known = surface.metrics.get(f"{conditions.split}_loss")
    return Recorded(
        name=name,
        record=record if record is not None and not lacking else Record({}),
        conditions=conditions,
        lacking=lacking,
        unit=unit_of_loss(surface),
        note=_note(surface, record, conditions, asked) if record is not None else "",
        num_available=known.num_examples if known is not None else 0,
    )


def measurement(
    found: Recorded,
    name: str,
    value: float,
    *,
    unit: str,
    invariant_to: tuple[str, ...] | None,
    standard_error: float = math.nan,
    method_error: float = math.nan,
    method_error_from: ErrorSource | None = None,
    bound: Bound | None = None,
    settings: Mapping[str, float] | None = None,
    is_estimate: bool = False,
    num_probes: float = 0,
    note: str = "",
    lacking: str = "",
) -> Measurement:
    """One value of a record; see `Measurement` for the arguments.

    Args:
        found: The record.
        name: The key of the measure.
        value: NaN where the record does not hold it; infinite where the loss diverges.
        unit: Of the value.
        invariant_to: Function-preserving changes, where the loss has no weight decay: that changes with all of them.
        standard_error: NaN where there is none.
        method_error: NaN where there is none.
        method_error_from: Where it comes from.
        bound: Of which side the value is a bound.
        settings: By default the options of the record that are numbers.
        is_estimate: See `Measurement`.
        num_probes: NaN where it is not known.
        note: Comes before what is to be known of the whole record.
        lacking: Why it cannot be measured, other than that the record lacks it.
    """
    settings = found.conditions.numbers if settings is None else settings
    invariant_to = () if found.conditions.weight_decay else invariant_to
    lacking = found.lacking or lacking or ("" if value > -math.inf else f"the record {found.name} has no such number")
    if lacking:
        scope = found.conditions.scope
        return Measurement(name, unit=unit, scope=scope, settings=settings, invariant_to=invariant_to, note=lacking)
    error = _error(method_error)
    return Measurement(
        name=name,
        value=value,
        standard_error=_error(standard_error),
        unit=unit,
        bound=bound,
        method_error=error,
        method_error_from=method_error_from if error is not None else None,
        invariant_to=invariant_to,
        num_examples=found.conditions.num_examples,
        scope=found.conditions.scope,
        split=found.conditions.split,
        holds_for=found.conditions.words,
        settings=settings,
        kind=found.conditions.kind,
        is_estimate=is_estimate,
        num_probes=int(num_probes) if math.isfinite(num_probes) else 0,
        note=joined(note, found.note),
    )


def with_slices(plain: Measurement, per_slice: Sequence[float], spread: Spread, scope: str) -> Measurement:
    """A measurement with what each slice gives, and the error bar that comes of it; ``scope`` in that of the record."""
    return replace(
        plain,
        standard_error=spread.standard_error,
        per_slice=tuple(per_slice),
        range=spread.range,
        spread=spread.spread,
        interval=spread.interval,
        scope=scope if plain.scope == WHOLE else f"{scope}, {plain.scope}",
    )


def how_to_add(surface: Surface, name: str) -> str:
    """Why a record is not there, and the command that adds it."""
    origin = surface.provenance.resolved.get("found")
    if isinstance(origin, dict) and origin.get("dialect"):
        return "needs the model; a converted surface has none"
    pending = surface.curvature.pending if surface.curvature is not None else ()
    if name in pending:
        return f"asked for and not there yet: {COMMAND} goes on"
    if name in DEFAULT_RECORDS:
        return f"add it with: {COMMAND}"
    if name == MAP and surface.curvature_map is not None:
        return f"nothing says what the map was measured with: {COMMAND} --set curvature.map=true"
    option = "curvature.map=true" if name == MAP else f"'curvature.measures=[{name}]'"
    needs = " (needs the state of the optimizer in the checkpoint)" if name == "adam_lambda_max" else ""
    return f"add it with: {COMMAND} --set {option}{needs}"


def conditions_of(record: Record) -> Conditions:
    """What the settings of a record say; what is not as the format says counts as not said."""
    settings, options = record.settings, record.settings.get("options")
    return Conditions(
        split=text(settings.get("split")),
        num_examples=_count(settings.get("num_examples")),
        num_parameters=_count(settings.get("num_parameters")),
        parameters=_selection(settings.get("parameters")),
        weight_decay=_number(settings.get("weight_decay")) or 0.0,
        decayed=_selection(settings.get("decayed")),
        precision=text(settings.get("precision")),
        batchnorm=text(settings.get("batchnorm")),
        options=options if isinstance(options, dict) else {},
    )


def _note(surface: Surface, record: Record, conditions: Conditions, asked: str) -> str:
    return joined(
        *record.notes,
        "by finite differences: approximate" if record.method == FINITE_DIFFERENCES else "",
        f"on the split {conditions.split}" if asked != f"{conditions.split}_loss" else "",
        f"weight decay {conditions.weight_decay:g} included" if conditions.weight_decay else "",
        f"BatchNorm {conditions.batchnorm}" if conditions.batchnorm else "",
        batchnorm_warning(surface, conditions),
    )


def batchnorm_warning(surface: Surface, conditions: Conditions) -> str:
    """Where the statistics of the checkpoint lag behind: its λ_max can be 50 times that of training."""
    gradient = surface.curvature.records.get("gradient") if surface.curvature is not None else None
    if gradient is None or conditions.batchnorm not in OF_CHECKPOINT:
        return ""
    frozen, estimated = gradient.number("loss"), gradient.number("batchnorm_loss")
    gap = abs(frozen - estimated)
    if not (gap > _DIFFERS * abs(estimated) or gap > _DIFFERS_ABSOLUTELY):  # also where one of them is NaN
        return ""
    of_checkpoint, of_data = _told_apart(frozen, estimated)
    losses = f"eval-mode loss {of_checkpoint}, with batch statistics {of_data}"
    return f"{losses}: curvature of the deployed network, not of training"


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers that differ, with four digits or as many as show it."""
    pairs = ((f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(4, 17))
    return next((pair for pair in pairs if pair[0] != pair[1]), (repr(one), repr(other)))


def _error(value: float) -> float | None:
    return value if math.isfinite(value) and value >= 0 else None


def _selection(value: JsonValue) -> str:
    if not isinstance(value, dict):
        return ""
    include, exclude = (_texts(value.get(key)) for key in ("include", "exclude"))
    return ", not ".join(filter(None, (", ".join(include) or "*", ", ".join(exclude))))


def _texts(value: JsonValue) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _in_words(value: JsonValue) -> str:
    return ", ".join(_texts(value)) or text(value)


def _number(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _MOST else None  # also where it is NaN


def _count(value: JsonValue) -> int:
    found = _number(value)
    return int(found) if found is not None and found >= 0 else 0
