"""Tensors larger than the scratchpad: bands of rows pass through buffers in it."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from hwgen.errors import HwgenError
from hwgen.overlay.clock import predict
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Load, Place, Unit
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.places import unplaced
from hwgen.overlay.schedule import arrangement
from hwgen.overlay.simulation import simulate
from hwgen.overlay.timing import MemoryTiming
from tests.network_specs import Branch, Conv, Dense, NetworkSpec, Pad, Pool, Unary
from tests.overlay.networks import case, machine, of_spec, output, race, stored
from tests.overlay.test_lower import check
from tests.shared_models import MODELS, needs_models

ENGINE = Engine(rows=4, columns=4, lanes=4, scratchpad=1 << 14, weights=1 << 12, sums=64, scales=256, bus=4, digit=16)
SAME = Conv(channels=6, kernel=(3, 3), pads=(1, 1, 1, 1))
CASES = {
    "convolutions": ((SAME, SAME), 500),
    "large borders": ((Conv(channels=5, kernel=(5, 3), pads=(4, 2, 3, 1)), Conv(channels=4)), 620),
    "strides": ((Conv(channels=8, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 0, 0)), Conv(channels=4)), 460),
    "a stride beyond the window": ((Conv(channels=8, kernel=(1, 1), strides=(3, 2)), SAME), 452),
    "dilation": ((Conv(channels=5, kernel=(3, 2), dilations=(2, 1), pads=(2, 0, 2, 1)), Conv(channels=4)), 520),
    "depthwise": ((Conv(channels=6, kernel=(5, 5), groups=0, pads=(2, 2, 2, 2)), Conv(channels=9)), 640),
    "groups": ((Conv(channels=6, kernel=(3, 1), groups=2, pads=(1, 0, 1, 0)),), 400),
    "maxima": ((SAME, Pool(operator="MaxPool", kernel=(3, 2), strides=(2, 2), pads=(1, 0, 1, 1)), SAME), 452),
    "functions": ((Conv(channels=9), Unary(operator="Sigmoid"), Unary(operator="Tanh")), 300),
    "a sum": ((Branch(join="Add", left=(SAME,), right=()), Unary(operator="Tanh")), 560),
    "side by side": ((Branch(join="Concat", left=(SAME,), right=(SAME,)), Conv(channels=3)), 900),
    "a pad": ((Pad(pads=(5, 1, 4, 2), value=7), SAME), 500),
    "averages": ((SAME, Pool(operator="AveragePool", kernel=(3, 3), pads=(1, 1, 0, 1), scale="real"), Conv(channels=7)), 640),
    "only one tensor": ((Conv(channels=1), Conv(channels=1, kernel=(3, 3))), 700),
}  #: layers on an image of 11 x 9 x 6, and bytes of the scratchpad


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_bands(name, unsigned):
    layers, size = CASES[name]
    network = of_spec(NetworkSpec(size=(11, 9, 6), layers=layers, unsigned=unsigned))
    exact(replace(ENGINE, scratchpad=size), network)
    in_verilog(replace(ENGINE, scratchpad=640), network)


def exact(engine, network):
    """In bands, on the simulator of instructions."""
    plan = arrangement(network.graph, engine, {n: unplaced(network.graph, n) for n in network.graph.tensors})
    assert plan.streams
    assert max(len(stream.bands) for stream in plan.streams.values()) > 1
    return plan, check(engine, network)


def in_verilog(engine, network):
    _, compiled = exact(engine, network)
    made = machine(compiled, network)
    memory = MemoryTiming(latency=30, silent=3, period=7, seed=5)
    made.external = simulate(engine, compiled.program, made.external, memory).external
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()


@pytest.mark.parametrize("weights", [1 << 12, 40])
@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (NetworkSpec(size=(12, 10, 6), layers=(Conv(channels=7),), dense=(Dense(channels=9),)), 300),
        (NetworkSpec(size=(12, 10, 6), pool="GlobalAveragePool"), 300),
        (NetworkSpec(size=(12, 10, 3), layers=(SAME,), pool="GlobalAveragePool", dense=(Dense(channels=5),)), 400),
    ],
    ids=["dense", "mean", "both"],
)
def test_sums_of_all_rows(spec, size, weights):
    """Added up band by band."""
    exact(replace(ENGINE, scratchpad=size, weights=weights), of_spec(spec))
    if weights == ENGINE.weights:
        in_verilog(replace(ENGINE, scratchpad=640), of_spec(spec))


@pytest.mark.parametrize(("weights", "times"), [(120, 2), (119, 12), (60, 12), (59, 36)])
def test_weights_come_again(weights, times):
    """For each band, where the memory does not hold those of all output channels, or of one column of the array."""
    layers = (Conv(channels=7, kernel=(3, 3), pads=(1, 1, 1, 1)),)
    network = of_spec(NetworkSpec(size=(11, 11, 6), layers=layers))
    engine = replace(ENGINE, scratchpad=640, weights=weights)
    plan, compiled = exact(engine, network)
    (stream,) = plan.streams.values()
    assert len(stream.bands) == 6
    assert sum(isinstance(i, Load) and i.place == Place.WEIGHTS for i in compiled.program) == times


def test_every_size_down_to_a_row():
    """Right with any scratchpad, until a message says that there is none smaller."""
    network = of_spec(NetworkSpec(size=(9, 5, 4), layers=(SAME, Branch(join="Add", left=(SAME,), right=()), Conv(channels=2))))
    sizes, message = [], ""
    for size in range(1500, 0, -ENGINE.banks * 7):
        engine = replace(ENGINE, scratchpad=size // ENGINE.banks * ENGINE.banks)
        try:
            check(engine, network)
        except HwgenError as error:
            message = str(error)
            break
        sizes.append(size)
    assert len(sizes) > 30
    assert message.startswith("conv1: a row of its output and what it is made of take ")
    least = int(re.findall(r" take (\d+) bytes", message)[0])
    check(replace(ENGINE, scratchpad=least), network)
    with pytest.raises(HwgenError, match=rf"^\w+: a row of its output .* the scratchpad has {least - ENGINE.banks}; choose"):
        compile_graph(network.graph, replace(ENGINE, scratchpad=least - ENGINE.banks))


@needs_models
@pytest.mark.parametrize(("name", "size"), [("ic", 1 << 13), ("vww", 1 << 14), ("kws", 1 << 12)])
def test_networks(name, size):
    folder = MODELS / name
    network = case(folder / f"{name}_int8_qdq_nchw.onnx", folder / "samples.npz", frame=1)
    exact(Engine(rows=12, columns=13, lanes=8, scratchpad=size, weights=1 << 10, sums=2048, scales=1024), network)


@pytest.mark.parametrize("seed", range(3))
def test_units_out_of_step(seed):
    layers, size = CASES["a sum"]
    network = of_spec(NetworkSpec(size=(11, 9, 6), layers=layers))
    compiled = compile_graph(network.graph, replace(ENGINE, scratchpad=size))
    made, rng = machine(compiled, network), random.Random(seed)
    favourite = list(Unit)
    rng.shuffle(favourite)
    race(made, compiled.program, lambda able: min(able, key=favourite.index) if rng.random() < 0.9 else rng.choice(able))
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()


def test_time_beside_a_large_scratchpad():
    """Most of what comes and goes does so while the array works."""
    network = of_spec(NetworkSpec(size=(32, 32, 8), layers=(replace(SAME, channels=16), replace(SAME, channels=16))))
    engine = replace(ENGINE, scratchpad=1 << 16, bus=8)
    whole, bands = (compile_graph(network.graph, e).program for e in (engine, replace(engine, scratchpad=1 << 13)))
    cycles = [predict(program, engine, MemoryTiming())[-1] for program in (whole, bands)]
    assert cycles[1] < 1.15 * cycles[0]
    assert np.all([i.size > 0 for i in bands if isinstance(i, Load)])
