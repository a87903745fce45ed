"""The page in a real browser: it draws the numbers of the file, asks no network, and fits a phone."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analytic import line, surface_of
from browsing import launched, watched
from PIL import Image

from landscape_cli.analysis.interactive.page import write_page
from landscape_cli.surface import Surface, Trajectory

pytestmark = pytest.mark.slow  # a browser that draws 3-D without a GPU takes seconds a page

pytest.importorskip("plotly", reason="no plotly: pip install 'landscape-cli[html]'")

DESKTOP, PHONE = {"width": 720, "height": 560}, {"width": 390, "height": 844}
WITHOUT_GPU = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
# advice of Chromium about how plotly writes labels, and about drawing without a GPU
NOT_OURS = ("Canvas2D: Multiple readback", "GPU stall", "GL Driver Message")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched(*WITHOUT_GPU) as browser:
        yield browser


@contextmanager
def opened(browser: Any, path: Path, viewport: dict[str, int] = DESKTOP, **options: Any) -> Iterator[Any]:
    """The page, drawn; at the end it has complained about nothing and asked for nothing but the file."""
    with watched(browser, path, viewport, not_ours=NOT_OURS, within=("data:", "blob:"), **options) as page:
        settle(page)
        yield page


def settle(page: Any) -> None:
    page.wait_for_function("document.querySelector('#plot').data !== undefined")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def choose(page: Any, control: str, value: str) -> None:
    page.select_option(f"#{control}", label=value)
    settle(page)


def trace(page: Any, name: str) -> dict[str, Any]:
    """A trace as plotly has it, with rows of numbers; NaN for what JSON calls null."""
    found = page.evaluate(
        """(name) => {
          const trace = document.querySelector('#plot').data.find((trace) => trace.name === name);
          const z = trace.z && trace.z.map((row) => row.length ? [...row] : row);
          return { type: trace.type, x: [...trace.x], y: [...trace.y], z, text: trace.text };
        }""",
        name,
    )
    return dict(found)


def names(page: Any) -> list[str]:
    return list(page.evaluate("document.querySelector('#plot').data.map((trace) => trace.name)"))


def table(trace: dict[str, Any]) -> dict[tuple[float, float], float]:
    """(x, y) → z of a grid, whatever its order."""
    return {
        (x, y): z for y, row in zip(trace["y"], trace["z"], strict=True) for x, z in zip(trace["x"], row, strict=True)
    }


def write(surface: Surface, folder: Path, **options: Any) -> Path:
    write_page(surface, folder / "s.html", **options)
    return folder / "s.html"


def colours(page: Any) -> int:
    image = Image.open(io.BytesIO(page.locator("#plot").screenshot())).convert("RGB")
    return len(set(image.resize((200, 150)).get_flattened_data()))


def full() -> Surface:
    """Two slices of two metrics with a path, a diverged point, and values that span decades."""
    surface = surface_of(
        lambda s, x, y: (s + 1) * (0.01 + x / 200 + 10 * y**2),
        line(-1, 1, 7),
        line(-0.5, 1, 13),
        num_slices=2,
        names=("train_loss", "test_accuracy"),
    )
    surface.metrics["test_accuracy"].values[:] = np.linspace(0, 1, 2 * 7 * 13).reshape(2, 7, 13)
    surface.metrics["train_loss"].values[0, 6, 12] = math.inf
    coordinates = np.array([[[-0.8, 0.9], [0.1, 0.3], [0.0, 0.0]]] * 2)
    surface.trajectory = Trajectory(
        ("a/1.pt", "a/<b>2.pt", "a/3.pt"), coordinates, np.full((2, 3), 0.1), np.array([3.0, 1.0, 0.0]), np.zeros(2)
    )
    return surface


CHOICES = [("train loss", 0, "logarithmic"), ("train loss", 0, "linear"), ("train loss", 1, "linear")]
VIEWS = {"3-D surface": ("surface", "surface"), "contours": ("contours", "contour"), "heat map": ("tiles", "heatmap")}


@pytest.mark.parametrize("view", VIEWS)
def test_the_surface_is_that_of_the_file_whatever_is_chosen(browser: Any, tmp_path: Path, view: str) -> None:
    surface = full()
    name, kind = VIEWS[view]
    with opened(browser, write(surface, tmp_path)) as page:
        choose(page, "view", view)
        for metric, number, scale in [*CHOICES, ("test accuracy", 1, "linear")]:
            choose(page, "metric", metric)
            choose(page, "slice", str(number))
            choose(page, "scale", scale)
            values = surface[metric.replace(" ", "_")][number]
            found = trace(page, name)
            assert found["type"] == kind
            assert_is(table(found), surface, np.log10(values) if scale == "logarithmic" else values)
            assert any("diverged" in each for each in names(page)) == (metric == "train loss" and number == 0)


def assert_is(heights: dict[tuple[float, float], float], surface: Surface, expected: np.ndarray) -> None:
    """At every (x, y) of the plane; a gap where the value is not finite."""
    x, y = (axis.coordinates for axis in surface.grid.axes)
    assert set(heights) == {(a, b) for a in x for b in y}
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            if math.isfinite(expected[i, j]):
                assert heights[a, b] == pytest.approx(expected[i, j], rel=1e-12), (a, b)
            else:
                assert heights[a, b] is None or math.isnan(heights[a, b])


def test_a_scale_that_cannot_be_is_not_offered(browser: Any, tmp_path: Path) -> None:
    with opened(browser, write(full(), tmp_path)) as page:
        assert page.input_value("#scale") == "log"  # it spans decades
        choose(page, "metric", "test accuracy")  # has a 0
        assert page.input_value("#scale") == "linear"
        assert page.locator("#scale option[value=log]").is_disabled()


def test_the_pointer_reads_exact_values(browser: Any, tmp_path: Path) -> None:
    surface = full()
    value, error = float(surface["train_loss"][0, 2, 5]), 0.5 / math.sqrt(2000)
    x, y = surface.grid.axes[0].coordinates[2], surface.grid.axes[1].coordinates[5]
    with opened(browser, write(surface, tmp_path)) as page:
        found = trace(page, "surface")
        text = found["text"][found["y"].index(y)][found["x"].index(x)]
        assert text == f"x = {x!r}<br>y = {y!r}<br>train loss = {value!r} ± {error:.2g}"
        choose(page, "view", "heat map")
        where = page.evaluate(
            """([x, y]) => {
              const plot = document.querySelector('#plot'), box = plot.getBoundingClientRect();
              const {xaxis, yaxis} = plot._fullLayout;
              return [box.x + xaxis._offset + xaxis.d2p(x), box.y + yaxis._offset + yaxis.d2p(y)];
            }""",
            [x, y],
        )
        page.mouse.move(where[0] - 3, where[1])
        page.mouse.move(*where)
        page.wait_for_selector("#plot .hoverlayer .hovertext")
        shown = page.locator("#plot .hoverlayer").text_content()
        assert f"train loss = {value!r} ± {error:.2g}" in shown
        assert f"x = {x!r}" in shown


def test_a_surface_to_turn_reads_exact_values_and_turns(browser: Any, tmp_path: Path) -> None:
    surface = surface_of(lambda s, x, y: x + 10 * y**2, line(-1, 1, 7), line(-0.5, 1, 13))
    with opened(browser, write(surface, tmp_path)) as page:
        page.evaluate("document.querySelector('#plot').on('plotly_hover', (e) => { window.seen = e.points[0]; })")
        box = page.locator("#plot").bounding_box()
        before = page.locator("#plot").screenshot()
        for dx in range(-60, 61, 20):  # until the pointer is on it
            page.mouse.move(box["x"] + box["width"] * 0.45 + dx, box["y"] + box["height"] * 0.55)
            page.wait_for_timeout(300)
        x, y, z, text = page.evaluate(
            "[seen.x, seen.y, seen.z, seen.text ?? seen.data.text[seen.pointNumber[1]][seen.pointNumber[0]]]"
        )
        assert z == pytest.approx(x + 10 * y**2)
        assert f"x = {x!r}" in text or f"x = {x:g}" in text
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=4)
        page.mouse.up()
        settle(page)
        assert page.locator("#plot").screenshot() != before


@pytest.mark.parametrize(
    ("view", "scheme"), [("3-D surface", "light"), ("3-D surface", "dark"), ("contours", "dark"), ("heat map", "light")]
)
def test_every_view_is_a_picture_that_fits_a_phone(browser: Any, tmp_path: Path, view: str, scheme: str) -> None:
    with opened(browser, write(full(), tmp_path), PHONE, color_scheme=scheme) as page:
        choose(page, "view", view)
        assert colours(page) > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 384) == (scheme == "dark")


def test_a_path_lies_on_the_surface(browser: Any, tmp_path: Path) -> None:
    with opened(browser, write(full(), tmp_path)) as page:
        choose(page, "scale", "linear")
        path = trace(page, "path checkpoints")
        low, high = page.evaluate(
            "(({cmin, cmax}) => [cmin, cmax])(document.querySelector('#plot').data.find((t) => t.name === 'surface'))"
        )
        for x, y, z in zip(path["x"], path["y"], path["z"], strict=True):
            # along x the surface is linear, along y linear between the points that are 1/8 apart: at most 10/8² above
            assert 0 <= z - (0.01 + x / 200 + 10 * y**2) <= 10 / 8**2 / 4 + 0.03 * (high - low)
        assert (path["x"], path["y"]) == ([-0.8, 0.1, 0.0], [0.9, 0.3, 0.0])
        assert "a/" not in path["text"][1]
        assert "&lt;b&gt;2.pt" in path["text"][1]
        assert "path of 3 checkpoints; of the way to the farthest 10 % lies outside the plane" in page.text_content(
            "#legend"
        )


def test_of_a_partial_plane_nothing_is_invented(browser: Any, tmp_path: Path) -> None:
    surface = surface_of(lambda s, x, y: x + 10 * y**2, line(-1, 1, 9), line(-1, 1, 17))
    mask = np.zeros(surface.grid.shape, dtype=bool)
    mask.flat[surface.grid.scan_order()[:40]] = True
    partial = surface_of(lambda s, x, y: x + 10 * y**2, line(-1, 1, 9), line(-1, 1, 17), evaluated=mask)
    known = {(a, b) for i, a in enumerate(line(-1, 1, 9)) for j, b in enumerate(line(-1, 1, 17)) if mask[0, i, j]}
    with opened(browser, write(partial, tmp_path)) as page:
        surface_points = {at for at, z in table(trace(page, "surface")).items() if z is not None and not math.isnan(z)}
        dots = trace(page, "points")
        assert surface_points <= known
        assert surface_points | set(zip(dots["x"], dots["y"], strict=True)) == known
        assert "gaps: not evaluated" in page.text_content("#legend")
        assert "PARTIAL: 40 of 153 points" in page.text_content("header")
        choose(page, "view", "heat map")
        tiles = {at for at, z in table(trace(page, "tiles")).items() if z is not None and not math.isnan(z)}
        assert tiles == known


def test_a_line_shows_metrics_and_slices(browser: Any, tmp_path: Path) -> None:
    surface = surface_of(
        lambda s, x: (1 + s) * x**2, line(-1, 1, 5), num_slices=3, names=("train_loss", "test_loss", "test_accuracy")
    )
    surface.metrics["test_loss"].values[2, 0] = math.nan
    with opened(browser, write(surface, tmp_path), PHONE) as page:
        np.testing.assert_allclose(trace(page, "train loss")["y"], [2, 0.5, 0, 0.5, 2])
        assert {"test accuracy", "lowest", "highest", "diverged"} <= set(names(page))
        choose(page, "metric", "train loss")
        choose(page, "slice", "2")
        assert names(page) == ["train loss"]
        np.testing.assert_array_equal(trace(page, "train loss")["y"], surface["train_loss"][2])
        assert trace(page, "train loss")["text"][0] == "train loss = 3 ± 0.011"
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert colours(page) > 10


ODD = {
    "constant": surface_of(lambda *_: 3.0, line(-1, 1, 5), line(-1, 1, 3)),
    "nothing evaluated": surface_of(lambda *_: 3.0, line(-1, 1, 5), line(-1, 1, 3), evaluated=False),
    "all NaN": surface_of(lambda *_: math.nan, line(-1, 1, 5), line(-1, 1, 3)),
    "one point": surface_of(lambda *_: 3.0, [0.0], [0.0]),
    "one row": surface_of(lambda s, x, y: x, line(-1, 1, 5), [0.0]),
    "tiny": surface_of(lambda s, x, y: 1e-12 * x, line(-1, 1, 5), line(-1, 1, 3)),
    "far from 0": surface_of(lambda s, x, y: 1e12 + x, line(-1, 1, 5), line(-1, 1, 3)),
    "beyond float32": surface_of(lambda s, x, y: 1e300 * x, line(-1, 1, 5), line(-1, 1, 3)),
    "line, all NaN": surface_of(lambda *_: math.nan, line(-1, 1, 5), num_slices=2),
    "line, nothing evaluated": surface_of(lambda s, x: x, line(-1, 1, 5), evaluated=False),
    "line, one point": surface_of(lambda *_: 1.0, [0.0]),
    "line of decades": surface_of(lambda s, x: 10 ** (9 * x), line(-1, 1, 5)),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_surfaces_are_drawn_without_a_complaint(browser: Any, tmp_path: Path, kind: str) -> None:
    with opened(browser, write(ODD[kind], tmp_path)) as page:
        for view in ["3-D surface", "contours", "heat map"] if len(ODD[kind].grid.axes) > 1 else []:
            choose(page, "view", view)
        assert page.locator("#plot svg").count() > 0


def test_accuracies_in_percent_are_in_the_picture(browser: Any, tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: 80 + 10 * x, line(-1, 1, 5), names=("test_loss", "test_accuracy"))
    read = "[...document.querySelector('#plot').layout.yaxis2.range]"
    with opened(browser, write(surface, tmp_path)) as page:
        low, high = page.evaluate(read)
        assert 60 < low <= 70
        assert 90 <= high < 100
    surface["test_accuracy"][:] /= 100
    with opened(browser, write(surface, tmp_path)) as page:
        assert page.evaluate(read) == [-0.03, 1.03]


def test_a_loss_without_a_finite_value_hinders_no_logarithmic_scale(browser: Any, tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: 10.0**x, line(-1, 1, 5), names=("train_loss", "test_loss"))
    surface["test_loss"][:] = math.nan
    with opened(browser, write(surface, tmp_path, log=True)) as page:
        assert page.input_value("#scale") == "log"


def test_names_from_a_file_are_words_and_do_nothing(browser: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror='window.hit=1'><b>bold</b>_loss"
    surface = surface_of(lambda s, x, y: x, line(-1, 1, 5), line(-1, 1, 3), names=(name, "%{x}_loss"))
    with opened(browser, write(surface, tmp_path, title=name)) as page:
        for view in ("3-D surface", "contours", "heat map"):
            choose(page, "view", view)
        assert page.text_content("h1") == name
        assert page.evaluate("window.hit") is None
        assert page.locator("#plot img, #plot b").count() == 0
