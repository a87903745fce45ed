"""Tables of the gate study: docs/gate-study.md from its figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.gate_trials import LOOKS, SIZES

Report = Mapping[str, Any]  # as read from JSON

_TRUE_RATIO = {
    "flatter": "below 0.95 (NEW is flatter)",
    "equal": "0.95–1.05 (equal)",
    "1-1.1": "1–1.1",
    "1.1-1.176": "1.1–1.176 (within the tolerance)",
    "1.176-1.3": "1.176–1.3 (beyond it)",
    "1.3-1.5": "1.3–1.5",
    "1.5-": "1.5 and more",
}
_POLICIES = {
    "fixed": "20 directions at 95 %",
    "strict": "20 directions at 98.3 %",
    "sequential": "20 → 40 → 80 at 98.3 %",
}


def update(page: Path, figures: Path, one_part: Path) -> None:
    """Write every table between its markers."""
    page.write_text(with_tables(page.read_text(), *(json.loads(each.read_text()) for each in (figures, one_part))))


def with_tables(text: str, report: Report, one_part: Report) -> str:
    """The text with the tables of these figures between ``<!-- table: name -->`` and ``<!-- end -->``."""

    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        filled = COMPARED[name](report, one_part) if name in COMPARED else TABLES[name](report)
        return f"<!-- table: {name} -->\n{filled}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replacement, text, flags=re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def percent(share: float) -> str:
    """To a tenth where it is small."""
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def of_targets(report: Report) -> str:
    """What was to be reached."""
    rows = [
        [
            _TRUE_RATIO[each["bin"]],
            _POLICIES[each["policy"]],
            f"{each['kind']} {100 * each['target']:g} %",
            f"{100 * each['found']:.1f} %",
            "yes" if each["reached"] else "**no**",
        ]
        for each in report["targets"]
    ]
    return table(["true r_base / r_new", "rule", "FAIL: target", "found", "reached"], rows)


def of_networks(report: Report) -> str:
    """What the pairs are made of."""
    rows = [
        [
            name,
            f"{each['parameters']:,}",
            f"{each['networks']} = {each['configurations']} × {each['networks'] // each['configurations']}",
            f"{each['directions']}",
            "–".join(f"{value:.3f}" for value in each["loss"]),
            "–".join(f"{value:.3f}" for value in each["radius"]),
            "–".join(f"{value:.3f}" for value in each["sd_of_log_radius_over_seeds"]),
        ]
        for name, each in report["networks"].items()
    ]
    head = ["network", "parameters", "networks = configurations × seeds", "directions", "loss", "radius r"]
    return table([*head, "sd of log r over seeds"], rows)


def of_fixed(report: Report) -> str:
    """FAIL with a fixed number of directions."""
    rows = [
        [
            _TRUE_RATIO[name],
            f"{each['pairs']}",
            f"{each['median_ratio']:.2f}",
            *(percent(each["fixed"][str(size)]["fail"]) for size in SIZES),
        ]
        for name, each in report["bins"].items()
    ]
    return table(["true r_base / r_new", "pairs", "median", *(f"S = {size}" for size in SIZES)], rows)


def of_rules(report: Report) -> str:
    """FAIL / PASS / inconclusive of the rules side by side."""

    def cells(each: Report) -> list[str]:
        fixed, strict, last = each["fixed"][str(LOOKS[0])], each["strict"][str(LOOKS[0])], each["sequential"]
        return [*(_outcomes(rule) for rule in (fixed, strict, last)), f"{last['mean_directions']:.0f}"]

    rows = [[_TRUE_RATIO[name], *cells(each)] for name, each in report["bins"].items()]
    rows.append(["same configuration, another seed", *cells(report["retrained"])])
    return table(["true r_base / r_new", *_POLICIES.values(), "mean S"], rows)


def _outcomes(shares: Mapping[str, float]) -> str:
    return " / ".join(f"{100 * shares[each]:.1f}" for each in ("fail", "pass", "inconclusive"))


def of_architectures(report: Report) -> str:
    """FAIL by architecture, and the error of D, which decides it; bold where that misses the target."""
    rows = []
    for name in ("equal", "1.3-1.5", "1.5-"):
        for architecture, each in report["bins"][name]["by_architecture"].items():
            of = [goal for goal in report["targets_by_architecture"][architecture] if goal["bin"] == name]
            cells = [percent(goal["found"]) if goal["reached"] else f"**{percent(goal['found'])}**" for goal in of]
            rows.append([_TRUE_RATIO[name], architecture, f"{each['median_error'][str(LOOKS[0])]:.3f}", *cells])
    return table(["true r_base / r_new", "network", f"error of D, S = {LOOKS[0]}", *_POLICIES.values()], rows)


def of_boundary(report: Report) -> str:
    """FAIL on quadratics at the boundary, where 5 % are allowed."""
    found = report["quadratics"]
    sizes = [percent(found["fixed"][str(size)]["fail"]) for size in SIZES]
    turns = [percent(found[rule]["fail"]) for rule in ("sequential", "sequential_uncorrected")]
    head = [*(f"S = {size} at 95 %" for size in SIZES), _POLICIES["sequential"], "20 → 40 → 80 at 95 %"]
    return table(head, [[*sizes, *turns]])


def of_power(report: Report) -> str:
    """FAIL in narrow bins of the true ratio."""
    rows = []
    for each in report["power_by_ratio"]:
        low, high = each["ratio"]
        ratio = f"{low:.3g} and more" if high is None else f"{low:.4g}–{high:.4g}"
        rows.append([ratio, f"{each['trials']}", *(percent(each[rule]) for rule in _POLICIES)])
    return table(["true r_base / r_new", "trials", *_POLICIES.values()], rows)


def of_coverage(report: Report) -> str:
    """How often the 90 % interval holds the truth."""
    found = report["coverage"]
    return table([f"S = {size}" for size in SIZES], [[percent(found[str(size)]) for size in SIZES]])


def of_naive(report: Report, one_part: Report) -> str:
    """Rules without error bars on equal pairs."""
    both = [of["naive"]["fires"] for of in (one_part, report)]
    rows = [[rule, *(percent(fires[rule]) for fires in both)] for rule in both[0]]
    return table(["rule", *_parts(report)], rows)


def of_baselines(report: Report) -> str:
    """FAIL with several baselines."""
    names = {"same configuration": "same configuration, another seed", **_TRUE_RATIO}
    rows = [
        [names[name], *(percent(report["baselines"][k][name]["fail"]) for k in report["baselines"])]
        for name in next(iter(report["baselines"].values()))
    ]
    return table(["NEW", *(f"k = {k} baselines" for k in report["baselines"])], rows)


def of_comparison(report: Report, one_part: Report) -> str:
    """The targets with one part of the data beside them."""
    rows = [
        [
            _TRUE_RATIO[each["bin"]],
            _POLICIES[each["policy"]],
            f"{each['kind']} {100 * each['target']:g} %",
            *(f"{100 * one['found']:.1f} %" if one["reached"] else f"**{100 * one['found']:.1f} %**" for one in both),
        ]
        for both in zip(one_part["targets"], report["targets"], strict=True)
        for each in both[:1]
    ]
    return table(["true r_base / r_new", "rule", "FAIL: target", *_parts(report)], rows)


def of_cost(report: Report, one_part: Report) -> str:
    """What parts cost and give, by architecture: the error of D from 1.3 to 1.5, and processor time."""
    rows = []
    for name, each in report["parts"].items():
        errors = [
            of["bins"]["1.3-1.5"]["by_architecture"][name]["median_error"][str(LOOKS[0])] for of in (one_part, report)
        ]
        seconds = [each["seconds_in_one_part"], each["seconds_per_direction"]]
        ratio = f"{100 * each['mean_log_ratio']:+.2f} ± {100 * each['error']:.2f} %"
        rows.append([name, *(f"{value:.3f}" for value in (*errors, *seconds)), ratio])
    one, many = _parts(report)
    head = [f"error of D, S = {LOOKS[0]}: {one}", many, f"processor seconds per direction: {one}", many, "r changes by"]
    return table(["network", *head], rows)


def _parts(report: Report) -> tuple[str, str]:
    return "1 part", f"{report['settings']['parts']} parts"


TABLES: dict[str, Callable[[Report], str]] = {
    "targets": of_targets,
    "networks": of_networks,
    "fixed": of_fixed,
    "rules": of_rules,
    "architectures": of_architectures,
    "power": of_power,
    "boundary": of_boundary,
    "coverage": of_coverage,
    "baselines": of_baselines,
}
COMPARED: dict[str, Callable[[Report, Report], str]] = {  # with one part of the data
    "comparison": of_comparison,
    "cost": of_cost,
    "naive": of_naive,
}
