"""How often the gate of landscape compare cries wolf, and what it detects: docs/gate-study.md and its figures.

Trains networks on scikit-learn's digits, scans a line of relative noise around each, and applies the gate to pairs of
them along random subsets of the directions. What is true is measured along other directions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from landscape_cli import Surface  # noqa: E402
from scripts import gate_tables  # noqa: E402
from scripts.gate_figures import (  # noqa: E402
    BINS,
    DETECTED,
    Drawn,
    Facts,
    about_networks,
    about_parts,
    coverage,
    num_pairs,
    of_bin,
    policies,
    power_by_ratio,
    rounded,
    shares,
    targets,
    targets_by_architecture,
)
from scripts.gate_networks import ARCHITECTURES, LOSS, NUM_EXAMPLES, QUICK, Architecture, networks  # noqa: E402
from scripts.gate_trials import (  # noqa: E402
    CONFIDENCE,
    LOOKS,
    STRICT,
    TAU,
    TOLERANCE,
    Case,
    Halves,
    Looks,
    Retraining,
    cases,
    evenly,
    fires,
    groups,
    looks,
    pairs,
    quadratics,
    retrainings,
    rises_alike,
    verdict_beside,
)

PAGE, BENCHMARKS = ROOT / "docs" / "gate-study.md", ROOT / "docs" / "benchmarks"
FIGURES, IN_ONE_PART = BENCHMARKS / "gate-study.json", BENCHMARKS / "gate-study-one-part.json"
NUM_BASELINES, NUM_PARTS = (3, 5), 16


@dataclass(frozen=True)
class Study:
    """How much is drawn, and what computes it.

    Attributes:
        num_trials: Of each bin.
        num_parts: Of the data, each with signs of its own for the noise.
        pool: Processes of one thread each.
        seed: Of what is drawn; each part of the study has a stream of its own.
    """

    num_trials: int
    num_parts: int
    pool: ProcessPoolExecutor
    seed: int = 0

    def rng(self, stream: str) -> Generator:
        """A generator for one part of the study, the same whatever the others draw."""
        return np.random.default_rng([self.seed, *stream.encode()])

    def looks(self, tasks: Iterable[tuple[Surface, Surface]]) -> list[Looks]:
        """The gate on pairs of lines."""
        return list(self.pool.map(looks, tasks, chunksize=8))


# ---------------------------------------------------------------- figures


def draw(study: Study, stream: str, found: Sequence[Case]) -> Drawn:
    """The gate on pairs of some of these cases; nothing where there are none."""
    rng = study.rng(stream)
    drawn = evenly(found, study.num_trials, rng)
    print(f"{stream}: {len(drawn)} trials, {len(found)} cases", flush=True)
    return list(zip(drawn, study.looks(pairs(drawn, rng)), strict=True))


def naive(study: Study, all_cases: Sequence[Case]) -> Facts:
    """How often rules without error bars fire on pairs that are equal in the radius and in the rise itself."""
    rng, (low, high) = study.rng("naive"), BINS["equal"]
    equal = [case for case in all_cases if low <= case.sharpening < high and rises_alike(case)]
    drawn = evenly(equal, 5 * study.num_trials, rng)
    found = [fires(case, rng) for case in drawn]
    return {
        "trials": len(drawn),
        "pairs": num_pairs(drawn),
        "fires": {
            rule: rounded(statistics.fmean(each[rule] for each in found)) for rule in (found[0] if found else ())
        },
    }


def several(study: Study, found: Sequence[Retraining]) -> Facts:
    """The gate with several baselines, 20 directions: a new seed of the same configuration, and others by ratio."""
    chosen: dict[str, Callable[[Retraining], bool]] = {"same configuration": lambda each: each.is_retrained}
    for name in DETECTED:
        low, high = BINS[name]
        chosen[name] = lambda each, low=low, high=high: (  # type: ignore[misc]
            not each.is_retrained and low <= each.sharpening < high
        )
    report: Facts = {}
    for k in NUM_BASELINES:
        of_k: Facts = {}
        for name, belongs in chosen.items():
            rng = study.rng(f"{k} baselines {name}")
            tasks = groups([each for each in found if belongs(each)], k, LOOKS[0], study.num_trials, rng)
            verdicts = list(study.pool.map(verdict_beside, tasks, chunksize=8))
            if verdicts:
                of_k[name] = {"trials": len(verdicts), **shares(verdicts)}
        report[str(k)] = of_k
    return report


def figures(study: Study, found: Sequence[Halves]) -> Facts:
    """Everything but the circumstances."""
    all_cases = cases(found)
    drawn = {
        name: draw(study, name, [case for case in all_cases if low <= case.sharpening < high])
        for name, (low, high) in BINS.items()
    }
    retrained = draw(study, "retrained", [case for case in all_cases if case.is_retrained])
    bins: Facts = {name: of_bin(each) for name, each in drawn.items() if each}
    return {
        "networks": about_networks(found),
        "parts": about_parts([each.network for each in found]),
        "targets": targets(bins),
        "targets_by_architecture": targets_by_architecture(bins),
        "bins": bins,
        "power_by_ratio": power_by_ratio([each for name in DETECTED for each in drawn[name]]),
        "retrained": of_bin(retrained),
        "quadratics": policies(study.looks(quadratics(2 * study.num_trials, study.rng("quadratics")))),
        "coverage": coverage(draw(study, "any", all_cases)),
        "naive": naive(study, all_cases),
        "baselines": several(study, retrainings(found)),
    }


def report_of(study: Study, architectures: dict[str, Architecture]) -> Facts:
    """The figures, and when and with what they were made."""
    start = time.perf_counter()
    found = [Halves.of(network) for network in networks(architectures, study.num_parts, study.pool)]
    print(f"{len(found)} networks in {time.perf_counter() - start:.0f} s", flush=True)
    return {**about(study), **figures(study, found)}


def spent(start: float) -> Facts:
    """Seconds since then, and of the processors in all processes that have ended; with the load of the machine."""
    return {
        "all": round(time.perf_counter() - start),
        "processor": round(sum(os.times()[:4])),
        "processors": os.cpu_count(),
        "load": rounded(os.getloadavg()[2]),
    }


def about(study: Study) -> Facts:
    """When, with what, and the settings."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "numpy", "scikit-learn")},
        },
        "settings": {
            "tau": TAU,
            "tolerance": TOLERANCE.amount,
            "confidence": CONFIDENCE,
            "strict_confidence": rounded(STRICT),
            "examples": NUM_EXAMPLES,
            "training_stops_at_loss": LOSS,
            "trials": study.num_trials,
            "parts": study.num_parts,
        },
    }


def main() -> None:
    """Run the study; write its figures and the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--trials", type=int, default=500, help="of every bin")
    parser.add_argument("--parts", type=int, default=NUM_PARTS, help="of the data, each with other signs of the noise")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few networks and trials, in two minutes")
    parser.add_argument("--tables", action="store_true", help="write the tables from the figures that are there")
    parser.add_argument("--out", type=Path, default=FIGURES, help="by default the tables of the page are written, too")
    options = parser.parse_args()
    if (options.quick or options.parts != NUM_PARTS) and options.out == FIGURES:
        parser.error("--quick and --parts: give --out, so that the figures of the whole study stay")
    if not options.tables:
        start = time.perf_counter()
        torch.set_num_threads(1)
        architectures = QUICK if options.quick else ARCHITECTURES
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            options.processes, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            report = report_of(Study(20 if options.quick else options.trials, options.parts, pool), architectures)
        options.out.write_text(json.dumps({"seconds": spent(start), **report}, indent=1) + "\n")
    if options.out == FIGURES:
        gate_tables.update(PAGE, FIGURES, IN_ONE_PART)


if __name__ == "__main__":
    main()
