"""Time a scan against the plainest loop on the same cores, the loop of the classic tools, and other packages.

Every contender lives in processes of its own, forked before torch computes anything, and they work in turns: ours,
floor, classic, ours, … Ratios are medians over the rounds. What the numbers mean is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch
from pydantic import JsonValue

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

import landscape_cli  # noqa: E402
from landscape_cli.compute.memory import num_cores  # noqa: E402
from scripts import workloads  # noqa: E402
from scripts.contenders import (  # noqa: E402
    NUM_POINTS,
    PEERS,
    SPLIT,
    BenchError,
    Classic,
    Contender,
    Crew,
    Device,
    Facts,
    Floor,
    KeepingFloor,
    Peer,
    Precision,
    Run,
    has_cuda,
    serve,
    serve_ours,
    version_of,
)
from scripts.workloads import Workload  # noqa: E402

FLOOR_CHUNKS: dict[Device, Sequence[int]] = {
    "cpu": (16, 32, 64, 128, 256, 500, 1000, 2000),
    "cuda": (128, 256, 512, 1024, 2048, 4096, 8192),
}
QUICK = ("mlp", "cnn", "resnet20", "vit")
RUNS: dict[Device, Sequence[tuple[str, Precision]]] = {
    "cpu": [(name, "float32") for name in (*QUICK, "resnet56")],
    "cuda": [("resnet56", "bfloat16"), ("resnet56", "float32"), ("mlp", "float32"), ("resnet50", "bfloat16")],
}
# What the centre may differ by between engines.
RTOL: dict[Precision, float] = {"float32": 1e-5, "bfloat16": 2e-2}
# Least ratios of the time of others to ours, and most minutes for 51×51 points.
TARGETS: Mapping[tuple[Device, str, Precision], Mapping[str, float]] = {
    ("cpu", "mlp", "float32"): {"classic": 15, "floor": 4},
    ("cpu", "cnn", "float32"): {"classic": 5, "floor": 1},
    ("cpu", "resnet20", "float32"): {"classic": 2.5, "floor": 0.95},
    ("cpu", "vit", "float32"): {"classic": 1.5, "floor": 0.9},
    ("cuda", "resnet56", "bfloat16"): {"classic": 15, "floor": 0.8, "minutes": 5},
    ("cuda", "resnet56", "float32"): {"classic": 15, "floor": 0.8, "minutes": 12},
}
_MINUTES_FOR_QUICK = 4.5
_SECONDS_FOR_A_RUN = 30.0  # with less left of --minutes the next workload is skipped
# A scan has pieces of 0.1 s under way: others wait until they have ended.
_SECONDS_TO_SETTLE = 0.3
_SECONDS_TO_LOOK, _MOST_LOOKS = 0.2, 25
_BUSY = 0.2  # cores


@dataclass
class Result:
    """One workload; seconds are per point, by contender, and the median of the rounds.

    Attributes:
        ratios: Contender → how many times as long as ours it takes.
        targets: What the ratios must be at least, and the minutes at most.
        minutes: For 51×51 points, without what comes before the first one.
        rounds: Everything that was measured, with the load of the machine before each round and the cores that
            others kept busy.
    """

    workload: str
    device: Device
    precision: Precision
    num_examples: int
    num_parameters: int
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    minutes: float = math.nan
    targets: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, float | None]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """Which targets are not reached."""
        return [
            f"{self.workload} {self.precision}: {name} {found:.3g}, target {target:g}"
            for name, target in self.targets.items()
            for found in [self.minutes if name == "minutes" else self.ratios.get(name, math.nan)]
            if not (found <= target if name == "minutes" else found >= target)
        ]


@dataclass(frozen=True)
class Options:
    """How long and with whom.

    Attributes:
        rounds: Of every workload.
        seconds: Of each turn.
        peers: Packages to time.
        keeping_floor: Also time the floor with the remedy for page faults.
    """

    rounds: int
    seconds: float
    peers: Sequence[str] = ()
    keeping_floor: bool = False


def measure(run: Run, options: Options, deadline: float) -> Result:
    """Time all contenders in turns.

    Args:
        run: What.
        options: How long.
        deadline: No further round begins that would probably end after it.

    Raises:
        BenchError: Ours, the floor or the classic loop fails, or they do not compute the same loss.
    """
    work = run.workload
    targets = dict(TARGETS.get((run.device, work.name, run.precision), {}))
    result = Result(work.name, run.device, run.precision, len(work), work.num_parameters, targets=targets)
    size = run.cores if run.device == "cpu" else 1
    with contextlib.ExitStack() as stack:
        crews = {"ours": stack.enter_context(Crew("ours", functools.partial(serve_ours, run)))}
        floors = {"floor": Floor, **({"floor, keeping memory": KeepingFloor} if options.keeping_floor else {})}
        for name, kind in floors.items():
            work_of = functools.partial(serve, functools.partial(kind, run))
            crews[name] = stack.enter_context(Crew(name, work_of, size))
        others: dict[str, Callable[[], Contender]] = {"classic": functools.partial(Classic, run)}
        others |= {name: functools.partial(Peer, name, run) for name in options.peers}
        for name, make in others.items():
            crews[name] = stack.enter_context(Crew(name, functools.partial(serve, make)))
        _warm_up(crews, floors, run, result)
        _rounds(crews, options, deadline, result)
        _conclude(crews, run, result)
    return result


def _warm_up(crews: dict[str, Crew], floors: Mapping[str, object], run: Run, result: Result) -> None:
    """Everything that happens once: calibration, the best chunk of the floors, the first point of the others."""
    for name in list(crews):
        try:
            if name in floors:
                result.facts[name] = {"searched": _search_chunk(crews[name], run)}
            else:
                crews[name].seconds_per_point(0.0)
        except BenchError as error:
            if name not in PEERS:
                raise BenchError(f"{name}: {error}") from error
            result.skipped[name] = str(error).splitlines()[0]
            del crews[name]
        _look_around()


def _search_chunk(crew: Crew, run: Run) -> JsonValue:
    """Leave the floor with the fastest of the chunk sizes; returns the seconds per point of each."""
    num = len(run.workload)
    sizes = sorted({min(size, num) for size in FLOOR_CHUNKS[run.device]})
    found: dict[int, float] = {}
    for size in (*sizes, *reversed(sizes)):
        with contextlib.suppress(BenchError):  # out of memory
            crew.ask("use", size)
            found[size] = min(found.get(size, math.inf), crew.seconds_per_point(0.25))
    if not found:
        raise BenchError("no chunk size works")
    crew.ask("use", min(found, key=found.__getitem__))
    return {str(size): seconds for size, seconds in found.items()}


def _rounds(crews: Mapping[str, Crew], options: Options, deadline: float, result: Result) -> None:
    names = list(crews)
    longest = 0.0
    for number in range(options.rounds):
        start = time.perf_counter()
        if number and start + longest > deadline:
            result.skipped["rounds"] = f"{options.rounds - number} of {options.rounds}, out of time"
            return
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        measured: dict[str, float | None] = {"load": load, "busy_with_others": _quiet()}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            measured[name] = crews[name].seconds_per_point(options.seconds)
            if name == "ours":
                time.sleep(_SECONDS_TO_SETTLE)
        result.rounds.append(measured)
        longest = max(longest, time.perf_counter() - start)


def _conclude(crews: Mapping[str, Crew], run: Run, result: Result) -> None:
    """Medians, the targets, and whether all of them have computed the same."""
    result.facts = {name: {**result.facts.get(name, {}), **crew.facts()} for name, crew in crews.items()}
    for name in crews:
        times = [(_number(each[name]), _number(each["ours"])) for each in result.rounds]
        result.seconds[name] = statistics.median(theirs for theirs, _ in times)
        if name != "ours":
            result.ratios[name] = statistics.median(theirs / ours for theirs, ours in times)
    result.minutes = NUM_POINTS**2 * result.seconds["ours"] / 60
    ours = _number(result.facts["ours"]["centre_loss"])
    for name in ("floor", "classic") if run.device == "cpu" else ("floor",):
        check_same(ours, _number(result.facts[name]["centre_loss"]), RTOL[run.precision], f"{run.workload.name} {name}")
    if run.device == "cuda":
        result.memory = _memory(crews["floor"], run, result.facts["ours"])


def check_same(ours: float, theirs: float, rtol: float, what: str) -> None:
    """Refuse to compare the speed of loops that compute something else.

    Raises:
        BenchError: The losses of the network itself differ by more than ``rtol``.
    """
    if not math.isclose(ours, theirs, rel_tol=rtol):
        raise BenchError(f"{what}: the loss at the centre is {theirs!r}, ours {ours!r}; they must agree to {rtol:g}")


def _memory(floor: Crew, run: Run, ours: Facts) -> dict[str, float]:
    """Bytes at the peak of the scan, and what they should be: data, 3 × parameters, and activations of one call."""
    engines = cast("list[Facts]", ours["engines"])
    chunk = int(_number(cast(Facts, engines[-1]["chunk_sizes"])[SPLIT]))
    points = int(_number(engines[-1]["points_per_call"]))
    data = run.workload.inputs.nbytes + run.workload.labels.nbytes
    activations = points * int(cast(int, floor.ask("activation_bytes", chunk)[0]))
    params = sum(parameter.nbytes for parameter in run.workload.model.parameters())
    expected = data + 3 * params + activations
    peak = _number(ours["peak_bytes"])
    parts = {"data": data, "parameters": params, "activations": activations}
    return {"peak": peak, "expected": expected, "ratio": peak / expected, **parts}


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _quiet() -> float | None:
    """Wait a while for others to be done; returns how many cores they keep busy in the end."""
    busy = _look_around()
    for _ in range(_MOST_LOOKS):
        if busy is None or busy < _BUSY:
            break
        busy = _look_around()
    return busy


def _look_around() -> float | None:
    """How many cores others keep busy while all contenders wait; None where the kernel does not say."""
    before = _busy_jiffies()
    time.sleep(_SECONDS_TO_LOOK)
    after = _busy_jiffies()
    if before is None or after is None:
        return None
    return (after - before) / os.sysconf("SC_CLK_TCK") / _SECONDS_TO_LOOK


def _busy_jiffies() -> int | None:
    with contextlib.suppress(OSError):
        user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
        return user + nice + system + interrupts + soft
    return None


# ---------------------------------------------------------------- report


def machine(cores: int) -> Facts:
    """Processor, cores, memory; no names of hosts."""
    model = None
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    flags = torch.backends.cpu.get_cpu_capability()
    return {"cpu": model or platform.processor(), "capability": flags, "cores": cores, "memory_gib": round(gibibytes)}


def versions() -> Facts:
    """Of everything that matters for the speed."""
    packages = ("torch", "torchvision", "numpy", "pillow", "scikit-learn")
    return {
        "landscape": landscape_cli.__version__,
        "python": platform.python_version(),
        **{package: version_of(package) for package in packages},
        "cuda": torch.version.cuda,
        "libc": " ".join(platform.libc_ver()),
    }


def document(results: Sequence[Result], skipped: Mapping[str, str], cores: int) -> Facts:
    """What is written to the file."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found = [{**asdict(result), "missed": result.missed()} for result in results]
    about: Facts = {"date": now, "machine": machine(cores), "versions": versions(), "skipped": dict(skipped)}
    return {**about, "results": cast(JsonValue, found)}


