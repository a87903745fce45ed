"""The report says what the commands say, of files of every kind, and takes no text of a file for markup."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from analytic import WEIGHT, line, surface_of
from conftest import Outcome
from recorded import everything, map_of, surface_with

from landscape_cli.analysis.illustrations import illustrations
from landscape_cli.analysis.plot import plot
from landscape_cli.cli.report_page import Asked, page_of
from landscape_cli.storage import load_surface, save_surface
from landscape_cli.surface import Metric, Provenance, Surface, Trajectory

Landscape = Callable[..., Outcome]
VOID = ("meta", "img", "br", "wbr")


class Reader(HTMLParser):
    """What a reader finds on a page: tables by the name of their region, pictures, and texts with what is around."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []  # the elements around it, and the text
        self.tables: dict[str, list[list[str]]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.found.append((tag, attributes))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "div" and attributes.get("class") == "scroll":
            self.region = str(attributes["aria-label"])
        elif tag == "table":
            self.tables[self.region] = []
        elif tag == "tr":
            self.tables[self.region].append([])
        elif tag in ("td", "th"):
            self.tables[self.region][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[self.region][-1][-1] += data

    def table(self, name: str) -> dict[str, dict[str, str]]:
        """Its rows by their first cell; cells by their column."""
        columns, *rows = self.tables[name]
        return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}

    def of(self, tag: str) -> list[str]:
        """The text of all elements of a name, each as far as it goes without another element."""
        return [text for around, text in self.texts if around and around[-1] == tag and text.strip()]

    @property
    def text(self) -> str:
        """All that is shown."""
        return " ".join(text for around, text in self.texts if "style" not in around)

    @property
    def pictures(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == "img"]


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def write(folder: Path, **surfaces: Surface) -> list[Path]:
    for name, surface in surfaces.items():
        save_surface(surface, folder / f"{name}.h5")
    return [folder / f"{name}.h5" for name in surfaces]


def report(landscape: Landscape, files: Sequence[Path], *options: object) -> Reader:
    output = files[0].parent / "report.html"
    outcome = landscape("report", *files, "-o", output, *options)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == ""
    return read(output.read_text(encoding="utf-8"))


def images(reader: Reader) -> list[bytes]:
    sources = [str(each["src"]) for each in reader.pictures]
    return [base64.b64decode(re.sub(r"^data:image/(svg\+xml|png);base64,", "", each)) for each in sources]


def bowl(_slice: int, x: float, y: float) -> float:
    """Steep along y: a picture with swapped axes cannot pass for it."""
    return 2 + x + 10 * y**2


def plane(**options: object) -> Surface:
    return surface_of(bowl, line(-1, 1, 5), line(-0.6, 1, 9), **options)  # type: ignore[arg-type]


def point(**options: object) -> Surface:
    """A line of one point, of which next to nothing is to be drawn."""
    return surface_of(lambda *_: 1.5, [0.0], **options)  # type: ignore[arg-type]


def noise(steepness: float, num_slices: int = 6) -> Surface:
    """A line of relative noise, whose slices differ."""
    at = [0.0, *np.geomspace(0.1, 3, 12)]
    return surface_of(
        lambda s, x: 0.2 + steepness * (1 + 0.1 * math.cos(9 * s)) * x**2, at, num_slices=num_slices, recipe=WEIGHT
    )


def full() -> Surface:
    """A plane of three slices with all records, a line of noise and a map of eigenvalues."""
    surface = surface_with(everything())
    nodes = np.linspace(-0.1, 2.0, 4 * 80).reshape(4, 80)
    density = surface.curvature.records["spectral_density"]  # type: ignore[union-attr]
    records = dict(surface.curvature.records)  # type: ignore[union-attr]
    records["spectral_density"] = replace(density, values={**density.values, "nodes": nodes})
    surface.curvature = replace(surface.curvature, records=records)  # type: ignore[type-var]
    surface.radius = noise(1.0)
    surface.curvature_map = map_of(-0.1, 2.0)
    return surface


@dataclass(frozen=True)
class Written:
    """Files and the page about them."""

    files: list[Path]
    page: Reader


def written(folder: Path, **surfaces: Surface) -> Written:
    files = write(folder, **surfaces)
    content = page_of(files, [load_surface(file) for file in files], Asked(None, None, None))
    (folder / "report.html").write_bytes(content)
    return Written(files, read(content.decode()))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A file with everything."""
    return written(tmp_path_factory.mktemp("one"), full=full())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two planes on one grid."""
    other = surface_of(lambda s, x, y: 3 + x + y, line(-1, 1, 5), line(-0.6, 1, 9))
    return written(tmp_path_factory.mktemp("two"), a=plane(), b=other)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two lines of noise, the second steeper."""
    return written(tmp_path_factory.mktemp("lines"), a=noise(1.0), b=noise(2.5))


# ---------------------------------------------------------------- numbers


def is_number(cell: str, value: float, digits: float = 5e-4) -> bool:
    found = re.match(r"(?:[≥≤] )?(\S+)", cell)
    return found is not None and float(found[1]) == pytest.approx(value, rel=digits)


def test_the_tables_hold_the_numbers_of_sharpness(landscape: Landscape, one: Written) -> None:
    page = one.page
    measures = json.loads(landscape("sharpness", *one.files, "--json").stdout)["measures"]
    tables = {name: page.table(name) for name in page.tables if name.endswith(", full.h5")}
    (of_grid,) = [rows for name, rows in tables.items() if name.startswith("from the surface")]
    (of_model,) = [rows for name, rows in tables.items() if name.startswith("from the model")]
    cells = of_grid | of_model
    assert set(cells) == {name for name, each in measures.items() if each["value"] is not None}
    assert {"adaptive_radius", "flat_radius", "lambda_max", "nonconvexity", "lr_limit_adam"} <= set(cells)
    for name, row in cells.items():
        found = measures[name]
        assert is_number(row["value ± SE"], found["value"]), name
        if found["standard_error"] is not None:
            assert is_number(row["value ± SE"].split("± ")[1], found["standard_error"], 0.06), name
        assert row.get("unit", "") == found["unit"]
        assert row["invariant to"] == (", ".join(found["invariant_to"] or []) or "nothing")
        assert row["n"] == f"{found['num_examples']:,}"
    assert "full.h5: sharpness of train_loss in these 3 slices" in page.of("h3")  # not the folder of the writer
    assert of_grid["flat_radius"]["note"] == measures["flat_radius"]["note"]
    lacking = " ".join(page.of("li"))
    for name, found in measures.items():
        if found["value"] is None:
            assert re.search(rf"not measured: [^:]*\b{re.escape(name)}[,:]", lacking), name


def test_what_is_said_of_the_checkpoint_is_what_sharpness_says(landscape: Landscape, one: Written) -> None:
    page = one.page
    told = json.loads(landscape("sharpness", *one.files, "--json").stdout)
    assert f"critical point: {told['critical_point']['sentence']}" in page.of("p")
    assert f"learning rate: {told['learning_rates']['sentence']}" in page.of("p")
    assert set(told["critical_point"]["details"]) | set(told["learning_rates"]["caveats"]) <= set(page.of("li"))


@pytest.mark.slow
def test_the_comparison_is_that_of_compare(landscape: Landscape, lines: Written) -> None:
    page = lines.page
    told = json.loads(landscape("compare", *lines.files, "--json").stdout)
    table = page.table("comparison")
    for name, row in table.items():
        for label, found in zip(("a.h5", "b.h5"), told["measures"][name]["values"], strict=True):
            assert is_number(row[label], found["value"]) if found["value"] is not None else row[label] == "–"
    row, (against,) = table["adaptive_radius"], told["measures"]["adaptive_radius"]["against_first"]
    change = 100 * (against["ratio"] - 1)
    assert float(row["change"].replace("−", "-").removesuffix(" %")) == pytest.approx(change, abs=0.51)
    low, high = (100 * (limit - 1) for limit in against["ratio_interval"])
    shown = [float(each.replace("−", "-").removesuffix(" %")) for each in row["95 % interval"].split(" … ")]
    assert shown == pytest.approx([low, high], abs=0.51)
    assert row["which is"] == "worse"
    order = [place["label"] for place in told["ranking"]["places"]]
    (ranking,) = [text for text in page.of("p") if text.startswith("best first")]
    assert order == ["a.h5", "b.h5"] == re.findall(r"[ab]\.h5", ranking)
    told_rows = {name for name, each in told["measures"].items() if each["values"][0]["value"] is not None}
    (equal,) = [text for text in page.of("p") if text.startswith("the same number")]
    assert told_rows == set(table) | set(re.findall(r"[\w.()]+(?= [\d–-])", equal.partition(": ")[2]))
    same = [name for name, aspect in told["aspects"].items() if aspect["same"]]
    (common,) = [text for text in page.of("p") if text.startswith("the same: ")]
    assert all(name in common for name in same)


@pytest.mark.slow
def test_the_options_of_measuring_count(landscape: Landscape, tmp_path: Path) -> None:
    surface = noise(1.0)
    surface.metrics["test_loss"] = replace(surface.metrics["train_loss"], values=surface["train_loss"] ** 2)
    (file,) = write(tmp_path, a=surface)
    options = ("--loss", "test_loss", "--tau", "0.3")
    radius = json.loads(landscape("sharpness", file, "--json", *options).stdout)["measures"]["adaptive_radius"]["value"]
    page = report(landscape, [file], *options)
    assert is_number(page.table("from the surface, a.h5")["adaptive_radius"]["value ± SE"], radius)
    assert any("sharpness of test_loss" in text for text in page.of("h3"))


def test_the_summary_has_every_metric_at_the_checkpoint(landscape: Landscape, tmp_path: Path) -> None:
    surface = surface_of(lambda s, x: 2 + x, [-1.0, 0.0, 11.0], names=("train_loss",), num_examples=2500)
    surface.metrics["test_accuracy"] = Metric(surface["train_loss"] / 20, surface["train_loss"], 0.98, 0.14, 400)
    page = report(landscape, write(tmp_path, a=surface))
    rows = page.table("values at the checkpoint of a.h5")
    assert rows["train loss"] == {
        "measured": "train loss",
        "at the checkpoint ± SE": "2 ± 0.01",
        "n": "2,500",
        "on the grid": "1 … 13",
    }
    assert rows["test accuracy"]["at the checkpoint ± SE"] == "0.98 ± 0.007"


# ---------------------------------------------------------------- pictures


def headings(page: Reader) -> list[str]:
    return [text for around, text in page.texts if around[-2:] == ("figure", "h3")]


@pytest.mark.slow
def test_the_pictures_are_those_of_plot(two: Written, tmp_path: Path) -> None:
    """To the byte: what is proven of `plot`, such as which axis is which, holds here."""
    surfaces = {file.name: load_surface(file) for file in two.files}
    plot(surfaces, tmp_path / "panels.svg", kind="filled")
    plot(surfaces, tmp_path / "difference.svg", kind="filled", difference=True)
    shown = images(two.page)
    assert shown[0] == (tmp_path / "panels.svg").read_bytes()
    assert shown[1] == (tmp_path / "difference.svg").read_bytes()


def test_every_picture_says_what_is_shown(two: Written) -> None:
    page = two.page
    assert all(each["alt"] and float(str(each["width"])) > 100 for each in page.pictures)
    assert "x, y: random direction (1.0 = every filter moved by its own norm)." in page.of("figcaption")[0]
    for image in images(page):
        assert ET.fromstring(image).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.slow
def test_there_is_a_picture_of_everything_that_a_file_has(one: Written) -> None:
    assert headings(one.page) == [
        "The plane",
        "The plane in space",
        "On the way out",
        "Noise on the weights",
        "Curvature in all directions",
        "How far from convex",
    ]


@pytest.mark.slow
def test_a_path_of_training_is_drawn(landscape: Landscape, tmp_path: Path) -> None:
    surface = plane()
    coordinates = np.array([[[-0.8, 0.9], [0.1, 0.3], [0.0, 0.0]]])
    surface.trajectory = Trajectory(
        ("1.pt", "2.pt", "3.pt"), coordinates, np.full((1, 3), 0.1), np.array([3.0, 1, 0]), np.zeros(2)
    )
    page = report(landscape, write(tmp_path, a=surface))
    assert headings(page)[0] == "The path of training"
    assert str(page.pictures[0]["alt"]).startswith("A path of checkpoints over filled contours of the train loss of a")


@pytest.mark.slow
def test_two_planes_are_side_by_side_and_their_difference_is_there(two: Written) -> None:
    page = two.page
    assert headings(page) == [
        "The plane",
        "The difference",
        "The plane in space: a.h5",
        "The plane in space: b.h5",
        "On the way out",
    ]
    assert page.pictures[0]["alt"] == "Filled contours of the train loss of a.h5, from 1 to 13; b.h5, from 1.4 to 5"
    assert "a.h5 and b.h5" in str(page.pictures[1]["alt"])


@pytest.mark.slow
def test_what_cannot_be_subtracted_is_not(landscape: Landscape, tmp_path: Path) -> None:
    other = surface_of(bowl, line(-1, 1, 7), line(-0.6, 1, 9))
    page = report(landscape, write(tmp_path, a=plane(), b=other))
    assert "The difference" not in headings(page)
    assert any(text.startswith("grid: 5 from -1 to 1") for text in page.of("li"))


@pytest.mark.slow
def test_of_five_files_of_several_kinds_all_is_said(landscape: Landscape, tmp_path: Path) -> None:
    along = surface_of(lambda s, x: 1 + x**2, line(-1, 1, 5), num_slices=2)
    volume = surface_of(lambda s, x, y, z: 1 + x**2 + y**2 + 3 * z**2, *[line(-1, 1, 3)] * 3)
    files = write(tmp_path, a=plane(), b=along, c=volume, d=noise(1.0), e=plane())
    page = report(landscape, files)
    assert {"The plane: a.h5, c.h5, e.h5", "On the way out: a.h5, e.h5"} <= set(headings(page))
    assert {"Along the line: b.h5", "Along the line: d.h5"} <= set(headings(page))  # of 2 and of 6 slices
    assert "Noise on the weights: d.h5" in headings(page)
    told = {row[1] for row in page.tables["comparison"][1:]}
    assert told == {f"{name}.h5" for name in "abcde"}
    for name in "abcde":
        assert f"values at the checkpoint of {name}.h5" in page.tables
        assert f"landscape info {name}.h5" in page.text


# ---------------------------------------------------------------- files of every kind

ODD = {
    "constant": plane,
    "nothing evaluated": lambda: plane(evaluated=False),
    "all NaN": lambda: surface_of(lambda *_: math.nan, line(-1, 1, 5), line(-1, 1, 3)),
    "one point": lambda: surface_of(lambda *_: 3.0, [0.0], [0.0]),
    "one row": lambda: surface_of(lambda s, x, y: x, line(-1, 1, 5), [0.0]),
    "tiny": lambda: surface_of(lambda s, x, y: 1e-12 * x, line(-1, 1, 5), line(-1, 1, 3)),
    "far from 0": lambda: surface_of(lambda s, x, y: 1e12 + x, line(-1e12, 1e12, 5), line(-1e-12, 1e-12, 3)),
    "a line of one point": lambda: surface_of(lambda *_: 1.0, [0.0]),
    "a line, nothing evaluated": lambda: surface_of(lambda s, x: x, line(-1, 1, 5), evaluated=False),
    "a thousand slices": lambda: surface_of(lambda s, x: s * x**2, line(-1, 1, 3), num_slices=1000),
    "no loss": lambda: plane(names=("test_accuracy",)),
    "no checkpoint on it": lambda: surface_of(bowl, line(1, 2, 3), line(1, 2, 5)),
}
QUICK = ("nothing evaluated", "a line of one point")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in ODD if kind not in QUICK)]
)
def test_odd_surfaces_are_told_honestly(landscape: Landscape, tmp_path: Path, kind: str) -> None:
    page = report(landscape, write(tmp_path, a=ODD[kind]()))
    assert page.pictures
    assert "nan" not in {cell.split()[0] for rows in page.tables.values() for row in rows for cell in row if cell}


@pytest.mark.slow
def test_a_partial_file_says_so_first(landscape: Landscape, tmp_path: Path) -> None:
    whole = surface_of(bowl, line(-1, 1, 9), line(-1, 1, 17))
    mask = np.zeros(whole.grid.shape, dtype=bool)
    mask.flat[whole.grid.scan_order()[:40]] = True
    partial = surface_of(bowl, line(-1, 1, 9), line(-1, 1, 17), evaluated=mask)
    partial.radius = surface_of(lambda s, x: x**2, [0.0, 0.1, 1.0], evaluated=[[True, False, False]], recipe=WEIGHT)
    page = report(landscape, write(tmp_path, partial=partial))
    said = [text for around, text in page.texts if around[-2:] == ("article", "p")]
    assert [text for text in said if text.startswith("PARTIAL")] == [
        "PARTIAL: 40 of 153 points",
        "PARTIAL: 1 of 3 points of the radius",
    ]
    assert not any("Complete" in text for text in said)
    assert any("Points that were not evaluated are left blank." in text for text in page.of("figcaption"))


@pytest.mark.slow
def test_a_file_without_a_loss_says_why_nothing_is_measured(landscape: Landscape, tmp_path: Path) -> None:
    page = report(landscape, write(tmp_path, a=plane(names=("test_accuracy",)), b=plane()))
    assert "not measured: the surface has no loss; sharpness is measured on one" in page.of("h3")
    assert any(text.startswith("not compared: ") for text in page.of("p"))
    assert {"The plane: a.h5", "The plane: b.h5"} <= set(headings(page))  # accuracy and loss have no common scale


HOSTILE = "</style></pre><script>window.hit=1</script><img src=x onerror='window.hit=1'>\"&amp;\x1b[31m\u202eevil"


def hostile() -> Surface:
    surface = point(names=(f"{HOSTILE}_loss",))
    target = {"_target_": f"m.{HOSTILE}"}
    return replace(
        surface,
        fingerprint=HOSTILE,
        provenance=Provenance(
            config=f"# {HOSTILE}\r\nmodel: a\n\tb",
            resolved={"model": target, "checkpoint": {"path": HOSTILE}, "loss": target, "found": {"notes": [HOSTILE]}},
            identity={"model": target, "checkpoint": {"sha256": HOSTILE}, "data": {HOSTILE: {"fingerprint": HOSTILE}}},
            environment=[{"command": HOSTILE, "host": [HOSTILE], "torch": HOSTILE}, HOSTILE],
            engine={"engine": HOSTILE, "difference": {HOSTILE: 1e-7}},
        ),
    )


def test_texts_of_a_file_are_texts_on_the_page(landscape: Landscape, tmp_path: Path) -> None:
    page = report(landscape, write(tmp_path, a=hostile(), b=point()), "--title", HOSTILE)
    used = {tag for tag, _ in page.found}
    assert used.isdisjoint({"script", "iframe", "object", "link", "svg"})
    assert {str(each["src"])[:11] for each in page.pictures} == {"data:image/"}
    assert not {name for _, attributes in page.found for name in attributes if name.startswith("on")}
    visible = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert page.of("h1") == page.of("title") == [visible]
    assert page.text.count(visible) > 10
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\x1b\u202e]", content)
    (config,) = [text for around, text in page.texts if "details" in around and around[-1] == "pre"]
    assert config == f"# {visible}\nmodel: a\n\tb"


# ---------------------------------------------------------------- the page


def test_the_page_needs_nothing_but_itself(two: Written) -> None:
    page = two.page
    (policy,) = [
        str(attributes["content"])
        for tag, attributes in page.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert "script" not in policy
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for _, attributes in page.found if "href" in attributes]
    assert links == [f"#{each}" for each in ids]
    style = "".join(text for around, text in page.texts if around and around[-1] == "style")
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.slow
def test_the_same_files_give_the_same_page(landscape: Landscape, tmp_path: Path) -> None:
    files = write(tmp_path, a=point())
    pages = []
    for _ in range(2):
        report(landscape, files)
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]


COMMAND = "python -m landscape_cli scan c.yaml -o s.h5 --checkpoint 'my runs/last.pt' --set 'metrics=[accuracy]' -q"


def test_it_says_how_to_make_it_again(landscape: Landscape, tmp_path: Path) -> None:
    surface = replace(
        point(),
        fingerprint="ab" * 32,
        provenance=Provenance(
            config="model: {_target_: my_models.net}\n",
            identity={
                "checkpoint": {"sha256": "cd" * 32},
                "data": {"test": {"num_examples": 1000, "fingerprint": "ef"}},
            },
            resolved={"checkpoint": {"path": "my runs/last.pt"}},
            environment=[{"command": COMMAND, "torch": "2.6.0", "device": "cuda:0"}],
            engine={"engine": "mlp", "reference": "sequential", "difference": {"centre": 2e-8}},
        ),
    )
    (file,) = write(tmp_path, s=surface)
    page = report(landscape, [file])
    facts = page.of("dd")
    for expected in (
        hashlib.sha256(file.read_bytes()).hexdigest(),
        "ab" * 32,
        "cd" * 32,
        "n = 1,000, fingerprint ef",
        COMMAND,
        "cuda:0",
        "torch 2.6.0",
        "mlp; agrees with sequential to 2e-08 at the centre",
    ):
        assert expected in facts, expected
    config, commands = [text.strip() for text in page.of("pre")]
    assert config == "model: {_target_: my_models.net}"
    assert commands.splitlines() == [
        "landscape scan scan.yaml --checkpoint 'my runs/last.pt' --set 'metrics=[accuracy]' -o s.h5",
        "landscape info s.h5",
    ]


def test_a_file_from_elsewhere_has_no_configuration(landscape: Landscape, tmp_path: Path) -> None:
    page = report(landscape, write(tmp_path, a=point()))
    assert not [tag for tag, _ in page.found if tag == "details"]
    assert [text.strip() for text in page.of("pre")] == ["landscape info a.h5"]


# ---------------------------------------------------------------- what is wrong


def test_wrong_arguments_are_refused(landscape: Landscape, tmp_path: Path) -> None:
    (a,) = write(tmp_path, a=plane())
    before = a.read_bytes()
    for arguments, words in {
        (a, "-o", tmp_path / "r.pdf"): "a report is a page; found '.pdf', expected .html",
        (a, "-o", tmp_path / "r"): "found a file without a suffix",
        (a, "-o", tmp_path / "r.html", "--loss", "tset_loss"): "a.h5: loss: found 'tset_loss'",
        (a, "-o", tmp_path / "r.html", "--tau", "0"): "--tau: found 0; expected a number above 0",
    }.items():
        outcome = landscape("report", *arguments)
        assert outcome.exit_code == 2
        assert words in outcome.stderr
    link = tmp_path / "a.html"
    link.symlink_to(a)
    outcome = landscape("report", a, "-o", link)
    assert outcome.exit_code == 2
    assert "is the surface file itself" in outcome.stderr
    assert a.read_bytes() == before
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("content", [None, b"", b"\x89HDF\r\n\x1a\n damaged", b"text"])
def test_a_file_that_cannot_be_read_is_exit_3(landscape: Landscape, tmp_path: Path, content: bytes | None) -> None:
    (good,) = write(tmp_path, a=plane())
    bad = tmp_path / "bad.h5"
    if content is not None:
        bad.write_bytes(content)
    outcome = landscape("report", good, bad, "-o", tmp_path / "r.html")
    assert outcome.exit_code == 3
    assert "bad.h5" in outcome.stderr
    assert not (tmp_path / "r.html").exists()


def test_quiet_says_nothing(landscape: Landscape, tmp_path: Path) -> None:
    (file,) = write(tmp_path, a=point())
    outcome = landscape("report", file, "-o", tmp_path / "r.html", "--quiet")
    assert outcome == Outcome(0, "", "")
    assert re.fullmatch(r"written: .*r\.html \(\d+ kB\)\n", landscape("report", file, "-o", tmp_path / "r.html").stderr)


@pytest.mark.slow
def test_it_takes_no_torch_and_another_process_writes_the_same(one: Written, tmp_path: Path) -> None:
    code = (
        "import sys; from landscape_cli.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules and 'plotly' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "report", *map(str, one.files), "-o", str(tmp_path / "other.html")]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "other.html").read_bytes() == (one.files[0].parent / "report.html").read_bytes()


@pytest.mark.slow
def test_a_large_plane_is_dots_and_not_lines() -> None:
    found = [*illustrations({"a.h5": surface_of(bowl, line(-1, 1, 501), line(-1, 1, 501))})]
    assert [each.kind for each in found] == ["filled", "surface3d", "rays"]
    assert all(each.source.startswith("data:image/png;") for each in found)
    assert sum(len(each.source) for each in found) < 3_000_000
