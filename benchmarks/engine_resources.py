"""What overlay engines take of the ECP5: what the model predicts against what yosys makes.

``python -m benchmarks.engine_resources``: as last recorded in engine_resources.csv; with ``--sweep`` all are synthesised anew,
which takes half an hour. How it is counted: :mod:`benchmarks.resources`.
"""

import csv
import sys
from dataclasses import astuple
from pathlib import Path

from rich.console import Console

from benchmarks.resources import NAMES, cells, describe, measure, table
from hwgen.cost import BLOCKS_18K, Resources
from hwgen.overlay.engine import Engine
from hwgen.overlay.resources import engine_resources
from hwgen.overlay.simulation import NAME, verilog

__all__ = ["ENGINES", "RECORD", "recorded"]

RECORD = Path(__file__).with_suffix(".csv")


def _engine(
    rows: int, columns: int, lanes: int, kib: int, entries: tuple[int, int, int], bus: int, soft: int = 0, softmax: bool = False
) -> Engine:
    """``entries``: of the memories of weights, sums and scales."""
    weights, sums, scales = entries
    return Engine(
        rows=rows, columns=columns, lanes=lanes, taps=min(3, rows), scratchpad=kib << 10, weights=weights, sums=sums,
        scales=scales, bus=bus, digit=16, soft=soft, softmax=softmax,
    )  # fmt: skip


ENGINES = (
    _engine(5, 3, 4, 8, (512, 512, 64), 4),
    _engine(8, 4, 2, 8, (512, 512, 64), 4),
    _engine(3, 8, 8, 8, (512, 512, 64), 8),
    _engine(4, 4, 16, 8, (512, 512, 64), 4),
    _engine(4, 4, 4, 16, (512, 512, 64), 32),
    _engine(16, 4, 4, 16, (512, 512, 64), 4),
    _engine(8, 8, 8, 16, (512, 512, 64), 8, 8),
    _engine(9, 17, 4, 32, (1024, 1024, 512), 8),
    _engine(12, 16, 16, 64, (2048, 1024, 512), 8, 36),
    _engine(12, 16, 8, 64, (2048, 1024, 512), 8, 36),
    _engine(9, 16, 16, 64, (2048, 2048, 512), 32),
    _engine(12, 13, 16, 64, (16384, 2048, 2048), 8, 20),
    _engine(2, 64, 16, 32, (512, 256, 256), 8),
    _engine(8, 8, 8, 16, (512, 512, 64), 8, 8, softmax=True),
)


def recorded() -> dict[str, Resources]:
    """What yosys made of each engine."""
    if not RECORD.exists():
        return {}
    with RECORD.open() as file:
        _, *rows = csv.reader(file)
    return {text: Resources(**dict(zip(NAMES, map(int, numbers), strict=True))) for text, *numbers in rows}


def _sweep() -> None:
    """Synthesise all; each is recorded when it is done."""
    found: dict[str, Resources] = {}
    for k, engine in enumerate(ENGINES):
        found[describe(engine)] = measure(verilog(engine), NAME)[NAME]
        with RECORD.open("w", newline="") as file:
            rows = [[text, *map(str, astuple(resources))] for text, resources in found.items()]
            csv.writer(file, lineterminator="\n").writerows([["engine", *NAMES], *rows])
        print(f"{k + 1} of {len(ENGINES)}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    if "--sweep" in arguments:
        _sweep()
    shown = table("array", "lanes", "bus")
    measured = recorded()
    for engine in ENGINES:
        if describe(engine) in measured:
            first = f"{engine.rows} × {engine.columns}", str(engine.lanes), str(8 * engine.bus)
            shown.add_row(*first, *cells(engine_resources(engine, BLOCKS_18K), measured[describe(engine)]))
    Console(width=180).print(shown)


if __name__ == "__main__":
    main(sys.argv[1:])
