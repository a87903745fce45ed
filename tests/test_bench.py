"""The benchmark builds its workloads, compares loops that compute the same, and reports what it has measured.

Nothing is timed here.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
from collections.abc import Iterator

import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision import transforms

from landscape_cli import scan_model

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from scripts import bench, contenders, workloads


@pytest.fixture
def run() -> Iterator[contenders.Run]:
    before = torch.get_num_threads()
    yield contenders.Run(workloads.make("cnn", num_examples=48), "cpu", "float32", cores=1)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name", [name if name != "resnet50" else pytest.param(name, marks=pytest.mark.slow) for name in workloads.RECIPES]
)
def test_workload_is_a_network_with_its_images(name):
    work = workloads.make(name, num_examples=4)
    height, width, channels = workloads.RECIPES[name].shape
    assert work.images.shape == (4, height, width, channels)
    assert not work.model.training
    with torch.inference_mode():
        outputs = work.model(work.inputs)
    assert outputs.shape == (4, 10)
    assert outputs.isfinite().all()
    assert outputs.std() > 1e-3


def test_workload_is_the_same_every_time():
    first, second = (workloads.make("resnet20", num_examples=4) for _ in range(2))
    assert torch.equal(first.inputs, second.inputs)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    )


def test_resnets_are_as_large_as_those_of_the_paper():
    # He et al. 2016, table 6: 0.27 M and 0.85 M
    for depth, millions in ((20, 0.27), (56, 0.85)):
        num = sum(parameter.numel() for parameter in workloads.CifarResNet(depth).parameters())
        assert num / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("name", ["cnn", "resnet20"])
def test_every_reader_gives_the_same_inputs(name):
    work = workloads.make(name, num_examples=8)
    pixels = work.images.squeeze(-1).numpy()
    to_tensor = transforms.ToTensor()
    assert torch.equal(to_tensor(Image.fromarray(pixels[0])).mul(255).round(), work.images[0].permute(2, 0, 1).float())
    for read in (workloads.plain_reader(), workloads.pil_reader()):
        assert torch.equal(torch.stack([read(each) for each in pixels]), work.inputs)


def test_all_loops_compute_the_same(run):
    floor, classic = contenders.Floor(run), contenders.Classic(run, num_workers=0)
    for chunk in (5, 48):
        floor.use(chunk)
        for point in ((0.0, 0.0), (0.3, -0.2)):
            assert floor.loss(*point) == pytest.approx(classic.loss(*point), rel=1e-5)
    assert floor.loss(0.3, -0.2) != pytest.approx(floor.loss(0.0, 0.0), rel=1e-5)
    surface = scan_model(
        run.workload.model, {"test": TensorDataset(run.workload.inputs, run.workload.labels)}, axes={"x": {"num": 3}}
    )
    assert floor.loss(0.0, 0.0) == pytest.approx(surface.metrics["test_loss"].centre, rel=1e-5)


def test_our_scan_has_turns_and_tells_what_it_has_chosen(run):
    here, there = multiprocessing.Pipe()
    for message in (("measure", 0.0), ("measure", 0.0), ("facts",)):
        there.send(message)
    contenders.serve_ours(run, here)
    turns = [there.recv() for _ in range(2)]
    facts = there.recv()
    assert all(turn.num_points > 0 and turn.seconds > 0 for turn in turns)
    assert {each["engine"] for each in facts["engines"]} == {facts["engine"].split(",")[0]}
    assert facts["centre_loss"] == pytest.approx(contenders.Floor(run).loss(0, 0), rel=1e-5)


def test_loops_that_differ_are_not_compared():
    bench.check_same(1.0, 1.0 + 1e-6, 1e-5, "mlp floor")
    with pytest.raises(contenders.BenchError, match="mlp floor"):
        bench.check_same(1.0, 1.001, 1e-5, "mlp floor")
    with pytest.raises(contenders.BenchError):
        bench.check_same(1.0, math.nan, 1e-5, "mlp floor")


@pytest.fixture
def result() -> bench.Result:
    return bench.Result(
        *("mlp", "cpu", "float32", 10_000, 235_146),
        seconds={"ours": 0.0045, "floor": 0.0225, "classic": 0.045},
        ratios={"floor": 5.0, "classic": 10.0},
        minutes=0.2,
        targets={"floor": 4.0, "classic": 15.0},
        facts={"ours": {"engine": "mlp, 8 points × 256 examples at a time"}, "floor": {"chunk": 256}},
        rounds=[{"load": None, "ours": 0.0045, "floor": math.nan}],
    )


def test_table_shows_ratios_beside_their_targets(result):
    header, _, row = bench.table([result]).splitlines()
    assert [cell.strip() for cell in header.split("|")][1:4] == ["workload", "examples", "ours"]
    for cell in ("4.5 ms", "22.5 ms (chunk 256)", "10.00× (≥ 15× NO)", "5.00× (≥ 4× yes)", "0.2 min"):
        assert cell in row


def test_targets_that_are_missed_are_told(result):
    assert result.missed() == ["mlp float32: classic 10, target 15"]
    result.targets = {"minutes": 0.1, "floor": 4.0}
    assert result.missed() == ["mlp float32: minutes 0.2, target 0.1"]


def test_document_is_json_that_names_machine_and_versions(result, tmp_path):
    out = bench.out_file(tmp_path / "benchmarks", "cpu", 2, [result])
    bench.write(bench.document([result], {"vit float32": "out of time"}, cores=2), out)
    found = json.loads(out.read_text())
    assert out.name == "cpu-2-cores.json"
    assert found["machine"]["cores"] == 2
    assert found["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert found["results"][0]["rounds"] == [{"load": None, "ours": 0.0045, "floor": None}]
    assert found["skipped"] == {"vit float32": "out of time"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--device", "cuda"])
    assert bench.main() == 2
    assert "no CUDA device" in capsys.readouterr().err
