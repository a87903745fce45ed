"""Surfaces side by side: every measure that one of them has, what it may be compared with, and a ranking that holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from analytic import line, surface_of
from identified import beside_a_plane, bowl, chi_squares, identified, noise_line, with_metric
from recorded import everything, surface_with

from landscape_cli.analysis.compare import Comparison, Row, View, compare
from landscape_cli.analysis.sharpness import NAMES, measured
from landscape_cli.errors import SurfaceError, UsageError
from landscape_cli.surface import Surface

BASE = chi_squares(12, 0)


def row_of(found: Comparison, name: str) -> Row:
    return next(row for row in found.rows if row.name == name)


def test_every_measure_is_a_row_or_lacking() -> None:
    surfaces = [beside_a_plane(noise_line(BASE * factor)) for factor in (1.0, 1.5)]
    found = compare(surfaces)
    rows = [row.name for row in found.rows]
    assert {*rows, *found.lacking} == {*NAMES, "train_loss"}
    assert len(rows) + len(found.lacking) == len(NAMES) + 1
    for row in found.rows:
        assert len(row.measurements) == 2
        assert len(row.against_first) == 1
        if row.name in NAMES:
            assert row.measurements == tuple(measured(each, row.name) for each in surfaces)


def test_measure_of_one_file_alone_is_a_row_without_a_change() -> None:
    base, new = beside_a_plane(noise_line(BASE)), replace(beside_a_plane(noise_line(BASE)), radius=None)
    for surfaces in ([base, new], [new, base]):
        row = row_of(compare(surfaces), "adaptive_radius")
        assert not row.is_measured
        assert row.against_first[0].contrast is None
        assert any("needs a line along random directions" in each.note for each in row.measurements)


@pytest.mark.slow
def test_metric_of_one_file_alone_is_a_row_too() -> None:
    base, new = noise_line(BASE), with_metric(noise_line(BASE), "train_accuracy", 0.9)
    for surfaces in ([base, new], [new, base]):
        row = row_of(compare(surfaces), "train_accuracy")
        assert sorted(each.value or 0.0 for each in row.measurements) == [0.0, 0.9]
        assert {"the file has no train_accuracy"} <= {each.note for each in row.measurements}


def test_metric_at_the_checkpoint_is_exact_whatever_its_name() -> None:
    base, new = (with_metric(noise_line(BASE), "train_f1", each) for each in (0.5, 0.6))
    row = row_of(compare([base, new]), "train_f1")
    contrast = row.against_first[0].contrast
    assert row.better is None
    assert contrast is not None
    assert (contrast.pairing, contrast.limits_of_difference(0.95)) == ("exact", pytest.approx((0.1, 0.1)))


def test_loss_is_the_first_that_all_have() -> None:
    base = surface_of(lambda _, x: 1 + x**2, line(-1, 1, 9), names=("train_loss", "test_loss", "val_loss"))
    new = surface_of(lambda _, x: 1 + x**2, line(-1, 1, 9), names=("val_loss", "test_loss"))
    assert compare([base, new]).loss == "test_loss"
    assert compare([new, base]).loss == "val_loss"
    assert compare([base, new], loss="val_loss").loss == "val_loss"
    with pytest.raises(UsageError, match="train_loss"):
        compare([base, new], loss="train_loss")
    other = surface_of(lambda _, x: 1 + x**2, line(-1, 1, 9), names=("other_loss",))
    with pytest.raises(SurfaceError, match="no loss in common"):
        compare([base, other])


def test_share_is_no_loss_to_measure_on() -> None:
    base, new = (surface_of(lambda _, x: 1 - x**2, line(-1, 1, 9), names=("train_accuracy",)) for _ in range(2))
    with pytest.raises(SurfaceError, match="no loss in common"):
        compare([base, new])


@pytest.mark.parametrize("centre", [math.nan, math.inf])
def test_centre_that_is_not_finite_is_said(centre: float) -> None:
    new = noise_line(BASE)
    new.metrics["train_loss"].centre = centre
    found = compare([noise_line(BASE), new])
    assert "not known, or not finite" in row_of(found, "train_loss").measurements[1].note
    assert "not known, or not finite" in row_of(found, "adaptive_radius").measurements[1].note


def test_partial_surface_is_compared_as_far_as_it_goes() -> None:
    mask = np.ones((12, 60), dtype=np.bool_)
    mask[:, 40:] = False
    row = row_of(compare([noise_line(BASE), noise_line(BASE, evaluated=mask)]), "adaptive_radius")
    assert "partial" in row.measurements[1].note
    assert row.against_first[0].contrast is not None


@pytest.mark.slow
def test_slices_that_were_added_and_are_not_filled_leave_nothing_to_compare() -> None:
    mask = np.ones((12, 60), dtype=np.bool_)
    mask[8:] = False
    row = row_of(compare([noise_line(BASE), noise_line(BASE[:8])]), "adaptive_radius")
    assert row.against_first[0].contrast is not None
    found = compare([noise_line(BASE, evaluated=mask), noise_line(BASE[:8])])
    assert "adaptive_radius" not in [each.name for each in found.rows if each.is_measured]


def test_note_says_why_there_is_no_error_bar_or_no_pairing() -> None:
    single = compare([bowl([1.0]), bowl([2.0])])
    assert row_of(single, "mean_rise").against_first[0].note == "no error bar"
    unpaired = row_of(compare([bowl([1.0, 2.0, 3.0]), bowl([1.0, 2.0, 2.0], seed=1)]), "mean_rise")
    assert unpaired.against_first[0].note == "unpaired: seed: 0 → 1"
    paired = row_of(compare([bowl([1.0, 2.0, 3.0]), bowl([1.0, 2.0, 2.0])]), "mean_rise")
    assert paired.against_first[0].note == ""
    other = row_of(compare([bowl([1.0] * 3), bowl([1.0] * 3, data="e" * 64)]), "mean_rise")
    assert other.against_first[0].note.startswith("not compared: data train: ")
    hanging = noise_line([40.0, 1e-9, 1e-9, 1e-9], radii=[0.1, 0.2, 0.4])
    assert row_of(compare([hanging, hanging]), "adaptive_radius").against_first[0].note == "no error bar"


# ---------------------------------------------------------------- ranking


def order_of(found: Comparison) -> list[int]:
    assert found.ranking is not None
    return [place.index for place in found.ranking.places]


def test_ranking_is_by_radius_best_first_and_says_who_is_surely_worse() -> None:
    spread = np.random.default_rng(0).uniform(0.8, 1.25, 12)
    found = compare([noise_line(BASE * 4), noise_line(BASE), noise_line(BASE * spread)])
    assert found.ranking is not None
    assert found.ranking.measure == "adaptive_radius"
    assert order_of(found)[2] == 0
    assert [place.worse_than_previous for place in found.ranking.places] == [None, False, True]
    values = [place.value for place in found.ranking.places]
    assert values == sorted(values, reverse=True)


def test_ranking_by_a_measure_is_in_its_own_sense() -> None:
    surfaces = [bowl([factor] * 5) for factor in (3.0, 1.0, 2.0)]
    assert order_of(compare(surfaces, rank_by="mean_rise")) == [1, 2, 0]
    assert order_of(compare(surfaces, rank_by="flat_radius")) == [1, 2, 0]
    accuracy = [with_metric(bowl([1.0] * 5), "train_accuracy", each) for each in (0.5, 0.9, 0.7)]
    assert order_of(compare(accuracy, rank_by="train_accuracy")) == [1, 2, 0]
    with pytest.raises(UsageError, match="did you mean 'mean_rise'"):
        compare(surfaces, rank_by="mean_rice")


def test_diverged_surface_is_last() -> None:
    def rising(s: int, x: float) -> float:
        return math.nan if s == 1 and abs(x) > 0.1 else 1 + x**2

    diverged = identified(surface_of(rising, line(-1, 1, 11), num_slices=5))
    found = compare([diverged, bowl([1.0] * 5), bowl([2.0] * 5)], rank_by="mean_rise")
    assert order_of(found) == [1, 2, 0]
    assert found.ranking is not None
    assert found.ranking.places[2].worse_than_previous is None


@pytest.mark.slow
def test_what_may_not_be_compared_is_not_ranked() -> None:
    """The first says nothing of its data; the two others have different ones."""
    surfaces = [noise_line(BASE, data=None), noise_line(BASE * 2, data="d" * 64), noise_line(BASE * 3, data="e" * 64)]
    assert row_of(compare(surfaces), "adaptive_radius").is_comparable
    assert compare(surfaces).ranking is None


@pytest.mark.slow
def test_radii_that_all_lie_beyond_their_lines_rank_nothing() -> None:
    flat = [noise_line([c] * 6) for c in (1e-4, 2e-4)]
    found = compare(flat)
    assert found.ranking is None or found.ranking.measure != "adaptive_radius"


# ---------------------------------------------------------------- from the model, and of others


@pytest.mark.slow
def test_measures_from_the_model_have_the_split_of_their_own() -> None:
    def surface(split: str) -> Surface:
        given = surface_with(everything(split=split))
        return replace(identified(given), curvature=given.curvature)

    found = compare([surface("train"), surface("train")])
    assert row_of(found, "lambda_max").against_first[0].contrast is not None
    other = compare([surface("train"), surface("test")])
    assert "on the split train → on the split test" in row_of(other, "lambda_max").against_first[0].note
    asked = compare([surface("train"), surface("test")], loss="train_loss")
    assert row_of(asked, "lambda_max").measurements[1].value is None


@pytest.mark.slow
def test_view_measures_with_the_same_options() -> None:
    surfaces = [noise_line(BASE), noise_line(BASE * 2)]
    found = compare(surfaces, tau=0.3)
    assert {each.settings["tau"] for each in row_of(found, "adaptive_radius").measurements} == {0.3}
    assert View.of(surfaces, tau=0.3).measurement(surfaces[0], "adaptive_radius") == measured(
        surfaces[0], "adaptive_radius", tau=0.3
    )


def test_one_surface_is_refused() -> None:
    with pytest.raises(UsageError, match="expected at least two"):
        compare([noise_line(BASE)])
