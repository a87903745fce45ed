"""A page holds the numbers of the file exactly, says what it leaves out, and takes no text for markup."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analytic import line, surface_of
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape_cli.analysis.curve import curve_of
from landscape_cli.analysis.interactive.amount import amount
from landscape_cli.analysis.interactive.page import write_page
from landscape_cli.analysis.interactive.subgrid import filled, touched
from landscape_cli.errors import OutputError, UsageError
from landscape_cli.grid import Axis
from landscape_cli.storage import save_surface
from landscape_cli.surface import Direction, Metric, Provenance, Surface, Trajectory

pytest.importorskip("plotly", reason="no plotly: pip install 'landscape-cli[html]'")


class Elements(HTMLParser):
    """The elements of a page, as a browser would find them: tag, attributes, text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)


def page_of(surface: Surface, folder: Path, **options: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_page(surface, folder / "s.html", **options)
    return (folder / "s.html").read_text(encoding="utf-8")


def elements(page: str) -> list[tuple[str, dict[str, str | None], str]]:
    parser = Elements()
    parser.feed(page)
    parser.close()
    return parser.found


def data_of(page: str) -> dict[str, Any]:
    (found,) = [text for tag, attributes, text in elements(page) if attributes.get("id") == "data"]
    loaded: dict[str, Any] = json.loads(found, parse_constant=pytest.fail)  # NaN is no JSON
    return loaded


def array(packed: dict[str, Any]) -> np.ndarray:
    """Decoded as the description says, with nothing of ours."""
    kind = {"f8": "<f8", "f4": "<f4", "u1": "u1"}[packed["dtype"]]
    return np.frombuffer(base64.b64decode(packed["bdata"]), dtype=kind).reshape(packed["shape"])


def values_of(page: str, name: str = "train_loss") -> np.ndarray:
    (metric,) = [metric for metric in data_of(page)["metrics"] if metric["name"] == name]
    return array(metric["values"])


def bowl(_slice: int, x: float, y: float) -> float:
    """Steep along y: a picture with swapped axes cannot pass for it."""
    return x + 10 * y**2


def plane(**options: Any) -> Surface:
    return surface_of(bowl, line(-1, 1, 5), line(-0.6, 1, 9), **options)


# ---------------------------------------------------------------- numbers


def test_a_page_holds_every_value_exactly_at_its_place(tmp_path: Path) -> None:
    page = page_of(plane(), tmp_path)
    data = data_of(page)
    x, y = (array(axis["coordinates"]) for axis in data["axes"])
    values = values_of(page)
    assert values.shape == (1, 5, 9)
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            assert values[0, i, j] == a + 10 * b**2


def test_errors_and_the_checkpoint_are_there(tmp_path: Path) -> None:
    surface = plane(num_examples=2500)
    surface.metrics["train_loss"].centre = 0.1 + 0.2
    (metric,) = data_of(page_of(surface, tmp_path))["metrics"]
    np.testing.assert_allclose(array(metric["errors"]), 0.5 / 50, rtol=1e-7)
    assert metric["centre"] == 0.1 + 0.2
    assert metric["centre_error"] == 0.5 / 50


def test_without_the_number_of_examples_there_is_no_error(tmp_path: Path) -> None:
    (metric,) = data_of(page_of(plane(num_examples=0), tmp_path))["metrics"]
    assert metric["errors"] is None
    assert metric["centre_error"] is None


def test_all_metrics_and_slices_are_there_with_their_split(tmp_path: Path) -> None:
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "other")
    surface = surface_of(lambda s, x, y: s + x * y, line(-1, 1, 3), line(-1, 1, 5), num_slices=4, names=names)
    for k, name in enumerate(names):
        surface.metrics[name].values[:] += k
    page = page_of(surface, tmp_path)
    assert [metric["split"] for metric in data_of(page)["metrics"]] == ["train", "test", "train", "test", "other"]
    assert data_of(page)["slices"] == [0, 1, 2, 3]
    for name in names:
        np.testing.assert_array_equal(values_of(page, name), surface[name])


