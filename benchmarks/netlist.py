"""The digits network on icebreaker: its netlist simulated against ONNX Runtime.

``python -m benchmarks.netlist [FRAMES]`` from the repository.
"""

import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

from hwgen.flow import build
from hwgen.netlist_check import check_netlist, netlist_verilog

BOARD = "icebreaker"
MODEL = Path(str(resources.files("hwgen.models"))) / "digits" / "digits_cnn_int8_qdq_sym_perch.onnx"


def main(frames: int) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "net"
        built = build(MODEL, BOARD, folder)
        start = time.time()
        netlist = netlist_verilog(folder)
        synthesised = time.time()
        result = check_netlist(folder, netlist, frames)
    print(f"{result.frames} frames, {result.elements_compared} elements, {result.mismatches} mismatches")
    print(
        f"interval {result.interval_cycles} cycles (predicted {built.interval_cycles}), latency {result.latency_cycles}", end=""
    )
    print(f" (predicted {built.latency_cycles})")
    print(f"netlist {synthesised - start:.0f} s, simulation {time.time() - synthesised:.0f} s", end="")
    print(f", {result.cycles_per_second / 1000:.0f} kcycles/s")
    return int(result.mismatches > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
