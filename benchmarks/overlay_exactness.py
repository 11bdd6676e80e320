"""Networks on overlay engines with weights in external memory of random latency, against ONNX Runtime.

``python -m benchmarks.overlay_exactness [NAME ...]`` from the repository: built for each array, two frames simulated with
``--stalls``, every tensor compared.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.resources import FILES
from hwgen.flow import build, simulate
from hwgen.overlay.shape import Wish
from hwgen.overlay.timing import MemoryTiming
from hwgen.results import OverlaySimulateResult
from tests.shared_models import MODELS

BOARD = "zcu102"  # with room for either
ARRAYS = (12, 13), (16, 16)
MEMORY = MemoryTiming(latency=10, silent=4, period=20)
COLUMNS = ("network", "array", "frames", "elements", "mismatches", "cycles")


def main(names: list[str]) -> int:
    table, wrong = Table(*COLUMNS), 0
    for name in names or FILES:
        for rows, columns in ARRAYS:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / name
                build(MODELS / FILES[name], BOARD, folder, style="overlay", wish=Wish(array=(rows, columns), bus=8))
                run = simulate(folder, MODELS / name / "samples.npz", limit=2, stalls=1, memory=MEMORY)
            assert isinstance(run, OverlaySimulateResult)
            row = (
                name, f"{rows} × {columns}", run.frames, f"{run.elements_compared:,}", run.mismatches,
                f"{run.latency_cycles:,}",
            )  # fmt: skip
            table.add_row(*map(str, row))
            print(*row, file=sys.stderr, flush=True)
            wrong += run.mismatches
    Console(width=160).print(table)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