def test_of_a_volume_the_layer_nearest_to_the_checkpoint_is_shown_and_named(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x, y, z: x + 10 * y + 100 * z, line(-1, 1, 3), line(-1, 1, 5), [-1.0, 0.25, 1.0])
    page = page_of(surface, tmp_path)
    x, y = (array(axis["coordinates"]) for axis in data_of(page)["axes"])
    np.testing.assert_allclose(values_of(page)[0], x[:, None] + 10 * y[None, :] + 25)
    assert "the layer of the volume at z = 0.25" in page


def test_not_evaluated_and_diverged_are_two_things(tmp_path: Path) -> None:
    evaluated = np.ones((1, 5, 9), dtype=bool)
    evaluated[0, 1, 2] = False
    surface = plane(evaluated=evaluated)
    surface.metrics["train_loss"].values[0, 1, 2] = 7.0  # whatever stands there is no value
    surface.metrics["train_loss"].values[0, 0, :3] = math.inf, -math.inf, math.nan
    page = page_of(surface, tmp_path)
    np.testing.assert_array_equal(array(data_of(page)["evaluated"]), evaluated)
    values = values_of(page)
    assert values[0, 0, 0] == math.inf
    assert values[0, 0, 1] == -math.inf
    assert math.isnan(values[0, 0, 2])
    assert math.isnan(values[0, 1, 2])
    assert "PARTIAL: 44 of 45 points" in page


@pytest.mark.parametrize(("factor", "offset", "is_log"), [(1, 0, False), (100, 1, True), (1e-12, 1e-14, True)])
def test_the_scale_is_that_of_the_pictures(tmp_path: Path, factor: float, offset: float, is_log: bool) -> None:
    surface = surface_of(lambda s, x, y: offset + factor * (x**2 + y**2), line(-1, 1, 5), line(-1, 1, 5))
    (scale,) = data_of(page_of(surface, tmp_path))["metrics"][0]["scales"]
    assert scale["log"] is is_log
    assert scale["positive"] is (offset > 0)
    assert (scale["low"], scale["high"]) == (surface["train_loss"].min(), surface["train_loss"].max())


def test_a_line_has_mean_and_range_over_all_slices(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: (1 + s) * x**2, line(-1, 1, 5), num_slices=3)
    surface.metrics["train_loss"].values[1, 0] = math.inf
    found = data_of(page_of(surface, tmp_path))["metrics"][0]["over_slices"]
    square = np.array([math.nan, 0.25, 0, 0.25, 1])
    np.testing.assert_allclose(array(found["mean"]), 2 * square)
    np.testing.assert_allclose(array(found["low"]), square)
    np.testing.assert_allclose(array(found["high"]), 3 * square)
    np.testing.assert_array_equal(array(found["diverged"]), [1, 0, 0, 0, 0])


def test_a_partial_line_has_its_mean_where_all_slices_have_a_value(tmp_path: Path) -> None:
    evaluated = np.array([[True, True, True], [True, False, True]])
    surface = surface_of(lambda s, x: s + x, line(-1, 1, 3), num_slices=2, evaluated=evaluated)
    found = data_of(page_of(surface, tmp_path))["metrics"][0]["over_slices"]
    np.testing.assert_array_equal(array(found["known"]), [1, 0, 1])
    np.testing.assert_array_equal(array(found["mean"]), [-0.5, math.nan, 1.5])


GROWING = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)


def test_a_slice_that_is_not_begun_does_not_count(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: 10.0 * s + x**2, line(-1, 1, 5), num_slices=4, evaluated=GROWING)
    curve = curve_of(surface, "train_loss")
    np.testing.assert_allclose(curve.mean, [11, math.nan, 10, math.nan, 11])  # of 0, 10 and 20
    np.testing.assert_allclose(curve.standard_error[curve.known], 10 / math.sqrt(3))
    assert curve.num_slices == 3
    found = data_of(page_of(surface, tmp_path))["metrics"][0]["over_slices"]
    np.testing.assert_allclose(array(found["mean"]), curve.mean)
    np.testing.assert_array_equal(array(found["known"]), curve.known)
    assert found["num_slices"] == 3


