"""The report in a real browser: it complains of nothing, asks for nothing, fits a phone, and prints."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from analytic import WEIGHT, line, surface_of
from browsing import launched, watched
from PIL import Image
from recorded import everything, surface_with

from landscape_cli.cli.report_page import Asked, page_of
from landscape_cli.surface import Provenance

pytestmark = pytest.mark.slow  # a browser takes seconds

DESKTOP, PHONE, SHEET = {"width": 1200, "height": 900}, {"width": 390, "height": 844}, {"width": 690, "height": 980}
CONFIG = "model: {_target_: my_models.net}  # " + "a long line " * 30
NAME = "a_metric_whose_name_is_longer_than_any_screen_" * 8 + "loss"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About two planes and a line, one of them with a name that is too long and a configuration."""
    folder = tmp_path_factory.mktemp("report")
    first = surface_with(everything())
    first.radius = surface_of(lambda s, x: x**2, [0.0, 0.01, 0.1, 1.0], num_slices=4, recipe=WEIGHT)
    first.provenance = Provenance(config=CONFIG, resolved=first.provenance.resolved)
    second = surface_of(lambda s, x, y: 0.5 + x**2 + y**2 / 2, line(-1, 1, 9), line(-1, 1, 9))
    third = surface_of(lambda s, x: 1 + x**2, line(-1, 1, 5), names=("train_loss", NAME))
    files = [folder / f"{name}.h5" for name in ("first", "second", "third")]
    for file in files:
        file.write_bytes(b"of this the page names the hash alone")
    content = page_of(files, [first, second, third], Asked("Flat & <wide>", None, None))
    (folder / "report.html").write_bytes(content)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


def colours(content: bytes) -> int:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return len(set(image.resize((200, 150)).get_flattened_data()))


def overflowing(page: Any) -> list[str]:
    """Elements that reach over the right edge of the window, but for those inside a box that scrolls."""
    found = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
          .filter((each) => !each.closest('.scroll, .card') && each.getBoundingClientRect().right > innerWidth + 1)
          .map((each) => each.outerHTML.slice(0, 80))"""
    )
    return list(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_seen(browser: Any, page: Path, scheme: str) -> None:
    with watched(browser, page, DESKTOP, color_scheme=scheme) as opened_page:
        assert opened_page.text_content("h1") == "Flat & <wide>"
        pictures = opened_page.locator("figure img")
        assert pictures.count() >= 7
        for i in range(pictures.count()):
            picture = pictures.nth(i)
            assert picture.evaluate("(image) => image.complete && image.naturalWidth > 100")
            content = picture.screenshot()
            assert colours(content) > 20
            # legible in the dark, too: ink on a white card
            corner = Image.open(io.BytesIO(content)).convert("RGB").getpixel((2, 2))
            assert corner == (255, 255, 255)
        background = opened_page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 384) == (scheme == "dark")


def test_it_fits_a_phone_and_wide_tables_scroll(browser: Any, page: Path) -> None:
    with watched(browser, page, PHONE) as opened_page:
        assert opened_page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert overflowing(opened_page) == []
        boxes = opened_page.locator(".scroll")
        widths = boxes.evaluate_all("(boxes) => boxes.map((box) => [box.scrollWidth, box.clientWidth])")
        assert any(content > box for content, box in widths)
        assert boxes.evaluate_all("(boxes) => boxes.map((box) => getComputedStyle(box).overflowX)") == ["auto"] * len(
            widths
        )
        # a picture of one panel is as wide as the screen; those of several are not made too small to read
        panels = opened_page.locator("figure.wide img").evaluate_all("(all) => all.map((each) => each.clientWidth)")
        assert min(panels) > 500


def test_the_configuration_is_folded_until_it_is_asked_for_or_printed(browser: Any, page: Path) -> None:
    with watched(browser, page, SHEET) as opened_page:
        config = opened_page.locator("details pre")
        assert not config.is_visible()
        opened_page.emulate_media(media="print")
        assert config.is_visible()
        assert config.bounding_box()["height"] > 20
        opened_page.emulate_media(media="screen")
        opened_page.click("summary")
        assert config.is_visible()


def test_nothing_is_cut_off_in_print(browser: Any, page: Path) -> None:
    with watched(browser, page, SHEET, color_scheme="dark") as opened_page:
        opened_page.emulate_media(media="print", color_scheme="dark")
        assert opened_page.evaluate("document.documentElement.scrollWidth") <= SHEET["width"]
        background = opened_page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        widths = opened_page.locator(".scroll, .card").evaluate_all(
            "(all) => all.map((e) => [e.scrollWidth, e.clientWidth])"
        )
        assert all(content <= box + 1 for content, box in widths)


@pytest.fixture(scope="module")
def printed(browser: Any, page: Path) -> Path:
    with watched(browser, page, DESKTOP) as opened_page:
        opened_page.pdf(path=page.with_suffix(".pdf"), format="A4")
    return page.with_suffix(".pdf")


def test_it_prints_on_a_few_pages(printed: Path) -> None:
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 20


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext: apt-get install poppler-utils")
def test_what_is_printed_is_text(printed: Path) -> None:
    finished = subprocess.run(["pdftotext", printed, "-"], capture_output=True, text=True, check=True)
    for expected in ("Flat & <wide>", "adaptive_radius", "critical point", "my_models.net", "landscape info first.h5"):
        assert expected in finished.stdout
