"""Schedules of networks on a scratchpad memory: bytes moved beyond what has to be, proven least, beside a baseline.

``python -m benchmarks.schedules [--reorder] [NAME ...]`` from the repository; the order of the operators is the file's, or
free. The networks are those of benchmarks/networks.py and the light models of the onnx package, by their shapes. Budgets: the
largest operator's inputs and outputs, without and with the weights. Baseline: program order, the tensor used last leaves first
(Belady), best fit.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
from rich.console import Console
from rich.table import Table

from benchmarks.networks import NETWORKS
from hwgen.frontend.footprint import footprint
from hwgen.ilp.scratchpad import best_fit, solve

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SECONDS = 20  #: deterministic time limit


def networks() -> Iterator[tuple[str, onnx.ModelProto]]:
    for make in NETWORKS:
        yield make.__name__, make()
    for path in sorted(LIGHT.glob("*.onnx")):
        yield path.stem, onnx.load(path)


def main(names: list[str]) -> int:
    reorder = "--reorder" in names
    names = [name for name in names if name != "--reorder"]
    columns = ("network", "operators", "weights", "KiB", "bytes", "baseline", "less", "bound", "proven", "seconds")
    table = Table(*columns)
    shares: list[float] = []
    moved: list[int] = []
    baselines: list[int] = []
    for name, model in networks():
        if names and name not in names:
            continue
        for weights in (False, True):
            network = footprint(model, bits=8, weights=weights)
            largest = network.problem(1)
            problem = network.problem(max(largest.working_set(k) for k in largest.program_order), reorder=reorder)
            start = time.monotonic()
            found = solve(problem, SECONDS)
            seconds = time.monotonic() - start
            baseline = best_fit(problem).external_bytes
            less = 1 - found.external_bytes / baseline if baseline else None
            shares += [less] if less is not None else []
            moved.append(found.external_bytes)
            baselines.append(baseline)
            row = (
                name, len(problem.operators), "with" if weights else "", f"{problem.budget / 1024:g}",
                f"{found.external_bytes:,}", f"{baseline:,}", "" if less is None else f"{less:.0%}", f"{found.bound:,}",
                "yes" if found.proven else "no", f"{seconds:.1f}",
            )  # fmt: skip
            table.add_row(*map(str, row))
            print(*row, file=sys.stderr)
    Console(width=140).print(table)
    if shares:
        print(f"{sum(shares) / len(shares):.0%} less than the baseline on average, over {len(shares)} problems that have one")
        print(f"{1 - sum(moved) / sum(baselines):.0%} of all bytes together")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
