"""Networks on overlay engines, simulated: cycles beside what was predicted, the least possible, and published figures.

``python -m benchmarks.overlay [NAME ...]`` from the repository; networks of the folder of models are left out where that is not
there. One frame each, from start to done, every tensor that is written to external memory compared with ONNX Runtime.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from benchmarks.large_networks import LARGE, images, quantised
from hwgen.expected import expected_tensors
from hwgen.frontend import import_model
from hwgen.frontend.calibration import quantize_float
from hwgen.graph import Linear
from hwgen.inputs import make_frames, random_frames
from hwgen.overlay.clock import predict
from hwgen.overlay.compiled import layers
from hwgen.overlay.engine import Engine
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from hwgen.overlay.timing import MemoryTiming
from hwgen.overlay_flow import engine_part

MODELS = Path(os.environ.get("HWGEN_MODELS", Path(__file__).parents[2] / "shared" / "models"))
USUAL = MemoryTiming()
NNGEN = MemoryTiming(latency=10, silent=4, period=20)  #: the memory behind which NNgen 1.3.4 was measured


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network on an engine; ``others``: what else is known, in cycles."""

    network: str
    engine: Engine
    memory: MemoryTiming = USUAL
    goal: int
    others: str = ""


def engine(rows: int, columns: int, lanes: int, kib: int, bus: int = 8, digit: int = 16) -> Engine:
    return Engine(
        rows=rows, columns=columns, lanes=lanes, taps=min(3, rows), scratchpad=kib << 10, weights=1 << 14, sums=2048,
        scales=2048, bus=bus, digit=digit,
    )  # fmt: skip


CASES = (
    Case(network="kws", engine=engine(12, 13, 16, 64), goal=30_000, others="best per-layer mapping 18,265"),
    Case(network="ic", engine=engine(16, 16, 16, 128), goal=57_000, others="limit 48,834"),
    Case(network="vww", engine=engine(16, 16, 16, 256), goal=0),
    Case(network="ad", engine=engine(16, 16, 16, 64), goal=0),
    Case(network="resnet18", engine=engine(16, 16, 16, 2048), goal=8_000_000, others="SCALE-Sim 8.01 M"),
    Case(network="mobilenet", engine=engine(16, 16, 16, 2048), goal=3_200_000, others="SCALE-Sim 5.07 M"),
    Case(network="ic", engine=engine(3, 3, 4, 128, 4, 8), memory=NNGEN, goal=1_550_000, others="NNgen 1,754,225"),
    Case(network="ic", engine=engine(6, 6, 8, 128, 4, 8), memory=NNGEN, goal=420_000, others="NNgen 543,689"),
    Case(network="matmul", engine=engine(8, 2, 2, 16, 4, 16), memory=NNGEN, goal=18_500, others="NNgen 21,713"),
    Case(network="pointwise", engine=engine(8, 2, 2, 32, 4, 16), memory=NNGEN, goal=34_000, others="NNgen 34,825"),
    Case(network="separable", engine=engine(3, 3, 4, 32, 4, 16), memory=NNGEN, goal=80_000, others="NNgen 1,031,257"),
)


def _layers(shape: tuple[int, int, int], *groups: int) -> onnx.ModelProto:
    """Convolutions of ``shape`` = (C, H, W), 3 × 3 depthwise or 1 × 1, with Relu."""
    rng, nodes, constants, x = np.random.default_rng(0), [], [], "x"
    for k, group in enumerate(groups):
        kernel = 3 if group > 1 else 1
        weights = rng.normal(size=(shape[0], shape[0] // group, kernel, kernel)).astype(np.float32)
        constants += [
            numpy_helper.from_array(weights, f"w{k}"),
            numpy_helper.from_array(np.zeros(shape[0], np.float32), f"b{k}"),
        ]
        nodes.append(
            helper.make_node("Conv", [x, f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", group=group, pads=[kernel // 2] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"], f"relu{k}"))
        x = f"r{k}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]) for name in ("x", x)]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], constants)
    samples = rng.normal(size=(4, *shape)).astype(np.float32)
    return quantize_float(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), samples)


SMALL = {
    "matmul": lambda: _layers((64, 8, 8), 1),
    "pointwise": lambda: _layers((64, 25, 5), 1),
    "separable": lambda: _layers((64, 25, 5), 64, 1),
}


def _model(name: str) -> onnx.ModelProto:
    if name in LARGE:
        return quantised(name)
    return SMALL[name]() if name in SMALL else onnx.load(MODELS / name / f"{name}_int8_qdq_nchw.onnx")


def _rows(names: list[str]) -> Iterator[tuple[str, ...]]:
    for case in CASES:
        name, e = case.network, case.engine
        if (names and name not in names) or (name not in LARGE and name not in SMALL and not MODELS.is_dir()):
            continue
        model = _model(name)
        whole = import_model(model)
        graph, _ = engine_part(whole)
        frames = make_frames(whole, images(1, 9)) if name in LARGE else random_frames(whole, 1)
        start = time.monotonic()
        compiled = compile_graph(graph, e, memory=case.memory)
        seconds = time.monotonic() - start
        image = compiled.external.copy()
        compiled.regions[graph.input].write(image, frames.hardware[0])
        run = simulate(e, compiled.program, image, case.memory)
        expected, _ = expected_tensors(whole, model, frames)
        wrong = (compiled.regions[graph.output].read(run.external) != expected[graph.output][0]).sum()
        predicted = predict(compiled.program, e, case.memory)
        of_layers = (layers(graph, compiled, ends) for ends in (predicted, run.ends_of(compiled.program)))
        errors = [(was.end - was.start) / max(is_.end - is_.start, 1) - 1 for was, is_ in zip(*of_layers, strict=True)]
        macs = sum(n.weights[0].size * graph.tensors[n.output].elements for n in graph.nodes if isinstance(n, Linear))
        least = -(-macs // (e.rows * e.columns))
        yield (
            name, f"{e.rows} × {e.columns}", f"{8 * e.bus} bits", f"{run.cycles:,}",
            f"{(predicted[-1] + 1) / run.cycles - 1:+.2%}", f"{max(errors, key=abs):+.2%}",
            f"{least:,}", f"{least / run.cycles:.0%}", f"{case.goal:,}" if case.goal else "", case.others,
            f"{run.bytes_read + run.bytes_written:,}", str(wrong), f"{seconds:.1f}",
        )  # fmt: skip


def main(names: list[str]) -> int:
    columns = (
        "network",
        "array",
        "bus",
        "cycles",
        "predicted",
        "a layer at worst",
        "least",
        "busy",
        "goal",
        "others",
        "bytes",
        "wrong",
        "compiled, s",
    )
    table = Table(*columns)
    for row in _rows(names):
        table.add_row(*row)
        print(" | ".join(row), flush=True)
    Console(width=160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
