"""A notebook shows a surface as a picture and what it is, whatever stands in the file."""

from __future__ import annotations

import base64
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from analytic import line, surface_of
from representative import mostly_slow

from landscape_cli.surface import Provenance, Surface


class Page(HTMLParser):
    """What a browser makes of it: the words, the tags and the sources of images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown(surface: Surface) -> Page:
    return Page(surface._repr_html_())


def test_it_is_a_picture_beside_a_table() -> None:
    page = shown(surface_of(lambda s, x, y: 2 + x + 10 * y**2, line(-1, 1, 5), line(-1, 1, 3), num_slices=2))
    (source,) = page.sources
    assert base64.b64decode(source.partition(",")[2]).startswith(b"\x89PNG")
    words = " ".join(page.words)
    for expected in ("30 of 30", "5 points from -1 to 1, direction random", "2 ± 0.011 (n = 2,000) at the checkpoint"):
        assert expected in words


def test_words_of_a_file_are_words() -> None:
    surface = surface_of(lambda s, x: x, line(-1, 1, 5), names=("<script>alert(1)</script>",))
    surface.provenance = Provenance("", {"checkpoint": {"path": "runs/<img src=x onerror=alert(1)>.pt"}})
    page = shown(surface)
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert any("onerror=alert(1)" in each for each in page.words)


@pytest.mark.parametrize("evaluated", mostly_slow([True, False], True))
@pytest.mark.parametrize("value", mostly_slow([math.inf, math.nan, 1e12], math.inf))
def test_any_surface_is_shown(evaluated: bool, value: float) -> None:
    for num_axes in (1, 2, 3):
        surface = surface_of(lambda s, *c: value, *[[0.0, 1.0]] * num_axes, evaluated=evaluated)
        assert shown(surface).tags[0] == "div"
        np.testing.assert_equal(surface.evaluated, evaluated)