@pytest.mark.parametrize("evaluated", [np.zeros((2, 3), dtype=bool), np.array([[0, 1, 0], [0, 0, 0]], dtype=bool)])
def test_where_nothing_or_one_slice_is_begun_nothing_is_invented(evaluated: np.ndarray) -> None:
    curve = curve_of(surface_of(lambda s, x: s + x, line(-1, 1, 3), num_slices=2, evaluated=evaluated), "train_loss")
    np.testing.assert_array_equal(curve.known, evaluated[0])
    np.testing.assert_array_equal(curve.mean, np.where(evaluated[0], 0.0, math.nan))
    assert curve.num_slices == evaluated.any(axis=1).sum()


def test_slices_that_have_no_coordinate_in_common_are_all_shown() -> None:
    apart = np.array([[1, 0, 0], [0, 0, 1]], dtype=bool)
    curve = curve_of(surface_of(lambda s, x: s + x, line(-1, 1, 3), num_slices=2, evaluated=apart), "train_loss")
    np.testing.assert_array_equal(curve.mean, [-1, math.nan, 2])


def test_what_is_refused_on_a_logarithmic_scale_is_what_would_be_shown(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: 1 + x**2, line(-1, 1, 3), names=("train_loss", "test_loss", "test_accuracy"))
    surface["test_accuracy"][:] = 0  # stands on the other side
    assert data_of(page_of(surface, tmp_path, log=True))["start"]["log"] is True
    surface["test_loss"][0, 1] = -3
    with pytest.raises(UsageError, match="log: the lowest value is -3"):
        page_of(surface, tmp_path, log=True)
    assert data_of(page_of(surface, tmp_path, metric="train_loss", log=True))["start"]["log"] is True
    with pytest.raises(UsageError, match="log: the lowest value is 0"):
        page_of(surface, tmp_path, metric="test_accuracy", log=True)


def test_layers_and_slices_that_are_not_shown_need_not_be_positive(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x, y, z: 1 + s + x**2 + 10 * z, *[line(-1, 1, 3)] * 3, num_slices=2)
    assert data_of(page_of(surface, tmp_path, log=True))["metrics"][0]["scales"][0]["positive"]
    surface["train_loss"][1, 0, 0, 1] = -1
    assert data_of(page_of(surface, tmp_path, log=True))["start"]["log"] is True
    with pytest.raises(UsageError, match="log: the lowest value is -1"):
        page_of(surface, tmp_path, slice_index=1, log=True)
    over = surface_of(lambda s, x: 1 - s + x**2, line(-1, 1, 3), num_slices=2)
    assert data_of(page_of(over, tmp_path, slice_index=0, log=True))["start"]["log"] is True
    with pytest.raises(UsageError, match="log: the lowest value is 0"):
        page_of(over, tmp_path, log=True)


def test_splits_are_those_of_the_file_train_first(tmp_path: Path) -> None:
    names = ("val_loss", "test_loss", "train_loss", "test_accuracy")
    page = page_of(surface_of(lambda s, x: x, line(-1, 1, 3), names=names), tmp_path, metric="test_accuracy")
    assert data_of(page)["splits"] == ["train", "test", "val"]
    alone = page_of(surface_of(lambda s, x: x, line(-1, 1, 3), names=("test_loss",)), tmp_path)
    assert data_of(alone)["splits"].index("test") == 1


def test_a_path_is_there_with_its_names_and_what_the_plane_misses(tmp_path: Path) -> None:
    surface = plane(num_slices=2)
    coordinates = np.arange(12.0).reshape(2, 3, 2)
    coordinates[1] = math.nan  # a slice that was added later
    surface.trajectory = Trajectory(
        ("a/1.pt", "a/2.pt", "</script>.pt"), coordinates, np.full((2, 3), 0.25), np.array([3.0, 2.0, 0.0]), np.zeros(2)
    )
    path = data_of(page_of(surface, tmp_path))["path"]
    assert path["names"] == ["a/1.pt", "a/2.pt", "</script>.pt"]
    np.testing.assert_array_equal(array(path["coordinates"]), coordinates)
    assert path["known"] == [True, False]
    assert path["words"][0] == "path of 3 checkpoints; of the way to the farthest 25 % lies outside the plane"


# ---------------------------------------------------------------- what of a partial plane is a surface


