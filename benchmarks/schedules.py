"""Schedules of networks on a scratchpad memory: bytes moved beyond what has to be, beside a baseline and a lower bound.

``python -m benchmarks.schedules [--separate] [NAME ...]`` from the repository. The networks are those of
benchmarks/networks.py and the light models of the onnx package, by their shapes, without and with weights; ResNet-50, which
both have, once. Scratchpads as in the paper (arXiv 2311.18246): R, the largest operator's inputs and outputs; P, the least peak
of all orders, if nothing is spilled; H, halfway between. Baseline: program order, the tensor whose next use is farthest leaves
first (Belady), best fit. ``--separate``: each of the file's operators by itself, none joined to the one before.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
from rich.console import Console
from rich.table import Table

from benchmarks.networks import NETWORKS
from hwgen.frontend.footprint import footprint
from hwgen.ilp.scratchpad import Problem, best_fit, least_peak, solve

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SECONDS = 20  #: deterministic time limit


def networks() -> Iterator[tuple[str, onnx.ModelProto]]:
    for make in NETWORKS:
        yield make.__name__, make()
    for path in sorted(LIGHT.glob("*.onnx")):
        if path.stem != "light_resnet50":
            yield path.stem, onnx.load(path)


def sizes(problem: Problem) -> dict[int, str]:
    """The scratchpads for a network, and which rules give each; a peak that may be too large has a question mark."""
    largest = max(map(problem.working_set, problem.program_order))
    peak = least_peak(problem, SECONDS)
    found: dict[int, str] = {}
    for rule, size in (("R", largest), ("H", (largest + peak.bytes) // 2), ("P" if peak.proven else "P?", peak.bytes)):
        found[size] = found.get(size, "") + rule
    return found


def average(title: str, pairs: list[tuple[int, int]]) -> str:
    """``pairs``: bytes of a schedule and of its baseline, of which some are 0: nothing to reduce."""
    moving = [(moved, baseline) for moved, baseline in pairs if baseline]
    if not moving:
        return f"{title}: no baseline moves anything"
    shares = [1 - moved / baseline for moved, baseline in moving]
    total = 1 - sum(moved for moved, _ in moving) / sum(baseline for _, baseline in moving)
    return f"{title}: {sum(shares) / len(shares):.1%} on average over {len(moving)} of {len(pairs)}, {total:.1%} of all bytes"


def main(names: list[str]) -> int:
    join = "--separate" not in names
    names = [name for name in names if name != "--separate"]
    columns = ("network", "operators", "weights", "size", "KiB", "baseline", "in order", "free", "bound", "less", "seconds")
    table = Table(*columns)
    results: list[tuple[str, int, int, int]] = []  # rules, bytes of the baseline, in program order, in a free order
    unproven = []
    for name, model in networks():
        if names and name not in names:
            continue
        for weights in (False, True):
            network = footprint(model, bits=8, weights=weights, join=join)
            for budget, rules in sizes(network.problem(1)).items():
                problem = network.problem(budget)
                ordered = solve(problem, SECONDS)
                start = time.monotonic()
                free = solve(replace(problem, reorder=True), SECONDS)
                seconds = time.monotonic() - start
                baseline = best_fit(problem).external_bytes
                results.append((rules, baseline, ordered.external_bytes, free.external_bytes))
                unproven += [f"{name} {rules} {order}" for s, order in ((ordered, "in order"), (free, "free")) if not s.proven]
                row = (
                    name, len(problem.operators), "with" if weights else "", rules, f"{budget / 1024:g}", f"{baseline:,}",
                    f"{ordered.external_bytes:,}", f"{free.external_bytes:,}", f"{free.bound:,}",
                    f"{1 - free.external_bytes / baseline:.0%}" if baseline else "", f"{seconds:.1f}",
                )  # fmt: skip
                table.add_row(*map(str, row))
                print(*row, file=sys.stderr, flush=True)
    Console(width=140).print(table)
    for rule in ("R", "H", "P", ""):
        chosen = [result for result in results if rule in result[0]]
        title = f"size {rule}" if rule else "all"
        print(average(f"{title}, in order", [(ordered, baseline) for _, baseline, ordered, _ in chosen]))
        print(average(f"{title}, free", [(free, baseline) for _, baseline, _, free in chosen]))
    print("not proven:", ", ".join(unproven) or "none")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
