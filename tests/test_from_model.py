"""Measures from the model: records become numbers with their errors, or a reason; bad records are no tracebacks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from analytic import line, surface_of
from recorded import MAP, eigenvalues, everything, gradient, map_of, record, surface_with

from landscape_cli.analysis.critical_point import critical_point
from landscape_cli.analysis.sharpness import FROM_MODEL, measured, sharpness
from landscape_cli.errors import UsageError
from landscape_cli.records import Curvature, Record
from landscape_cli.surface import Surface

ALL = ("layer", "neuron", "conv→BN")
FILTER = ("layer", "conv→BN")


@pytest.fixture
def surface() -> Surface:
    found = surface_with(everything())
    found.curvature_map = map_of(-0.5, 2.0)
    return found


# value, standard error, method error, bound, invariances
EXPECTED = {
    "grad_norm": (0.1, None, None, None, ()),
    "adaptive_grad_norm": (0.2, None, None, None, ALL),
    "guaranteed_decrease": (0.1**2 / (2 * 2.0), None, None, None, ()),
    "lambda_max": (2.0, None, 1e-5, None, ()),
    "lambda_min": (-0.02, None, 1e-5, None, ()),
    "adaptive_lambda_max": (3.0, None, 1e-6, None, ALL),
    "trace": (6.0, 0.1, None, None, ()),
    "adaptive_trace": (25.0, 1.0, None, None, ALL),
    "slice_curvature": (0.75, 0.25 / math.sqrt(3), None, None, FILTER),
    "negative_curvature": (0.88, 0.02, 0.2, None, ()),
    "nonconvexity": (0.25, 0.0, None, None, ()),
    "relative_flatness": (11.0, 0.5, None, None, FILTER),
    "fisher_rao": (0.4, None, None, None, ALL),
    "fisher_rao_empirical": (0.3, None, None, None, ALL),
    "sam": (0.01, None, None, None, ()),
    "asam": (0.02, None, None, None, ALL),
    "adaptive_worst": (0.2, None, None, "lower", ALL),
    "keskar": (12.0, None, None, "lower", ()),
    "lr_limit": (1.0, None, 5e-6, None, ()),
    "lr_limit_momentum": (1.9, None, 1.9 * 5e-6, None, ()),
    "lr_limit_nesterov": (3.8 / 2.8 / 2, None, 3.8 / 2.8 / 2 * 5e-6, None, ()),
    "lr_limit_adam": (38 / 800, None, 38 / 800 * 0.01 / 800, None, ()),
}


def test_every_measure_from_the_model_is_tested_here() -> None:
    assert list(EXPECTED) == list(FROM_MODEL)


@pytest.mark.parametrize("name", FROM_MODEL)
def test_a_measure_is_what_its_record_holds(surface: Surface, name: str) -> None:
    found = measured(surface, name)
    value, error, method_error, bound, invariant_to = EXPECTED[name]
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.standard_error == (None if error is None else pytest.approx(error, abs=1e-15))
    assert found.method_error == (None if method_error is None else pytest.approx(method_error))
    assert (found.bound, found.invariant_to) == (bound, invariant_to)
    assert found.num_examples == 512
    assert found.note


@pytest.mark.parametrize("name", FROM_MODEL)
def test_a_surface_without_records_says_how_to_add_them(name: str) -> None:
    surface = surface_with({})
    for each in (surface, replace(surface, curvature=None)):
        found = measured(each, name)
        assert found.value is None
        assert found.note.startswith("add it with: landscape curvature CONFIG FILE")
    record_of = {"negative_curvature": "spectral_density", "fisher_rao_empirical": "fisher_rao"}
    record_of |= {"lr_limit_adam": "adam_lambda_max", "nonconvexity": "--set curvature.map=true"}
    defaults = ("grad", "guaranteed", "lambda", "adaptive_grad", "adaptive_lambda", "adaptive_trace", "trace", "slice")
    is_default = name.startswith(defaults) or (name.startswith("lr_limit") and name != "lr_limit_adam")
    assert is_default == (found.note == "add it with: landscape curvature CONFIG FILE")
    assert is_default or record_of.get(name, name) in found.note


def test_what_is_pending_is_said_to_be() -> None:
    assert "asked for and not there yet" in measured(surface_with({}, pending=("trace",)), "trace").note


def test_the_loss_of_another_split_is_not_measured(surface: Surface) -> None:
    surface.metrics["test_loss"] = surface.metrics["train_loss"]
    for name in FROM_MODEL:
        assert measured(surface, name, loss="train_loss").value is not None
        found = measured(surface, name, loss="test_loss")
        assert (found.value, found.note) == (None, "was measured on train_loss, not on test_loss")
    surface.metrics = {name: surface.metrics[name] for name in ("test_loss", "train_loss")}
    assert "on the split train" in measured(surface, "trace").note  # by default, and said


def test_unknown_losses_and_slices_are_refused(surface: Surface) -> None:
    for name in FROM_MODEL:
        with pytest.raises(UsageError, match="tests_loss"):
            measured(surface, name, loss="tests_loss")
        with pytest.raises(UsageError, match="slice: found 3"):
            measured(surface, name, slice_index=3)


def test_curvature_of_slices_is_the_mean_of_theirs(surface: Surface) -> None:
    found = measured(surface, "slice_curvature")
    assert found.per_slice == (0.5, 0.75, 1.0)
    assert found.range == (0.5, 1.0)
    assert found.spread == pytest.approx(0.25 / 0.75)
    assert "slices differ by 33 %: a single one misleads" in found.note
    one = measured(surface, "slice_curvature", slice_index=2)
    assert (one.value, one.standard_error, one.scope) == (1.0, None, "in this slice")


def test_curvature_on_the_grid_names_the_exact_one_where_they_differ() -> None:
    """On the bowls (1 + s/9)(x² + 2y²) that of the grid is exact: 3, 3.333, 3.667."""

    def note(per_slice: list[list[float]], slice_index: int | None = None, **settings: object) -> str:
        own = record({"per_slice": per_slice}, num_examples=2000, **settings)
        return measured(surface_with({"slice_curvature": own}), "curvature", slice_index=slice_index).note

    other = [[50.0, 66.4], [2.0, 4.0], [2.0, 4.0]]
    assert note(other[:1]).startswith("exact from the model: 58.2; h=0.25")
    assert note([[2.0, 4.0]]).startswith("h=0.25")  # the same as the first slice has
    assert note(other, slice_index=0).startswith("exact from the model: 58.2; ")
    assert "exact" not in note([[2.0, 4.0]], slice_index=1)  # not measured there
    for settings in (
        {"weight_decay": 0.1},
        {"parameters": {"include": ["fc.*"], "exclude": []}},
        {"batchnorm": "recalibrate"},
        {"method": "finite differences"},
        {"split": "test"},
    ):
        assert "exact" not in note(other, **settings)
    few = surface_with({"slice_curvature": record({"per_slice": other[:1]})})
    assert measured(few, "curvature").note.startswith("exact from the model: 58.2 of 512 examples; ")


def test_curvature_on_a_grid_that_is_too_coarse_names_the_exact_one() -> None:
    """Of cos 3πx on points 0.25 apart it is −70 with an error of 15.5, more than a fifth."""
    surface = surface_of(lambda _, x: math.cos(3 * math.pi * x), line(-1, 1, 9))
    surface.curvature = Curvature({"slice_curvature": record({"per_slice": [[-85.0]]}, num_examples=2000)})
    found = measured(surface, "curvature")
    assert found.value is not None
    assert found.method_error is not None
    assert abs(found.value + 85.0) < found.method_error
    assert found.note.startswith("exact from the model: -85; grid too coarse for curvature")


def test_nonconvexity_is_the_mean_ratio_over_the_points_that_are_there(surface: Surface) -> None:
    rng = np.random.default_rng(0)
    least, largest = rng.uniform(-0.1, 0.02, (3, 9, 9)), rng.uniform(1, 2, (3, 9, 9))
    found = surface.curvature_map = map_of(least, largest)
    found.evaluated[0, :4] = False
    least[0, :4] = np.nan
    ratios = np.abs(least / largest)
    measure = measured(surface, "nonconvexity")
    assert measure.value == pytest.approx(np.nanmean(ratios.reshape(3, -1), axis=1).mean())
    negative = int((least < -0.01 * largest).sum())
    assert f"λ_min < −tol at {negative} of {243 - 36} points; 36 points left out" in measure.note
    assert measured(surface, "nonconvexity", slice_index=1).value == pytest.approx(ratios[1].mean())
    more = int((least < -0.05 * largest).sum())
    assert f"at {more} of" in measured(surface, "nonconvexity", curv_tol=0.05).note


def test_nonconvexity_holds_for_what_the_record_of_the_map_says(surface: Surface) -> None:
    """λ_min = −10⁻⁵ λ_max is below the noise of float32 and of differences, and above that of float64."""
    assert surface.curvature is not None
    eigenvalues_, own = surface.curvature.records["eigenvalues"], record({}, measure="map", num_examples=64)
    surface.curvature_map = map_of(-2e-5, 2.0)

    def note(each: Record) -> str:
        surface.curvature = Curvature({"eigenvalues": eigenvalues_, "map": each})
        found = measured(surface, "nonconvexity", curv_tol=0.0)
        assert found.num_examples == 64
        return found.note

    assert note(own) == "λ_min < −tol at 243 of 243 points"
    in_float32 = replace(own, settings={**own.settings, "precision": "float32"})
    assert note(in_float32).startswith("λ_min < −tol at 0 of")
    words = note(replace(own, method="finite differences"))
    assert words == "λ_min < −tol at 0 of 243 points; by finite differences: approximate"
    layer = replace(own, settings={**own.settings, "parameters": {"include": ["fc.*"], "exclude": []}})
    surface.curvature = Curvature({"map": layer})
    assert measured(surface, "nonconvexity").scope == "in this slice, of the parameters fc.*"


def test_a_map_of_unknown_origin_is_not_measured(surface: Surface) -> None:
    assert surface.curvature is not None
    records = {name: each for name, each in surface.curvature.records.items() if name != "map"}
    surface.curvature = Curvature(records)
    found = measured(surface, "nonconvexity")
    assert found.value is None
    assert found.note.startswith("nothing says what the map was measured with: landscape curvature CONFIG FILE")


def test_a_map_of_another_grid_is_not_measured(surface: Surface) -> None:
    surface.curvature_map = surface_of(lambda *_: 1.0, *[line(-2, 2, 9)] * 2, num_slices=3, names=MAP)
    assert measured(surface, "nonconvexity").note == "the map has other axes or slices than the grid"


# ---------------------------------------------------------------- when numbers must not be compared


def test_extreme_eigenvalues_say_of_how_many_examples(surface: Surface) -> None:
    for name in ("lambda_max", "adaptive_lambda_max"):
        expected = "from 512 of 2,000 examples: biased upwards, compare at equal n only"
        assert expected in measured(surface, name).note
    assert "biased downwards" in measured(surface, "lambda_min").note
    assert "biased" not in measured(surface, "trace").note


@pytest.mark.parametrize(
    ("estimated", "warns"), [(0.0039, True), (0.0067, False), (0.00675, False), (0.0079, True), (math.nan, False)]
)
def test_statistics_that_lag_behind_are_warned_of(estimated: float, warns: bool) -> None:
    slope = gradient(0.01, 0.0067, batchnorm="frozen")
    slope = replace(slope, values={**slope.values, "batchnorm_loss": np.asarray(estimated)})
    surface = surface_with({"gradient": slope, "eigenvalues": eigenvalues(0, 1, batchnorm="frozen")})
    note = measured(surface, "lambda_max").note
    assert "BatchNorm frozen" in note
    words = "eval-mode loss 0.0067, with batch statistics 0.0039: curvature of the deployed network, not of training"
    assert ("not of training" in note) == warns
    assert (words in note) == (estimated == 0.0039)


@pytest.mark.parametrize(
    ("frozen", "estimated", "words"),
    [
        (0.3512, 0.3467, "loss 0.3512, with batch statistics 0.3467: "),
        (23.4561, 23.4579, "loss 23.456, with batch statistics 23.458: "),  # with four digits both are 23.46
    ],
)
def test_losses_that_differ_are_printed_so_that_they_do(frozen: float, estimated: float, words: str) -> None:
    slope = gradient(0.01, frozen, batchnorm="frozen")
    slope = replace(slope, values={**slope.values, "batchnorm_loss": np.asarray(estimated)})
    assert f"eval-mode {words}" in measured(surface_with({"gradient": slope}), "grad_norm").note


@pytest.mark.parametrize(("estimated", "warns"), [(2.3009, False), (2.3011, True)])
def test_a_large_loss_differs_by_a_thousandth(estimated: float, warns: bool) -> None:
    slope = gradient(0.01, 2.3, batchnorm="interpolate")
    slope = replace(slope, values={**slope.values, "batchnorm_loss": np.asarray(estimated)})
    note = measured(surface_with({"gradient": slope}), "grad_norm").note
    assert ("not of training" in note) == warns


def test_what_a_record_holds_for_is_said() -> None:
    settings = {"weight_decay": 5e-4, "parameters": {"include": ["layer3.*"], "exclude": ["*.bias"]}}
    records = everything(**settings)
    records["trace"] = replace(records["trace"], method="finite differences", notes=("a remark",))
    found = measured(surface_with(records), "trace")
    assert found.scope == "of the parameters layer3.*, not *.bias"
    assert found.note == "XTrace, 30 probes; a remark; by finite differences: approximate; weight decay 0.0005 included"


WITHOUT_DECAY = {"fisher_rao", "fisher_rao_empirical"}


@pytest.mark.parametrize("name", FROM_MODEL)
def test_weight_decay_in_the_loss_leaves_it_no_invariance(name: str) -> None:
    surface = surface_with(everything(weight_decay=5e-4))
    surface.curvature_map = map_of(-0.5, 2.0)
    found = measured(surface, name)
    assert found.invariant_to == (ALL if name in WITHOUT_DECAY else ())
    assert ("weight decay 0.0005 included" in found.note) == (name not in WITHOUT_DECAY)


@pytest.mark.parametrize("name", ["sam", "asam", "adaptive_worst", "keskar"])
def test_a_worst_case_that_diverges_is_infinite(name: str) -> None:
    records = everything()
    records[name] = replace(records[name], values={"value": np.asarray(math.inf)})
    found = measured(surface_with(records), name)
    assert (found.value, found.bound) == (math.inf, None)
    assert "the loss diverges there" in found.note


def test_an_infinite_curvature_limits_nothing() -> None:
    surface = surface_with({"gradient": gradient(0.1), "eigenvalues": eigenvalues(0, math.inf)})
    for name in ("guaranteed_decrease", "lr_limit", "lr_limit_momentum", "lr_limit_nesterov"):
        assert measured(surface, name).value is None


@pytest.mark.parametrize(
    ("options", "probes", "words"),
    [
        ({"estimator": "xtrace", "products": 30}, 15, "XTrace, 15 probes"),
        ({"estimator": "xtrace", "products": 31}, 15, "XTrace, 15 probes"),
        ({"estimator": "xtrace", "products": 30}, 30, "Hutchinson, 30 probes"),  # Q did not fit in memory
        ({"estimator": "hutchinson", "products": 30}, 30, "Hutchinson, 30 probes"),
        ({"estimator": "mine", "products": 30}, 30, "30 probes"),
    ],
)
def test_a_trace_names_the_estimator_that_was_used(options: dict[str, object], probes: int, words: str) -> None:
    own = record({"value": 1.0, "standard_error": 0.1, "num_probes": probes}, options=options)
    for name in ("trace", "adaptive_trace"):
        assert measured(surface_with({name: own}), name).note == words


def test_a_gradient_within_twice_its_floor_cannot_be_told_from_zero() -> None:
    for floor, told in ((0.049, False), (0.05, True)):
        note = measured(surface_with({"gradient": gradient(0.1, floor=floor)}), "grad_norm").note
        assert ("indistinguishable from 0 on 512 samples" in note) == told


def test_eigenvalues_that_have_not_converged_say_so() -> None:
    surface = surface_with({"eigenvalues": eigenvalues(-0.5, 1.0, residual=0.009)})
    assert "not converged in 80 Lanczos steps" in measured(surface, "lambda_min").note
    assert "not converged" not in measured(surface, "lambda_max").note


def test_no_decrease_is_guaranteed_without_positive_curvature() -> None:
    surface = surface_with({"gradient": gradient(0.1), "eigenvalues": eigenvalues(-1, -0.5)})
    for name in ("guaranteed_decrease", "lr_limit", "lr_limit_momentum", "lr_limit_nesterov"):
        assert measured(surface, name).note.startswith("λ_max is not above 0")


def test_gradient_and_curvature_of_different_losses_are_not_put_together() -> None:
    surface = surface_with({"gradient": gradient(0.1, weight_decay=0.1), "eigenvalues": eigenvalues(0, 1)})
    assert measured(surface, "guaranteed_decrease").note == (
        "gradient and eigenvalues were measured with another weight_decay"
    )


# ---------------------------------------------------------------- records that are not as they should be

HOSTILE_VALUES = {
    "missing": lambda values: {},
    "nan": lambda values: {key: np.full(value.shape, np.nan) for key, value in values.items()},
    "infinite": lambda values: {key: np.full(value.shape, -np.inf) for key, value in values.items()},
    "vectors": lambda values: {key: np.stack([value, value]) for key, value in values.items()},
    "empty": lambda values: {key: np.zeros((0,)) for key in values},
}


@pytest.mark.parametrize("how", HOSTILE_VALUES)
def test_bad_values_are_not_measured(surface: Surface, how: str) -> None:
    assert surface.curvature is not None
    records = {
        name: replace(each, values=HOSTILE_VALUES[how](each.values)) for name, each in surface.curvature.records.items()
    }
    bad = surface_with(records)
    for found in sharpness(bad):
        if found.name in FROM_MODEL:
            assert found.value is None
            assert found.note
    assert critical_point(bad).verdict == "unknown"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"split": 3, "num_examples": "many", "num_parameters": -1, "parameters": "all", "options": []},
        {"split": "train", "num_examples": 10**400, "num_parameters": math.inf, "weight_decay": math.nan},
        {"split": "train", "parameters": {"include": 3, "exclude": {}}, "options": {"rho": {"a": [1]}, "layers": 3}},
        {"split": "train", "batchnorm": ["frozen"], "precision": {}, "options": {"layers": [None, 1]}},
    ],
)
def test_bad_settings_do_not_end_in_a_traceback(surface: Surface, settings: dict[str, object]) -> None:
    assert surface.curvature is not None
    records = {name: replace(each, settings=settings) for name, each in surface.curvature.records.items()}
    bad = surface_with(records)
    bad.curvature_map = surface.curvature_map
    assert all(found.note or found.value is not None for found in sharpness(bad))
    assert critical_point(bad).sentence


@pytest.mark.parametrize("shape", [(4, 2), (3, 1), (3,), (0, 2), (3, 2, 1)])
def test_a_record_of_another_grid_is_not_measured(shape: tuple[int, ...]) -> None:
    found = measured(surface_with({"slice_curvature": record({"per_slice": np.ones(shape)})}), "slice_curvature")
    assert found.value is None
    assert found.note == "the record slice_curvature has no numbers for each slice and axis"


def test_curvature_of_the_first_slices_says_so() -> None:
    surface = surface_with({"slice_curvature": record({"per_slice": [[1.0, 3.0], [2.0, 4.0]]})})
    found = measured(surface, "slice_curvature")
    assert (found.value, found.per_slice) == (2.5, (2.0, 3.0))
    assert "the first 2 of 3 slices" in found.note
    assert "the first 2 slices only" in measured(surface, "slice_curvature", slice_index=2).note
    assert measured(surface, "slice_curvature", slice_index=1).value == 3.0


def test_a_record_of_another_measure_of_that_name_is_not_taken() -> None:
    surface = surface_with({"trace": record({"value": 1.0}, measure="my.trace")})
    assert measured(surface, "trace").note == "the record trace is of another measure, my.trace"


def test_a_radius_left_to_the_measure_is_in_its_settings() -> None:
    own = record({"value": 0.2, "rho": 0.5}, options={"rho": None, "norm": "l2", "steps": 20})
    found = measured(surface_with({"adaptive_worst": own}), "adaptive_worst")
    assert found.settings == {"rho": 0.5, "steps": 20}
    assert found.note.startswith("ρ = 0.5, steps = 20, norm = l2; ")


def test_errors_that_are_no_errors_are_left_out() -> None:
    for error in (math.nan, math.inf, -1.0):
        surface = surface_with({"trace": record({"value": 1.0, "standard_error": error, "num_probes": 3})})
        assert measured(surface, "trace").standard_error is None


def test_a_map_without_eigenvalues_is_not_measured(surface: Surface) -> None:
    surface.curvature_map = map_of(np.nan, 1.0)
    assert measured(surface, "nonconvexity").note == "no point of the map has both eigenvalues"
    assert surface.curvature_map is not None
    del surface.curvature_map.metrics["lambda_min"]
    assert measured(surface, "nonconvexity").note == "the map has no lambda_min"


def test_fisher_rao_of_another_loss_is_empirical_only() -> None:
    surface = surface_with({"fisher_rao": Record({"empirical": np.asarray(0.3)}, record({}).settings)})
    assert measured(surface, "fisher_rao").note == "only for cross entropy"
    assert measured(surface, "fisher_rao_empirical").value == 0.3