def brute_force_cells(mask: np.ndarray, x: list[int], y: list[int]) -> set[tuple[int, int, int, int]]:
    cells = [(a, b, c, d) for a, b in pairwise(x) for c, d in pairwise(y)]
    return {(a, b, c, d) for a, b, c, d in cells if mask[a, c] and mask[a, d] and mask[b, c] and mask[b, d]}


@pytest.mark.parametrize("num_points", [4, 9, 25, 40, 81, 100, 153])
def test_every_moment_of_a_scan_is_a_surface_of_points_that_were_evaluated(num_points: int) -> None:
    surface = surface_of(bowl, line(-1, 1, 9), line(-1, 1, 17))
    mask = np.zeros(surface.grid.shape, dtype=bool)
    mask.flat[surface.grid.scan_order()[:num_points]] = True
    found = filled(surface.grid.axes, mask[0])
    x, y = (np.array(axis.coordinates) for axis in surface.grid.axes)
    cells = brute_force_cells(mask[0], found.x.tolist(), found.y.tolist())
    area = sum((x[b] - x[a]) * (y[d] - y[c]) for a, b, c, d in cells)
    if num_points >= 9:  # centre, corners and the middles of the sides
        assert area >= 0.95 * 4
    assert set(found.x) <= set(touched(mask[0]).x)


def test_one_missing_point_is_a_hole_and_not_a_coarser_surface() -> None:
    mask = np.ones((9, 17), dtype=bool)
    mask[3, 4] = False
    found = filled((Axis("x", tuple(range(9))), Axis("y", tuple(range(17)))), mask)
    assert (len(found.x), len(found.y)) == (9, 17)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_mask_has_a_subgrid(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape))))
    axes = [Axis(name, tuple(map(float, range(num)))) for name, num in zip("xy", shape, strict=True)]
    found = filled(axes, mask.reshape(shape))
    for chosen, num in zip((found.x, found.y), shape, strict=True):
        assert list(chosen) == sorted(set(chosen))
        assert set(chosen) <= set(range(num))


# ---------------------------------------------------------------- any surface


SURFACES: dict[str, Surface] = {
    "constant": surface_of(lambda *_: 3.0, line(-1, 1, 5), line(-1, 1, 3)),
    "nothing evaluated": plane(evaluated=False),
    "all NaN": surface_of(lambda *_: math.nan, line(-1, 1, 5), line(-1, 1, 3), num_slices=2),
    "one point": surface_of(lambda *_: 3.0, [0.0], [0.0]),
    "one row": surface_of(bowl, line(-1, 1, 5), [0.0]),
    "tiny": surface_of(lambda s, x, y: 1e-12 * bowl(s, x, y), line(-1, 1, 5), line(-1, 1, 3)),
    "huge": surface_of(lambda s, x, y: 1e12 * bowl(s, x, y), line(-1, 1, 5), line(-1, 1, 3)),
    "beyond float32": surface_of(lambda s, x, y: 1e300 * bowl(s, x, y), line(-1, 1, 5), line(-1, 1, 3)),
    "tiny steps": surface_of(bowl, line(-1e-12, 1e-12, 5), line(-1e12, 1e12, 3)),
    "line": surface_of(lambda s, x: s + x, line(-1, 1, 5), num_slices=2),
    "line, all NaN": surface_of(lambda *_: math.nan, line(-1, 1, 5), num_slices=2),
    "line, nothing evaluated": surface_of(lambda s, x: x, line(-1, 1, 5), evaluated=False),
    "line, one point": surface_of(lambda s, x: 1.0, [0.0]),
    "volume": surface_of(lambda s, x, y, z: x + z, line(-1, 1, 3), [0.0], line(-1, 1, 3)),
}


@pytest.mark.parametrize("kind", SURFACES)
def test_any_surface_is_a_page_without_a_warning(tmp_path: Path, kind: str) -> None:
    surface = SURFACES[kind]
    for metric in surface.metrics.values():
        metric.std[:] = np.abs(metric.values)
    page = page_of(surface, tmp_path)
    expected = surface["train_loss"][..., 1] if kind == "volume" else surface["train_loss"]
    np.testing.assert_array_equal(values_of(page), expected)


