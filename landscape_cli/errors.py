"""The exception tree, each with exit code and hint.

LandscapeError
 ├── UsageError               2   the command cannot be carried out as given
 │    └── ConfigError         2   the YAML or an override is wrong; every problem is listed
 ├── CheckpointError          3   the checkpoint cannot be read safely or is of another model
 ├── DirectionError           3   a file with directions is missing, foreign or of another model
 ├── SurfaceError             3   the surface file is missing, foreign or damaged
 │    ├── SurfaceVersionError     written by a newer major version of the format
 │    └── ResumeMismatchError     made by another config, checkpoint or data
 ├── StoppedError            75   stopped before it could begin, while another process had the file
 └── EvaluationError          4   the evaluation could not be completed
      ├── OutputError         4   the results could not be written (full disk, folder turned read-only)
      ├── NonFiniteError          a mean over the examples, or what is made of it, is NaN or infinite
      └── AsymmetryError          products with a Hessian contradict each other

A message says where: what was found; what was expected. The hint says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ClassVar


class LandscapeError(Exception):
    """Base of every error that is the user's to mend; anything else that escapes is a bug of ours."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LandscapeError):
    """The command cannot be carried out as given."""

    exit_code = 2


class ConfigError(UsageError):
    """The YAML or an override is wrong.

    Args:
        problems: Every problem found, one sentence each, located as ``file:line: key: …``.
    """

    def __init__(self, problems: str | Sequence[str], *, hint: str | None = None) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems), hint=hint)


class CheckpointError(LandscapeError):
    """The checkpoint cannot be read safely, or does not fit the model."""

    exit_code = 3


class DirectionError(LandscapeError):
    """A file with directions is missing, foreign or of another model."""

    exit_code = 3


class SurfaceError(LandscapeError):
    """A surface file is missing, foreign or damaged."""

    exit_code = 3


class SurfaceVersionError(SurfaceError):
    """A surface file was written by a newer major version of the format."""


class ResumeMismatchError(SurfaceError):
    """An existing surface file was made by another config, checkpoint or data set."""


class StoppedError(LandscapeError):
    """Stopped, or out of time, while another process had the file: nothing is lost."""

    exit_code = 75


class EvaluationError(LandscapeError):
    """The model could not be evaluated."""

    exit_code = 4


class OutputError(EvaluationError):
    """The results could not be written; what was saved before is untouched."""


class NonFiniteError(EvaluationError):
    """A mean over the examples, or what is made of it, is NaN or infinite."""


class AsymmetryError(EvaluationError):
    """Products with a Hessian contradict each other: a second derivative is wrong, or random."""

    def __init__(self, found: float, largest: float) -> None:
        super().__init__(
            f"curvature: products with the Hessian contradict each other by {found:.2g}, beside eigenvalues up to "
            f"{largest:.2g}; expected a symmetric matrix",
            hint="Set curvature.hvp: finite_difference, or evaluation.precision: float64; an operation of the model is "
            "random or has a wrong second derivative.",
        )


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put the place in the config that has led here, ``file:line: key``, before the message of every error."""
    try:
        yield
    except LandscapeError as error:
        raise type(error)(f"{where}: {error}", hint=error.hint) from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, else the list of them (``""`` when there is none).

    >>> did_you_mean("fliter", ["filter", "layer"])
    "; did you mean 'filter'?"
    >>> did_you_mean("zzz", ["filter", "layer"])
    '; known: filter, layer'
    """
    words = sorted(set(known))
    close = get_close_matches(word, words, n=1, cutoff=0.7)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""