def write(content: Facts, out: Path) -> None:
    """Replace the file at once: a benchmark that is killed leaves a whole one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(_finite(content), indent=1) + "\n")
    part.replace(out)


def _finite(value: JsonValue) -> JsonValue:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def out_file(out: Path, device: Device, cores: int, results: Sequence[Result]) -> Path:
    """The file itself, or one in the folder that is named after the machine."""
    if out.suffix == ".json":
        return out
    if device == "cpu":
        return out / f"cpu-{cores}-cores.json"
    found = [str(result.facts["floor"].get("device")) for result in results if "floor" in result.facts]
    return out / f"{'-'.join((found or ['cuda'])[0].lower().split())}.json"


def table(results: Sequence[Result]) -> str:
    """Times per point, ratios beside their targets, and what calibration has chosen, as Markdown."""
    rows = [["workload", "examples", "ours", "floor", "classic", "vs classic", "vs floor", "engine", "51×51 points"]]
    for each in results:
        chunk = each.facts.get("floor", {}).get("chunk")
        name = each.workload if each.precision == "float32" else f"{each.workload} {each.precision}"
        rows.append(
            [
                name,
                f"{each.num_examples:,}",
                _milliseconds(each.seconds["ours"]),
                f"{_milliseconds(each.seconds['floor'])} (chunk {chunk})",
                _milliseconds(each.seconds["classic"]),
                *(_beside_target(each, other) for other in ("classic", "floor")),
                str(each.facts.get("ours", {}).get("engine", "")),
                _minutes(each),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _beside_target(result: Result, other: str) -> str:
    ratio, target = result.ratios[other], result.targets.get(other)
    return f"{ratio:.2f}×" + (f" (≥ {target:g}× {'yes' if ratio >= target else 'NO'})" if target else "")


def _minutes(result: Result) -> str:
    target = result.targets.get("minutes")
    words = f" (≤ {target:g} {'yes' if result.minutes <= target else 'NO'})" if target else ""
    return f"{result.minutes:.2g} min{words}"


def notes(result: Result) -> Iterator[str]:
    """Everything that is not in the table."""
    for name in result.ratios:
        if name not in ("floor", "classic"):
            about = result.facts.get(name, {}).get("version")
            label = f"{name} {about}" if about else name
            yield f"{result.workload}: {label} {_milliseconds(result.seconds[name])}, {result.ratios[name]:.2f}× ours"
    if result.memory:
        peak, expected = result.memory["peak"] / 2**20, result.memory["expected"] / 2**20
        yield f"{result.workload} {result.precision}: {peak:,.0f} MiB at the peak, {expected:,.0f} MiB expected"
    for name, reason in result.skipped.items():
        yield f"{result.workload}: {name} skipped: {reason}"


# ---------------------------------------------------------------- command line


def main() -> int:
    """Read the command line, measure, print, write."""
    start = time.perf_counter()
    args = _arguments()
    device: Device = args.device
    if device == "cuda" and not has_cuda():
        print("error: no CUDA device on this machine (or torch is built without CUDA)", file=sys.stderr)
        return 2
    cores = num_cores()
    torch.set_num_threads(1)  # no threads in this process: it forks
    names = args.workloads.split(",") if args.workloads else (QUICK if args.quick and device == "cpu" else None)
    runs = [run for run in RUNS[device] if names is None or run[0] in names]
    unknown = set(names or ()) - {name for name, _ in runs}
    if unknown:
        print(f"error: no workload {', '.join(sorted(unknown))} for {device}", file=sys.stderr)
        return 2
    rounds, seconds = (3, 5.0) if device == "cuda" else (5, 2.0) if args.quick else (9, 4.0)
    wanted = PEERS if device == "cpu" else ()  # on a GPU some of them take all data in one forward pass
    skipped = {name: "not installed" for name in wanted if not workloads.has_module(name)}
    peers = [name for name in wanted if name not in skipped]
    options = Options(args.rounds or rounds, seconds, peers, keeping_floor=device == "cpu" and not args.quick)
    end = start + 60 * (args.minutes or (_MINUTES_FOR_QUICK if args.quick else math.inf))
    results: list[Result] = []
    for i, (name, precision) in enumerate(runs):
        left = end - time.perf_counter()
        label = f"{name} {precision}"
        if left < _SECONDS_FOR_A_RUN:
            skipped[label] = "out of time"
            continue
        print(f"[{time.perf_counter() - start:4.0f} s] {label} …", file=sys.stderr, flush=True)
        try:
            run = Run(_make(name, device), device, precision, cores)
            results.append(measure(run, options, time.perf_counter() + left / (len(runs) - i)))
        except (BenchError, ImportError) as error:
            skipped[label] = f"failed: {error}"
        if args.out is not None:
            write(document(results, skipped, cores), out_file(args.out, device, cores, results))
    _print(results, skipped, time.perf_counter() - start)
    if args.out is not None:
        print(f"written: {out_file(args.out, device, cores, results)}")
    return 1 if any(reason.startswith("failed") for reason in skipped.values()) else 0


def _print(results: Sequence[Result], skipped: Mapping[str, str], seconds: float) -> None:
    if results:
        print(table(results))
    for line in itertools.chain.from_iterable(map(notes, results)):
        print(line)
    for name, reason in skipped.items():
        print(f"{name}: {reason}")
    for line in itertools.chain.from_iterable(result.missed() for result in results):
        print(f"missed: {line}")
    print(f"measured in {seconds:.0f} s")


@functools.lru_cache(maxsize=1)
def _make(name: str, device: Device) -> Workload:
    return workloads.make(name, device)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} in less than 5 minutes")
    parser.add_argument("--workloads", metavar="A,B", help=f"of {', '.join(workloads.RECIPES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each workload")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, metavar="M", help="fewer rounds and workloads if they take longer")
    parser.add_argument("--out", type=Path, metavar="FILE.json|DIR", help="where to write all that was measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