def test_a_large_plane_is_a_page_of_sane_size(tmp_path: Path) -> None:
    surface = large(501, 1, ("train_loss", "test_loss", "test_accuracy", "train_accuracy"))
    page = page_of(surface, tmp_path, metric="train_accuracy")
    data = data_of(page)
    assert [metric["name"] for metric in data["metrics"]] == ["train_loss", "train_accuracy"]
    np.testing.assert_array_equal(values_of(page, "train_accuracy"), surface["train_accuracy"])
    assert "Of 4 metrics this page holds 2" in page
    assert len(page) < 18_000_000


def large(num: int, num_slices: int, names: tuple[str, ...]) -> Surface:
    surface = surface_of(lambda *_: 0.0, [0.0], [0.0], names=names)
    axes = tuple(Axis(name, tuple(np.linspace(-1, 1, num).tolist())) for name in "xy")
    values = np.random.default_rng(0).normal(size=(num_slices, num, num))
    metrics = {name: Metric(values + k, np.ones_like(values), 0.0, 1.0, 100) for k, name in enumerate(names)}
    grid = replace(surface.grid, axes=axes, num_slices=num_slices)
    return replace(surface, grid=grid, metrics=metrics, evaluated=np.ones(values.shape, dtype=bool))


def test_of_many_slices_the_first_are_held_and_the_one_that_is_asked_for(tmp_path: Path) -> None:
    surface = large(51, 1000, ("train_loss",))
    page = page_of(surface, tmp_path, slice_index=977)
    data = data_of(page)
    num = len(data["slices"])
    assert 100 < num < 1000
    assert data["slices"] == [*range(num - 1), 977]
    assert data["start"]["slice"] == 977
    np.testing.assert_array_equal(values_of(page)[-1], surface["train_loss"][977])
    assert f"Of 1,000 slices this page holds {num}, to keep it small; the file has them all." in page
    assert len(page) < 18_000_000


def test_a_line_of_many_slices_has_the_range_of_all(tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: float(s), line(-1, 1, 3), num_slices=1000)
    found = data_of(page_of(surface, tmp_path))["metrics"][0]["over_slices"]
    np.testing.assert_array_equal(array(found["high"]), 999.0)


def test_what_fits_is_held_whole() -> None:
    held = amount(plane(num_slices=3), ["train_loss"], "train_loss", 2)
    assert held.slices == (0, 1, 2)
    assert held.notes == ()


# ---------------------------------------------------------------- texts from files

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "' onload='alert(1)",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "</title></style></textarea>",
    "\u2028\u2029\x00\x1b[2J\udc80",
    "&lt;b&gt;",
    "x" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_file_is_markup(tmp_path: Path, text: str) -> None:
    innocent = page_of(plane(), tmp_path)
    surface = plane()
    surface.metrics = {text: surface.metrics["train_loss"], f"{text}_loss": surface.metrics["train_loss"]}
    surface.directions = {
        "x": Direction({"_target_": text, "normalization": text, "parameters": {"include": [text]}}, (1.0,)),
        "y": Direction({"_target_": "between", "checkpoint": text}, (1.0,), {text: text}),
    }
    surface.provenance = Provenance(
        config=text,
        resolved={
            "model": {"_target_": f"m.{text}"},
            "loss": {"_target_": text},
            "checkpoint": {"path": text},
            "evaluation": {"batchnorm": text, "precision": text},
            "found": {"converted_from": text, "dialect": text},
        },
        identity={"data": {text: {}}},
    )
    surface.trajectory = Trajectory((text,), np.zeros((1, 1, 2)), np.zeros((1, 1)), np.zeros(1), np.zeros(2))
    page = page_of(surface, tmp_path, title=text)
    assert [tag for tag, _, _ in elements(page)] == [tag for tag, _, _ in elements(innocent)]
    names = {name for _, attributes, _ in elements(page) for name in attributes}
    assert names == {name for _, attributes, _ in elements(innocent) for name in attributes}
    data = data_of(page)
    assert [metric["name"] for metric in data["metrics"]] == [f"{text}_loss", text]
    assert data["path"]["names"] == [text]


