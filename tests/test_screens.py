import numpy as np
from rich.console import Console

from hwgen.cost import Resources
from hwgen.results import BuildResult, CheckResult, LayerRow, OperatorRow, SimulateResult
from hwgen.screens import build_screen, check_screen, digits_screen, simulate_screen

NODES = (
    OperatorRow(name="a[0]", op_type="Conv", status="supported", detail="conv0"),
    OperatorRow(name="b", op_type="LSTM", status="unsupported", detail="no engine", advice="unroll it"),
)
BUILT = BuildResult(
    style="dataflow", board="b", clock_mhz=100, folder="rtl_out/[x]", macs=1000, multipliers=16, interval_cycles=125,
    latency_cycles=250, resources=Resources(lut=50, ff=5, dsp=4), limits=Resources(lut=100, ff=100, dsp=16, bram=8),
    objective=125.0, bound=120.0, proven=False,
    layers=(LayerRow(name="conv0", templates="Window", unrolling="8 × 2", macs=1000, cycles=100, multipliers=16,
                     resources=Resources(bram=2)),),
)  # fmt: skip
SIMULATED = SimulateResult(
    frames=1, elements_compared=1234, mismatches=0, interval_cycles=None, latency_cycles=9, predicted_interval_cycles=5,
    predicted_latency_cycles=9, cycles_per_second=1e6,
)  # fmt: skip


def shown(screen):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(screen)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_check():
    result = CheckResult(board="b", clock_mhz=100, nodes=NODES, supported=False, fits=False, reason="some are not")
    assert shown(check_screen(result)) == [
        "node operator becomes, or why not what to do",
        "a[0] Conv supported conv0",
        "b LSTM unsupported no engine unroll it",
        "no not supported: 1 of 2 operators",
    ]
    unfit = CheckResult(board="b", clock_mhz=100, nodes=NODES[:1], supported=True, fits=False, reason="b is [too] small")
    assert shown(check_screen(unfit))[-1] == "no b is [too] small"
    fits = CheckResult(board="b", clock_mhz=100, nodes=NODES[:1], supported=True, fits=True, predicted_fps=12345.6)
    assert shown(check_screen(fits))[-1] == "ok fits b: 12,346 frames/s at 100 MHz"
    assert list(fits.to_json()) == ["supported", "nodes", "fits", "predicted_fps"]


def test_build():
    assert shown(build_screen(BUILT)) == [
        "layer templates unrolling MACs cycles multipliers busy block RAM LUT",
        "conv0 Window 8 × 2 1,000 100 16 80 % 2",
        "frame 1,000 MACs on 16 multipliers: at least 63 cycles",
        "interval 125 cycles = 800,000 frames/s, multipliers 50% busy",
        "latency 250 cycles = 2.5 µs at 100 MHz",
        "objective 125, not proven optimal: bound 120",
        "resources 50 LUT (50%), 5 FF (5%), 4 DSP (25%), 0 block RAM (0%)",
        "written to rtl_out/[x]",
    ]
    assert list(BUILT.to_json()) == [
        "style", "board", "folder", "macs", "multipliers", "interval_cycles", "latency_cycles", "resources", "objective",
        "bound", "proven",
    ]  # fmt: skip


def test_simulate():
    assert shown(simulate_screen(SIMULATED)) == [
        "ok 1,234 integers of 1 frame compared with ONNX Runtime: all equal",
        "cycles simulated predicted",
        "interval - 5",
        "latency 9 9",
        "simulated at 1,000,000 cycles/s",
    ]
    assert list(SIMULATED.to_json()) == [
        "frames", "elements_compared", "mismatches", "interval_cycles", "latency_cycles", "predicted_interval_cycles",
        "predicted_latency_cycles", "cycles_per_second",
    ]  # fmt: skip


def test_digits_show_the_wrong_ones_first():
    images = np.zeros((3, 8, 8))
    images[2, 0, 7] = 1
    lines = digits_screen(images, np.array([1, 2, 3]), np.array([1, 2, 8]), columns=2).plain.splitlines()
    assert lines[0] == " " * 14 + "@@" + " " * 20
    assert lines[-1].split() == ["8,", "label", "3", "1"]
