"""Whatever decides a number is noticed where it differs, named in words, and keeps the gate from deciding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic import WEIGHT
from identified import RADII, TOLD, beside_a_plane, bowl, chi_squares, identified, noise_line, with_metric
from recorded import everything, surface_with
from torch import nn
from torch.utils.data import TensorDataset

from landscape_cli import scan_model
from landscape_cli.analysis.comparability import aspects, relation
from landscape_cli.analysis.compare import View
from landscape_cli.analysis.gate import gate
from landscape_cli.analysis.question import Named
from landscape_cli.analysis.tolerance import Tolerance
from landscape_cli.storage import load_surface
from landscape_cli.surface import Surface

CURVATURES = chi_squares(8, 0).tolist()


def against(base: Surface, new: Surface, name: str = "adaptive_radius", **options: float):
    return View.of([base, new], **options).against(base, new, name)


def sentence_of(base: Surface, new: Surface, name: str = "adaptive_radius") -> tuple[str, str]:
    (verdict,) = gate([Named("base.h5", base)], Named("new.h5", new), [Tolerance(name, 0.5)])
    return verdict.outcome, verdict.sentence


def test_equal_surfaces_have_everything_in_common() -> None:
    found = aspects([noise_line(CURVATURES)] * 2)
    assert all(each.is_same and each.is_known for name, each in found.items() if not name.startswith("metric"))
    assert sentence_of(noise_line(CURVATURES), noise_line(CURVATURES))[0] == "pass"


OTHER = [
    ({"data": "e" * 64}, "data train: n = 2,000, dddddddd… → n = 2,000, eeeeeeee…", "obstacles"),
    ({"num_examples": 500}, "n = 2,000, dddddddd… → n = 500", "obstacles"),
    ({"loss": {"_target_": "mse"}}, "loss: cross_entropy → mse", "obstacles"),
    (
        {"loss": {"_target_": "cross_entropy", "label_smoothing": 0.1}},
        "loss: cross_entropy → cross_entropy (label_smoothing: 0.1)",
        "obstacles",
    ),
    ({"batchnorm": "interpolate"}, "BatchNorm: frozen → interpolate", "obstacles"),
    ({"precision": "float32"}, "precision: float64 → float32", "unequal"),
    ({"network": "m" * 64}, "network: 1,234 parameters, nnnnnnnn… → 1,234 parameters, mmmmmmmm…", "unpaired"),
    ({"seed": 1}, "seed of the noise: 0 → 1", "unpaired"),
]


@pytest.mark.parametrize(("told", "words", "where"), OTHER, ids=lambda each: str(each)[:24])
def test_each_difference_is_noticed_named_and_refused(told: dict[str, object], words: str, where: str) -> None:
    base, new = noise_line(CURVATURES), noise_line(CURVATURES, **told)
    found = against(base, new)
    assert any(words in each for each in getattr(found.relation, where))
    assert (found.contrast is None) is (where == "obstacles")
    if found.contrast is not None:
        assert found.contrast.pairing == ("unpaired" if where == "unpaired" else "paired")
        assert words in found.note
    outcome, sentence = sentence_of(base, new)
    assert outcome == "not comparable"
    assert words in sentence
    assert "base.h5 → new.h5" in sentence


@pytest.mark.parametrize(
    "key", [key for key in TOLD if key not in ("accuracy", "recalibration", "has_batchnorm", "num_examples")]
)
def test_what_a_file_does_not_say_is_unknown_and_refused(key: str) -> None:
    base, new = noise_line(CURVATURES), noise_line(CURVATURES, **{key: None})
    found = against(base, new)
    assert found.relation.unknown
    assert not found.relation.obstacles
    assert found.contrast is not None
    assert found.contrast.pairing == ("unpaired" if key in ("network", "seed") else "paired")
    outcome, sentence = sentence_of(base, new)
    assert (outcome, "not known" in sentence) == ("not comparable", True)


@pytest.mark.parametrize("target", ["m.<lambda>", "m.make.<locals>.loss", "functools.partial"])
def test_loss_without_a_name_of_its_own_is_not_known(target: str) -> None:
    loss = {"_target_": target}
    base, new = (noise_line([4.0] * 6, loss=loss) for _ in range(2))
    assert not aspects((base, new))["loss"].is_known
    (found,) = gate([Named("base", base)], Named("new", new))
    assert (found.outcome, "loss: not known" in found.sentence) == ("not comparable", True)


def test_statistics_estimated_on_other_data_are_another_policy() -> None:
    def surface(digest: str) -> Surface:
        found = noise_line([4.0] * 6, batchnorm="recalibrate", recalibration={"split": "other", "num_examples": 64})
        data = {**found.provenance.identity["data"], "other": {"fingerprint": digest * 64, "num_examples": 100}}  # type: ignore[dict-item]
        return replace(
            found, provenance=replace(found.provenance, identity={**found.provenance.identity, "data": data})
        )

    assert aspects((surface("a"), surface("a")))["BatchNorm"].is_same
    (found,) = gate([Named("base", surface("a"))], Named("new", surface("b")))
    assert (found.outcome, "BatchNorm: recalibrate" in found.sentence) == ("not comparable", True)


def test_recalibration_counts_only_where_there_is_batchnorm() -> None:
    one, other = ({"split": None, "num_examples": num} for num in (1024, 64))
    told = [{"batchnorm": "recalibrate", "recalibration": each} for each in (one, other)]
    base, new = (noise_line(CURVATURES, **each) for each in told)
    assert "num_examples: 1024" in against(base, new).relation.obstacles[0]
    assert "num_examples: 64" in against(base, new).relation.obstacles[0]
    base, new = (noise_line(CURVATURES, has_batchnorm=False, **each) for each in told)
    assert not against(base, new).relation.differences


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (noise_line(CURVATURES, recipe={**WEIGHT, "ignore": "biasbn"}), "noise"),
        (noise_line(CURVATURES, recipe={**WEIGHT, "parameters": {"include": ["fc.*"]}}), "fc.*"),
        (noise_line(CURVATURES, radii=RADII[:-1]), "line of noise: 60 from 0.05 to 5 → 59 from"),
    ],
    ids=["ignore", "parameters", "line"],
)
def test_other_noise_or_another_line_is_refused(new: Surface, words: str) -> None:
    outcome, sentence = sentence_of(noise_line(CURVATURES), new)
    assert (outcome, words in sentence) == ("not comparable", True)


def test_tau_of_a_config_is_an_obstacle_and_one_for_both_is_none() -> None:
    base, new = (beside_a_plane(noise_line(CURVATURES)) for _ in range(2))
    resolved = {**new.provenance.resolved, "radius": {"tau": 0.2}}
    new = replace(new, provenance=replace(new.provenance, resolved=resolved))
    assert against(base, new).relation.obstacles == ("tau: 0.1 → 0.2",)
    assert not against(base, new, tau=0.1).relation.obstacles


def test_line_beside_a_plane_is_the_line_of_its_own_scan() -> None:
    own, beside = noise_line(CURVATURES), beside_a_plane(noise_line(CURVATURES))
    for base, new in ((own, beside), (beside, own), (beside, beside)):
        found = against(base, new)
        assert not found.relation.differences
        assert found.contrast is not None
        assert (found.contrast.pairing, found.contrast.log_ratio) == ("paired", 0.0)


def test_seed_of_the_plane_is_not_that_of_the_noise() -> None:
    base, new = (beside_a_plane(noise_line(CURVATURES), seed=seed) for seed in (0, 1))
    assert against(base, new).relation.unpaired == ("seed of the noise: 0 → 1",)
    told = replace(new.provenance, resolved={**new.provenance.resolved, "radius": {"seed": 0}})
    new = replace(new, provenance=told)
    assert not against(base, new).relation.differences
    assert against(base, new, "mean_rise").relation.unpaired == ("seed: 0 → 1",)


def test_grid_of_other_points_is_an_obstacle_only_where_all_of_it_counts() -> None:
    base, new = bowl([1.0] * 6), bowl([1.0] * 6, num=21)
    assert "grid: 11 from -1 to 1 → 21 from -1 to 1" in against(base, new, "low_area").note
    assert against(base, new, "low_area").contrast is None
    at_distance = against(base, new, "mean_rise")
    assert at_distance.contrast is not None
    assert at_distance.relation.unequal == ("grid: 11 from -1 to 1 → 21 from -1 to 1",)
    assert sentence_of(base, new, "mean_rise")[0] == "not comparable"


def test_defaults_of_a_direction_are_the_same_written_or_not() -> None:
    written = bowl([1.0] * 6)
    for recipe in ({"_target_": "random"}, {"_target_": "random", "normalization": "filter", "ignore": "biasbn"}):
        other = replace(written, directions={"x": replace(written.directions["x"], recipe=recipe)})
        assert not against(written, other, "mean_rise").relation.differences


def test_file_of_a_direction_is_what_it_holds() -> None:
    def towards(path: str, content: str) -> Surface:
        surface = bowl([1.0])
        recipe = {"_target_": "between", "checkpoint": path}
        axes = {"x": {"direction": {"_target_": "between", "checkpoint": [content]}}}
        told = replace(surface.provenance, identity={**surface.provenance.identity, "axes": axes})
        return replace(surface, directions={"x": replace(surface.directions["x"], recipe=recipe)}, provenance=told)

    assert not against(towards("a/ref.pt", "1f"), towards("b/ref.pt", "1f"), "barrier").relation.differences
    found = against(towards("ref.pt", "1f"), towards("ref.pt", "2e"), "barrier").relation
    assert found.unequal == (
        "axes: x between (checkpoint: ref.pt) → x between (checkpoint: ref.pt) (not quite the same)",
    )
    assert not found.why_unpaired


def test_metric_of_the_user_is_that_of_its_component() -> None:
    base, new = (
        with_metric(noise_line(CURVATURES), "train_accuracy", 0.9),
        with_metric(noise_line(CURVATURES, accuracy={"_target_": "top_k", "k": 5}), "train_accuracy", 0.9),
    )
    assert "metric accuracy: accuracy → top_k (k: 5)" in against(base, new, "train_accuracy").relation.obstacles
    assert not against(base, new, "train_loss").relation.obstacles


def test_second_loss_is_no_part_of_the_loss() -> None:
    """A metric that is called hinge_loss is compared as such, whatever the loss is."""
    base, new = (with_metric(noise_line(CURVATURES), "train_hinge_loss", 0.3) for _ in range(2))
    identity = {**new.provenance.identity, "metrics": {"hinge_loss": {"_target_": "my.squared_hinge"}}}
    before = {**base.provenance.identity, "metrics": {"hinge_loss": {"_target_": "my.hinge"}}}
    base = replace(base, provenance=replace(base.provenance, identity=before))
    new = replace(new, provenance=replace(new.provenance, identity=identity))
    found = against(base, new, "train_hinge_loss")
    assert found.relation.obstacles == ("metric hinge_loss: my.hinge → my.squared_hinge",)
    assert not against(base, new, "train_loss").relation.obstacles


# ---------------------------------------------------------------- from the model


def from_model(told: dict[str, object] | None = None, **conditions: object) -> Surface:
    surface = surface_with(everything(**conditions))
    return replace(identified(surface, **(told or {})), curvature=surface.curvature)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"weight_decay": 1e-4}, "without weight decay → with weight decay 0.0001"),
        ({"split": "test"}, "on the split train → on the split test"),
        ({"num_examples": 256}, "n = 512 → n = 256"),
        ({"parameters": {"include": ["fc.*"], "exclude": []}}, "of the whole network → of the parameters fc.*"),
        ({"precision": "float32"}, "in float64 → in float32"),
    ],
)
def test_each_condition_of_a_record_is_noticed(conditions: dict[str, object], words: str) -> None:
    base, new = from_model(), from_model(**conditions)
    found = against(base, new, "trace")
    assert words in found.note
    assert words in sentence_of(base, new, "trace")[1]
    assert (found.contrast is None) is ("precision" not in conditions)


@pytest.mark.parametrize(
    ("name", "option", "is_obstacle"),
    [
        ("adaptive_worst", {"rho": 0.25}, True),
        ("adaptive_worst", {"norm": "linf"}, True),
        ("adaptive_worst", {"steps": 5}, False),
        ("relative_flatness", {"layers": ["conv1"]}, True),
        ("trace", {"estimator": "hutchinson"}, False),
        ("trace", {"seed": 7}, False),
        ("keskar", {"epsilon": 5e-4}, True),
    ],
)
def test_options_of_a_record_say_what_it_is_of(name: str, option: dict[str, object], is_obstacle: bool) -> None:
    base, new = from_model(), from_model()
    assert new.curvature is not None
    record = new.curvature.records[name]
    options = {**record.settings["options"], **option}  # type: ignore[dict-item]
    records = {**new.curvature.records, name: replace(record, settings={**record.settings, "options": options})}
    new = replace(new, curvature=replace(new.curvature, records=records))
    found = against(base, new, name)
    assert bool(found.relation.obstacles) is is_obstacle
    assert (found.contrast is None) is is_obstacle


def test_other_network_is_refused_for_what_is_from_the_model() -> None:
    outcome, sentence = sentence_of(from_model(), from_model({"network": "m" * 64}), "trace")
    assert (outcome, "network" in sentence) == ("not comparable", True)


def test_what_one_file_lacks_is_no_difference_of_settings() -> None:
    base, new = from_model(), from_model()
    assert new.curvature is not None
    left = {name: each for name, each in new.curvature.records.items() if name != "trace"}
    new = replace(new, curvature=replace(new.curvature, records=left))
    found = against(base, new, "trace")
    assert (found.contrast, found.note) == (None, "")
    assert "trace is not measured: add it with" in sentence_of(base, new, "trace")[1]


# ---------------------------------------------------------------- files of others, and old ones


def converted(factors: list[float]) -> Surface:
    surface = bowl(factors)
    directions = {"x": replace(surface.directions["x"], recipe={"_target_": "unknown"})}
    resolved = {"found": {"dialect": "tomgoldstein"}}
    told = replace(surface.provenance, resolved=resolved, identity={})
    return replace(surface, directions=directions, provenance=told)


def test_converted_surfaces_are_compared_but_never_paired_or_decided_on() -> None:
    base, new = converted([1.0, 2.0, 3.0, 4.0, 5.0]), converted([2.0, 3.0, 4.0, 5.0, 6.5])
    found = against(base, new, "mean_rise")
    assert found.contrast is not None
    assert found.contrast.pairing == "unpaired"
    assert "seed: not known" in found.note
    assert {"axes", "seed", "network", "data train", "loss", "BatchNorm", "precision"} <= set(found.relation.unknown)
    assert sentence_of(base, new, "mean_rise")[0] == "not comparable"


@pytest.mark.parametrize(
    "name", ["1.0/line.h5", "1.1/plane_partial.h5", "1.3/line_radius.h5", "1.3/plane_curvature.h5"]
)
def test_files_of_old_releases_are_compared_and_the_gate_says_what_they_lack(name: str) -> None:
    from conftest import ROOT

    surface = load_surface(ROOT / "tests/data/surfaces" / name)
    view = View.of([surface, surface])
    for measure in ("adaptive_radius", "mean_rise", "trace", *view.metrics):
        found = view.against(surface, surface, measure).contrast
        assert found is None or found.difference == 0 or np.isnan(found.difference)
    (verdict,) = gate([Named("a", surface)], Named("b", surface))
    assert verdict.outcome == "not comparable"


def test_three_files_of_which_one_says_nothing_are_neither_same_nor_known() -> None:
    files = [noise_line(CURVATURES), noise_line(CURVATURES, data=None), noise_line(CURVATURES)]
    found = aspects(files)["data train"]
    assert (found.is_same, found.is_known) == (True, False)
    assert "not known" in str(found)


# ---------------------------------------------------------------- as scanned


def scanned(seed: int, *, scale: float = 1.0, **options: object) -> Surface:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator, dtype=torch.float64)
    data = {"train": TensorDataset(x, (x[:, 0] > 0).long())}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    with torch.no_grad():
        model[0].weight *= scale
        model[0].bias *= scale
        model[2].weight /= scale
    runtime = {"device": "cpu", "processes": 1, "engine": "sequential"}
    evaluation = {"precision": "float64"}
    return scan_model(model, data, evaluation=evaluation, runtime=runtime, **options)  # type: ignore[arg-type]


AXES = {"x": {"start": -1, "stop": 1, "num": 9, "direction": {"_target_": "random", "normalization": "unit"}}}
RADIUS = {"slices": 8, "num": 15, "parts": 1}


@pytest.fixture(scope="module")
def base() -> Surface:
    return scanned(1, axes=AXES, slices={"num": 6}, radius=RADIUS)


def test_radius_of_a_scan_is_paired_with_a_scan_along_the_same_line(base: Surface) -> None:
    axis = {"start": 0.01, "stop": 3, "num": 15, "spacing": "log"}
    line = scanned(
        1, axes={"x": {**axis, "direction": {"_target_": "random", "normalization": "weight"}}}, slices={"num": 8}
    )
    found = against(base, line)
    assert found.relation.differences == ()
    assert found.contrast is not None
    assert found.contrast.pairing == "paired"
    assert found.contrast.limits_of_log(0.95) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_rescaled_twin_passes_by_the_adaptive_radius_and_fails_by_a_naive_measure(base: Surface) -> None:
    """One layer × 10, the next / 10 computes the same (Dinh et al. 2017, arXiv:1703.04933)."""
    twin = scanned(1, scale=10.0, axes=AXES, slices={"num": 6}, radius=RADIUS)
    outcomes = [sentence_of(base, twin, name)[0] for name in ("adaptive_radius", "train_loss", "mean_rise")]
    assert outcomes == ["pass", "pass", "fail"]


def test_parts_of_the_data_make_other_noise_of_the_same_size(base: Surface) -> None:
    other = scanned(1, axes=AXES, radius={**RADIUS, "parts": 4})
    found = against(base, other)
    assert found.relation.differences == ("parts of the data: 1 → 4",)
    assert found.contrast is not None
    assert found.contrast.pairing == "unpaired"


def test_network_of_another_shape_has_another_fingerprint(base: Surface) -> None:
    parameters = base.provenance.resolved["found"]["parameters"]  # type: ignore[index,call-overload]
    assert parameters["num"] == 4 * 6 + 6 + 6 * 2 + 2  # type: ignore[index,call-overload]
    assert (
        relation(
            aspects([base, base]), *[View.of([base]).measurement(base, "adaptive_radius")] * 2, "train_loss"
        ).differences
        == ()
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wider = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 2)).double()
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other = scan_model(
        wider,
        {"train": TensorDataset(x, (x[:, 0] > 0).long())},
        axes=AXES,
        radius=RADIUS,
        evaluation={"precision": "float64"},
        runtime={"device": "cpu", "processes": 1, "engine": "sequential"},
    )
    assert [each.partition(":")[0] for each in against(base, other).relation.unpaired] == ["network"]