def test_words_of_the_picture_stand_on_the_page(tmp_path: Path) -> None:
    surface = plane(num_slices=2)
    surface.provenance = Provenance(
        resolved={
            "model": {"_target_": "nets.Small"},
            "checkpoint": {"path": "runs/best.pt"},
            "evaluation": {"batchnorm": "frozen", "precision": "float64"},
        }
    )
    page = unescape(page_of(surface, tmp_path))
    for words in (
        "<h1>Small: loss landscape</h1>",
        "y: random direction (1.0 = every filter moved by its own norm)",
        "best.pt  ·  n(train) = 2,000  ·  filter normalization  ·  BatchNorm frozen  ·  float64  ·  2 slices",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
    ):
        assert words in page
    assert "<h1>Mine &amp; yours</h1>" in page_of(surface, tmp_path, title="Mine & yours")


def test_a_page_loads_nothing(tmp_path: Path) -> None:
    for tag, attributes, _ in elements(page_of(plane(), tmp_path)):
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert not {"src", "href", "srcset", "data"} & set(attributes)


# ---------------------------------------------------------------- files


@pytest.mark.slow
def test_equal_surfaces_give_equal_pages_byte_for_byte(tmp_path: Path) -> None:
    pages = [page_of(plane(num_slices=2), tmp_path) for _ in range(2)]
    assert pages[0] == pages[1]
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_page import page_of, plane
from pathlib import Path
page_of(plane(num_slices=2), Path({str(tmp_path)!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # other hashes of texts
    assert (tmp_path / "s.html").read_text(encoding="utf-8") == pages[0]


def test_templates_are_files_of_the_package() -> None:
    folder = files("landscape_cli.analysis.pages").joinpath("templates")
    needed = {"base.html.j2", "surface.html.j2", "report.html.j2", "page.css", "page.js", "report.css"}
    assert {each.name for each in folder.iterdir()} == needed
    assert all(each.read_text(encoding="utf-8").strip() for each in folder.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "train_los"}, "metric: found 'train_los'; did you mean 'train_loss'?"),
        ({"slice_index": 1}, "slice: found 1; the surface has slices 0 … 0"),
        ({"log": True}, "log: the lowest value is -1"),
    ],
)
def test_what_cannot_be_shown_is_said_and_nothing_is_written(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        write_page(plane(), tmp_path / "s.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_page_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="gone"):
        write_page(plane(), tmp_path / "gone" / "s.html")


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("suffix", [".html", ".HTM"])
def test_plot_writes_a_page_by_its_suffix(tmp_path: Path, landscape: Any, suffix: str) -> None:
    save_surface(plane(num_slices=2), tmp_path / "s.h5")
    out = tmp_path / f"s{suffix}"
    outcome = landscape("plot", tmp_path / "s.h5", "-o", out, "--slice", 1, "--metric", "train_loss")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", f"drawn: {out}\n")
    start = data_of(out.read_text(encoding="utf-8"))["start"]
    assert start == {"metric": "train_loss", "slice": 1, "log": None}


def test_without_plotly_the_command_says_how_to_install_it(
    tmp_path: Path, landscape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_surface(plane(), tmp_path / "s.h5")
    monkeypatch.setitem(sys.modules, "plotly", None)  # what Python knows of a package that is not there
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    outcome = landscape("plot", tmp_path / "s.h5", "-o", tmp_path / "s.html")
    assert outcome.exit_code == 2
    assert "needs plotly" in outcome.stderr
    assert "pip install 'landscape-cli[html]'" in outcome.stderr
    assert not (tmp_path / "s.html").exists()


def test_a_page_shows_every_view_so_no_kind_is_taken(tmp_path: Path, landscape: Any) -> None:
    save_surface(plane(), tmp_path / "s.h5")
    outcome = landscape("plot", tmp_path / "s.h5", "-o", tmp_path / "s.html", "--kind", "contour")
    assert outcome.exit_code == 2
    assert "kind" in outcome.stderr


def test_a_page_needs_no_torch(tmp_path: Path) -> None:
    code = """
import sys
from landscape_cli.analysis.interactive.page import write_page
raise SystemExit("torch" in sys.modules or "matplotlib" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
