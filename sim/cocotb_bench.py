"""The cocotb test that runs a generated test bench (hwgen/hardware/bench.py) on the emitted Verilog.

Python is off the per-cycle path: the clock runs in C++, the Verilog harness moves the words and writes what it saw to
files, and this test only looks up now and then whether all frames are through.
"""

import json
import os
import time
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer

PERIOD_NS = 10


@cocotb.test()
async def run(dut):
    """Reset, then let the harness run until all frames are out, nothing moves any more, or the cycle limit is met."""
    folder = Path(os.environ["HWGEN_RUN"])
    limit = int(os.environ["HWGEN_LIMIT"])
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    await Timer(4 * PERIOD_NS + 1, "ns")
    dut.rst.value = 0
    chunk, began = 500, time.perf_counter()
    while not dut.stopped.value and int(dut.cycle.value) < limit:
        await Timer(chunk * PERIOD_NS, "ns")
        chunk = min(chunk * 2, 20_000)
        temporary = folder / "progress.tmp"
        temporary.write_text(str(int(dut.frames_out.value)))
        temporary.replace(folder / "progress")
    seconds, cycles = time.perf_counter() - began, int(dut.cycle.value)
    dut.report.value = 1
    await Timer(2 * PERIOD_NS, "ns")
    stopped, complete = bool(dut.stopped.value), bool(dut.complete.value)
    run = {"complete": complete, "stopped": stopped, "cycles": cycles, "seconds": seconds}
    (folder / "run.json").write_text(json.dumps(run))
