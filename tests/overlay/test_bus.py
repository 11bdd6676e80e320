"""The engine at cocotbext-axi's memory (engine_bench.py): what AXI demands, pauses on all channels, resets, errors."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.lib.wiring import In

from hwgen.demo import MODEL, SAMPLES
from hwgen.hardware.verilator import verilate
from hwgen.hardware.verilog import convert
from hwgen.overlay.isa import encode
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.units.top import OverlayTop
from tests.hardware.cocotb_run import bench, run_cocotb
from tests.network_specs import Conv, NetworkSpec, Pad, Pool
from tests.overlay.networks import Case, case, machine, of_spec, output, stored
from tests.overlay.programs import Program, random_program
from tests.overlay.test_engine import SHAPES

ENGINE = replace(SHAPES["4x4"], bus=16)
CLOCK = In(1)
NAMES = ["programs", "a_reset_in_the_middle", "starting", "errors", "any_order"]


#: Larger than the scratchpad, with more weights than their memory holds, a border of its own, averages over windows.
LARGE = NetworkSpec(
    size=(20, 4, 12),
    layers=(
        Pad(pads=(1, 1, 1, 2), value=5),
        Conv(channels=60, activation="Relu"),
        Conv(channels=5, kernel=(3, 3), strides=(2, 2), pads=(1, 0, 1, 1)),
        Pool(operator="AveragePool", kernel=(3, 3), pads=(1, 1, 1, 0), scale="real"),
    ),
)


def program_of(network: Case) -> Program:
    """Compiled; what it makes of external memory is what ONNX Runtime says."""
    compiled = compile_graph(network.graph, ENGINE)
    made = machine(compiled, network)
    before = made.external.copy()
    made.run(compiled.program)
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()
    return Program(instructions=compiled.program, before=before, after=made.external)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Name of each cocotb test, and its failure."""
    run = tmp_path_factory.mktemp("run")
    programs = [random_program(ENGINE, kind, seed, 8) for seed, kind in enumerate(("store", "load", "all", "all"))]
    programs += [program_of(of_spec(LARGE)), program_of(case(MODEL, SAMPLES))]
    for number, program in enumerate(programs):
        begin = -(-len(program.before) // 32) * 32 + 16 * number  # words of 32 bytes begin with any beat
        words = np.frombuffer(b"".join(map(encode, program.instructions)), np.uint8)
        memory = np.concatenate([program.before, np.zeros(begin - len(program.before), np.uint8), words])
        np.savez(run / f"{number}.npz", before=memory, after=program.after, program=begin, count=len(program.instructions))
    top = OverlayTop(ENGINE)
    sources = {
        "tb.v": bench("overlay", {"clk": CLOCK, "rst": CLOCK, **top.signature.members}),
        "top.v": convert(top, "overlay"),
    }
    model = verilate(sources, "tb")
    return run_cocotb(model, "tests.overlay.engine_bench", run, {"HWGEN_RUNS": str(run), "HWGEN_BUS": str(ENGINE.bus)})


@pytest.mark.parametrize("name", NAMES)
def test_bus(outcome, name):
    cases, log = outcome
    assert sorted(cases) == sorted(NAMES)
    assert cases[name] is None, f"{cases[name]}\n{log[-6000:]}"
