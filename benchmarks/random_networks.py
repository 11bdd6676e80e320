"""Random networks as emitted Verilog against ONNX Runtime: mismatches, hangs, and how good the predictions are.

``python -m benchmarks.random_networks [FIRST COUNT]`` from the repository: seeds FIRST .. FIRST + COUNT - 1 (0 500).
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hwgen.board import load_board
from hwgen.errors import HwgenError
from hwgen.oracle import Oracle
from hwgen.simulation import simulate
from tests.accelerator import build_network, random_board, random_objective, warm_intervals
from tests.random_networks import build, frames, random_spec


def main(first: int, count: int) -> int:
    networks = elements = wrong = hangs = exact = refused = unknown = 0
    errors: list[float] = []
    start = time.time()
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        spec = random_spec(rng)
        board = random_board(rng, load_board("ulx3s-85f"))
        with tempfile.TemporaryDirectory() as folder:
            model, objective = build(spec), random_objective(rng)
            try:
                Oracle(model).run(frames(spec))
            except HwgenError as error:
                unknown += 1  # nothing to compare with
                print(f"seed {seed}: {error}", flush=True)
                continue
            try:
                built = build_network(model, frames(spec), board, Path(folder) / "net", objective)
            except HwgenError as error:
                refused += 1
                print(f"seed {seed}: {error}", flush=True)
                built = build_network(model, frames(spec), load_board("ulx3s-85f"), Path(folder) / "net", objective)
            timing = built.choice.timing
            for stalls in (None, seed):
                try:
                    result = simulate(built.folder, built.inputs, built.expected, stalls=stalls)
                except HwgenError as error:
                    hangs += 1
                    print(f"seed {seed}: {error}", flush=True)
                    continue
                elements += result.elements_compared
                wrong += result.mismatches
                if result.mismatches:
                    print(f"seed {seed}: {result.first_mismatch}", flush=True)
                if stalls is None:
                    measured = warm_intervals(built, result, timing.interval)
                    same = measured == [timing.interval] * len(measured)
                    exact += same
                    errors.append(abs(result.latency_cycles - timing.latency) / result.latency_cycles)
                    if not same:
                        print(f"seed {seed}: interval {measured}, predicted {timing}", flush=True)
        networks += 1
        if networks % 10 == 0 or seed == first + count - 1:
            print(
                f"{networks} networks, {elements:,} elements: {wrong} mismatches, {hangs} hangs, {refused} refused for a board "
                f"too small and built for a larger one, {unknown} that ONNX Runtime does not run, interval exact in {exact}, "
                f"latency within 1 % in {sum(e <= 0.01 for e in errors)}, within 5 % in {sum(e <= 0.05 for e in errors)}, "
                f"worst {max(errors):.1%}; {time.time() - start:.0f} s",
                flush=True,
            )
    return 1 if wrong or hangs else 0


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:3] or (0, 500))))
