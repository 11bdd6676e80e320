"""Frames of the digits network through the simulated board on a line that damages what passes.

python -m benchmarks.host_link [FRAMES] [FAULTS PER BYTE] [SEED]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hwgen import flow
from hwgen.demo import MODEL
from hwgen.errors import HwgenError
from hwgen.frontend import import_model, load_onnx
from hwgen.host.device import Device
from hwgen.host.serve import simulated_board
from hwgen.inputs import Frames, host_outputs, random_frames
from hwgen.output import MODEL as MODEL_FILE
from tests.host.noise import NoisyLine

BATCH = 500  #: frames of one run


def main(count: int = 10_000, rate: float = 5e-4, seed: int = 1) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "digits"
        flow.build(MODEL, "ulx3s-85f", folder)
        model = load_onnx(folder / MODEL_FILE)
        graph = import_model(model)
        frames = random_frames(graph, count, seed)
        tensors, _ = flow.expected_tensors(graph, model, frames)
        expected = host_outputs(graph, tensors[graph.output])
        wrong = hangs = resent = damaged = sessions = 0
        began = time.perf_counter()
        with simulated_board(folder) as board, NoisyLine(board.port, rate=rate, seed=seed) as line:
            for start in range(0, count, BATCH):
                part = slice(start, min(start + BATCH, count))
                try:
                    with Device(folder, line.port) as device:
                        result = device.measure(Frames(model=frames.model[part], hardware=frames.hardware[part]))
                except HwgenError as error:
                    print(f"frames {part.start}..{part.stop - 1}: {error}")
                    hangs += 1
                    continue
                wrong += int(np.any(result.outputs != expected[part], axis=-1).sum())
                resent, damaged = resent + result.resent_bytes, damaged + result.damaged_packets
                sessions += result.sessions
                print(f"{part.stop} frames, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            faults = ", ".join(f"{n} {what}" for what, n in sorted(line.counts.items()))
        seconds = time.perf_counter() - began
        print(f"frames {count}, wrong answers {wrong}, hangs {hangs}, {seconds:.0f} s")
        print(f"faults injected: {line.counts.total()} ({faults})")
        print(f"sessions begun anew {sessions}, bytes sent again {resent}, damaged packets from the board {damaged}")


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float, int), sys.argv[1:], strict=False)))
