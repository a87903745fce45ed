"""A tolerance is a share or a number, and a larger one never turns a pass into a fail."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape_cli.analysis.contrast import Contrast
from landscape_cli.analysis.orientation import better_when
from landscape_cli.analysis.tolerance import Tolerance, limits_of, outcome
from landscape_cli.config import load_gate
from landscape_cli.errors import ConfigError
from landscape_cli.quantities import parse_amount

CONTRASTS = st.builds(
    Contrast,
    st.floats(0.1, 10),
    st.floats(0.1, 10),
    st.just("paired"),
    st.just(8),
    st.floats(0, 2),
    st.just(7),
    st.floats(0, 2),
    st.just(7),
    bound=st.sampled_from([None, "lower", "upper"]),
)
ORDER = ("fail", "inconclusive", "pass")


@given(CONTRASTS, st.floats(0, 0.9), st.floats(0, 0.09), st.booleans(), st.sampled_from(["higher", "lower"]))
def test_larger_tolerance_is_never_worse(found, amount, more, is_relative, better) -> None:
    small, large = (outcome(found, Tolerance("m", each, is_relative), better, 0.95) for each in (amount, amount + more))
    assert ORDER.index(large) >= ORDER.index(small)


@given(CONTRASTS, st.floats(0, 0.9), st.sampled_from(["higher", "lower"]), st.floats(0.5, 0.9), st.floats(0, 0.09))
def test_more_confidence_never_decides_more(found, amount, better, confidence, more) -> None:
    less, sure = (outcome(found, Tolerance("m", amount), better, each) for each in (confidence, confidence + more))
    assert sure in (less, "inconclusive")


@pytest.mark.parametrize(
    ("new", "better", "expected"),
    [
        (0.86, "higher", "pass"),
        (0.84, "higher", "fail"),
        (9.0, "higher", "pass"),
        (1.14, "lower", "pass"),
        (1.16, "lower", "fail"),
        (0.1, "lower", "pass"),
    ],
)
def test_share_is_of_the_base_in_the_worse_direction(new: float, better: str, expected: str) -> None:
    for scale in (1e-3, 1.0, 1e6):
        found = Contrast(scale, scale * new, "exact")
        assert outcome(found, Tolerance("m", 0.15), better, 0.95) == expected  # type: ignore[arg-type]


def test_absolute_amount_is_a_difference_also_below_zero() -> None:
    found = Contrast(-0.5, -0.45, "exact")
    assert outcome(found, Tolerance("m", 0.04, is_relative=False), "lower", 0.95) == "fail"
    assert outcome(found, Tolerance("m", 0.06, is_relative=False), "lower", 0.95) == "pass"
    assert outcome(found, Tolerance("m", 0.06), "lower", 0.95) is None  # no share of a negative number


def test_limits_are_one_sided_of_their_confidence() -> None:
    found = Contrast(1.0, 1.0, "paired", 20, 0.1, 19, 0.1, 19)
    assert limits_of(found, Tolerance("m", 0.1), 0.95) == pytest.approx((-0.1729, 0.1729), abs=1e-4)  # t₁₉ 1.729


@pytest.mark.parametrize(
    ("base", "new", "expected"), [(0.0, 0.0, "pass"), (0.2, 0.0, "pass"), (0.0, 0.01, "fail"), (math.inf, 1.0, "pass")]
)
def test_share_of_an_error_rate_of_zero_is_zero(base: float, new: float, expected: str) -> None:
    assert outcome(Contrast(base, new, "exact"), Tolerance("test_error", 0.1), "lower", 0.95) == expected


def test_unknown_error_decides_nothing() -> None:
    assert outcome(Contrast(1.0, 0.1, "none"), Tolerance("m", 0.15), "higher", 0.95) is None
    assert outcome(Contrast(math.inf, math.inf, "exact"), Tolerance("m", 1.0, is_relative=False), "lower", 0.9) is None


# ---------------------------------------------------------------- as given


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("15%", (0.15, True)),
        (" 2.5 % ", (0.025, True)),
        (".5%", (0.005, True)),
        ("0", (0.0, False)),
        (3, (3.0, False)),
        (1e-05, (1e-05, False)),
        ("1e2%", (1.0, True)),
        ("1.2E+3", (1200.0, False)),
    ],
)
def test_amount_is_read_as_a_share_or_a_number(given_: object, expected: tuple[float, bool]) -> None:
    assert parse_amount(given_) == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong",
    ["", "%", "15%%", "-1", "nan", "inf", "1e999", math.nan, math.inf, -0.1, True, None, [1], "15 percent", "1,5", "٣"],
)
def test_amount_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected a share such as 15%"):
        parse_amount(wrong)


@given(st.floats(0, 10), st.booleans())
def test_tolerance_is_read_again_as_it_is_shown(amount: float, is_relative: bool) -> None:
    shown = Tolerance("m", amount, is_relative).amount_as_given
    assert parse_amount(shown) == (pytest.approx(amount, rel=1e-5), is_relative)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    return path


def test_gate_of_a_config_is_read_whatever_else_stands_there(tmp_path: Path) -> None:
    path = write(tmp_path, "gate:\n  tolerances: {adaptive_radius: 20%, test_loss: 0.02}\n  looks: 3\nelse: [1, 2]\n")
    found = load_gate(path)
    assert {name: parse_amount(each) for name, each in found.tolerances.items()} == {
        "adaptive_radius": (0.2, True),
        "test_loss": (0.02, False),
    }
    assert (found.looks, found.on_inconclusive) == (3, "pass")
    assert load_gate(write(tmp_path, "gate: {}")).tolerances == {"adaptive_radius": "15%"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: x", "found no section gate"),
        ("- 1", "found no section gate"),
        ("gate:", "found no section gate"),
        ("gate: {tolerances: {test_loss: -1}}", "gate.yaml:1: gate.tolerances.test_loss: found -1"),
        ("gate: {tolerances: {}}", "at least 1"),
        ("gate: {looks: 0}", "gate.looks"),
        ("gate: {on_inconclusive: maybe}", "gate.on_inconclusive"),
        ("gate: {tolerance: 1}", "unknown key"),
    ],
)
def test_wrong_gate_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_gate(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("adaptive_radius", "higher"),
        ("eps_sharpness(0.1)", "lower"),
        ("test_loss", "lower"),
        ("test_error", "lower"),
        ("test_accuracy", "higher"),
        ("val_hinge_loss", "lower"),
        ("test_f1", None),
        ("curvature_min", None),
        ("lambda_min", None),
    ],
)
def test_better_is_known_of_measures_and_of_metrics_by_their_names(name: str, better: str | None) -> None:
    assert better_when(name) == better
