"""The networks on ulx3s-85f, simulated as emitted Verilog with and without stalls, against ONNX Runtime and the predictions.

``python -m benchmarks.simulation [--dsp-only] [FILE ...]`` from the repository; models as tests/shared_models.py finds them.
"""

import sys
import tempfile
import time
from math import ceil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hwgen.flow import build, simulate
from tests.shared_models import FILES, MODELS

BOARD = "ulx3s-85f"
FRAMES = {"ad": 64, "digits": 360}
FLOAT = "digits/digits_cnn_float.onnx"


def main(arguments: list[str]) -> int:
    dsp_only, files = "--dsp-only" in arguments, [a for a in arguments if a != "--dsp-only"]
    speed = Table(
        "network", "MACs", "multipliers", "limit", "interval", "busy", "latency", "predicted", "LUT", "FF", "BRAM", "build s"
    )
    exact = Table("network", "stalls", "frames", "elements", "mismatches", "interval", "latency", "kcycles/s", "seconds")
    wrong = 0
    for file in files or [*FILES, FLOAT]:
        path = MODELS / file
        samples = path.parent / "samples.npz"
        with tempfile.TemporaryDirectory() as temporary:
            start = time.time()
            calibration = samples if file == FLOAT else None
            built = build(path, BOARD, Path(temporary) / "net", calibration=calibration, dsp_only=dsp_only)
            seconds = time.time() - start
            for stalls in (False, 1):
                start = time.time()
                run = simulate(Path(temporary) / "net", samples, limit=FRAMES.get(path.parent.name, 10), stalls=stalls)
                row = (
                    path.stem, "yes" if stalls else "no", run.frames, f"{run.elements_compared:,}", run.mismatches,
                    run.interval_cycles, run.latency_cycles, f"{run.cycles_per_second / 1000:.0f}",
                    f"{time.time() - start:.0f}",
                )  # fmt: skip
                exact.add_row(*map(str, row))
                wrong += run.mismatches
                print(row, file=sys.stderr, flush=True)
        r = built.resources
        row = (
            path.stem, f"{built.macs:,}", built.multipliers, f"{ceil(built.macs / built.multipliers):,}",
            f"{built.interval_cycles:,}", f"{built.macs / built.multipliers / built.interval_cycles:.1%}",
            f"{built.latency_cycles:,}",
            "proven" if built.proven else f"bound {built.bound}", f"{r.lut:,}", f"{r.ff:,}", r.bram, f"{seconds:.1f}",
        )  # fmt: skip
        speed.add_row(*map(str, row))
        print(row, file=sys.stderr, flush=True)
    console = Console(width=150)
    console.print(speed)
    console.print(exact)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
