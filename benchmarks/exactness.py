"""Every integer tensor of the networks, all shared inputs: hwgen's integer reference against ONNX Runtime.

``python -m benchmarks.exactness [FILE ...]`` from the repository; models as tests/shared_models.py finds them.
"""

import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from hwgen.flow import expected_tensors, read_graph
from hwgen.frontend import load_onnx
from hwgen.frontend.calibration import load_samples, quantize_float
from hwgen.inputs import load_frames
from hwgen.mapping.candidates import operators
from hwgen.reference import run_graph
from tests.shared_models import FILES, MODELS

FLOAT = "digits/digits_cnn_float.onnx"


def main(files: list[str]) -> int:
    table = Table("network", "frames", "tensors", "elements", "mismatches", "fixes", "seconds")
    total = 0
    for file in files or [*FILES, FLOAT]:
        path, start = MODELS / file, time.time()
        model = load_onnx(path)
        if file == FLOAT:
            model = quantize_float(model, load_samples(path.parent / "samples.npz"))
        graph = read_graph(model, path)
        frames = load_frames(path.parent / "samples.npz", graph)
        expected, compared = expected_tensors(graph, model, frames)
        ops = operators(graph)
        got = run_graph(graph, ops, frames.hardware)
        wrong = sum(int(np.count_nonzero(got[name] != array)) for name, array in expected.items())
        fixes = sum(len(op.requantiser.exact.fixes) for op in ops if hasattr(op, "requantiser"))
        row = (path.stem, len(frames), len(expected), f"{compared:,}", wrong, fixes, f"{time.time() - start:.1f}")
        table.add_row(*map(str, row))
        total += wrong
    Console(width=110).print(table)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
