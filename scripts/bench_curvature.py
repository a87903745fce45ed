"""λ_max, λ_min and trace of a trained ResNet-20, beside PyHessian's top eigenvalue and trace, in turns.

pip install pyhessian first; it is no dependency of ours. Both see the same network, examples, threads and precision.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from landscape_cli.cli.process import keep_freed_memory
from landscape_cli.compute.curvature.journal import Journal
from landscape_cli.compute.curvature.operator import HessianOperator
from landscape_cli.compute.data import Batches
from landscape_cli.compute.lanczos import ends
from landscape_cli.compute.metrics import cross_entropy
from landscape_cli.compute.objective import Objective
from landscape_cli.compute.residency import place
from landscape_cli.compute.traces import xtrace
from landscape_cli.examples import CifarResNet, digits

_STEPS, _STEPS_TO, _PRODUCTS, _TOLERANCE = 40, 1e-4, 30, 0.03  # the defaults of eigenvalues and trace


Round = dict[str, dict[str, float]]


def trained(epochs: int) -> tuple[CifarResNet, Tensor, Tensor]:
    """A ResNet-20 that has learned the digits at 32×32, and these."""
    torch.manual_seed(0)
    images, labels = digits(train=True).tensors
    inputs = F.interpolate(images.float(), size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    targets = labels.long()
    model = CifarResNet(20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(inputs)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(inputs[batch]), targets[batch]))
            optimizer.step()
        schedule.step()
    return model.eval(), inputs, targets


def ours(
    model: CifarResNet, inputs: Tensor, targets: Tensor, seed: int, products: int, tolerance: float
) -> dict[str, float]:
    """λ_max, λ_min and trace, as ``landscape scan`` computes them."""
    split = place(Batches(inputs, targets, None, ""), torch.device("cpu"), torch.float32)
    objective = Objective(model, cross_entropy, split, keeps_graphs=True)
    cpu = torch.device("cpu")
    operator = HessianOperator(objective, Journal(None, b"", torch.float32, cpu))
    both = ends(
        operator, operator.size, max_products=_STEPS, tolerance=_STEPS_TO, device=cpu, dtype=torch.float32, seed=seed
    )
    found = xtrace(
        operator.many,
        operator.size,
        num_products=products,
        device=cpu,
        dtype=torch.float32,
        seed=seed,
        tolerance=tolerance,
    )
    objective.close()
    return {
        "lambda_max": float(both.largest[0]),
        "lambda_min": float(both.smallest[0]),
        "trace": found.value,
        "trace_standard_error": found.standard_error,
        "products": float(objective.cost.products),
    }


def pyhessian(model: CifarResNet, inputs: Tensor, targets: Tensor, seed: int) -> dict[str, float]:
    """The top eigenvalue and the trace with PyHessian's defaults."""
    importlib.import_module("pyhessian")
    module: Any = sys.modules["pyhessian.hessian"]  # the package has a class of the same name
    count, original = [0], module.hessian_vector_product

    def counted(*args: object) -> object:
        count[0] += 1
        return original(*args)

    torch.manual_seed(seed)
    module.hessian_vector_product = counted
    try:
        computer = module.hessian(model, torch.nn.CrossEntropyLoss(), data=(inputs, targets), cuda=False)
        values, _ = computer.eigenvalues()
        traces = computer.trace()
    finally:
        module.hessian_vector_product = original
        for parameter in model.parameters():
            parameter.grad = None
    return {"lambda_max": float(values[0]), "trace": statistics.fmean(traces), "products": float(count[0])}


def timed(run: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What a contender finds, and the seconds it takes."""
    start = time.perf_counter()
    found = run()
    return {**found, "seconds": time.perf_counter() - start}


def report_of(facts: dict[str, float], exact: dict[str, float], rounds: list[Round]) -> dict[str, object]:
    """All rounds so far, and their medians."""

    def error(name: str, what: str) -> float:
        return statistics.median(abs(each[name][what] / exact[what] - 1) for each in rounds)

    return {
        "network": "CifarResNet(20), trained on scikit-learn's digits at 32x32",
        **facts,
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pyhessian": version("pyhessian"),
        "reference": exact,
        "rounds": rounds,
        "median_ratio_of_seconds": statistics.median(r["ours"]["seconds"] / r["pyhessian"]["seconds"] for r in rounds),
        "median_relative_error_of_trace": {name: error(name, "trace") for name in ("ours", "pyhessian")},
        "median_relative_error_of_lambda_max": {name: error(name, "lambda_max") for name in ("ours", "pyhessian")},
    }


def write(report: dict[str, object], out: Path | None) -> None:
    """Print the medians; write everything."""
    print(json.dumps({key: value for key, value in report.items() if key.startswith("median")}), flush=True)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    """Print and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--reference-products", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    keep_freed_memory()
    model, inputs, targets = trained(options.epochs)
    inputs, targets = inputs[: options.examples], targets[: options.examples]
    loss = float(F.cross_entropy(model(inputs), targets))
    exact = ours(model, inputs, targets, 1000, options.reference_products, 0.0)
    print(f"loss {loss:.5f}, reference {exact}", flush=True)
    model_facts = {"num_examples": len(inputs), "loss": loss}
    rounds: list[Round] = []
    for seed in range(options.rounds):
        turn = {
            "ours": timed(lambda seed=seed: ours(model, inputs, targets, seed, _PRODUCTS, _TOLERANCE)),  # type: ignore[misc]
            "pyhessian": timed(lambda seed=seed: pyhessian(model, inputs, targets, seed)),  # type: ignore[misc]
        }
        rounds.append(turn)
        print(json.dumps(turn), flush=True)
        write(report_of(model_facts, exact, rounds), options.out)


if __name__ == "__main__":
    main()
