"""Sums of more weights than the engine's memory holds, or than one instruction can name: a portion after the other."""

from dataclasses import replace

import pytest

from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Load, Multiply, Place
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from tests.network_specs import Conv, Dense, NetworkSpec
from tests.overlay.networks import machine, of_spec, output, stored
from tests.overlay.test_lower import check

ENGINE = Engine(rows=4, columns=4, lanes=4, scratchpad=1 << 14, weights=1 << 12, sums=64, scales=256, bus=4)
CASES = {
    "rows of the window": (NetworkSpec(size=(7, 6, 5), layers=(Conv(channels=6, kernel=(3, 3), pads=(1, 1, 1, 1)),)), 40),
    "elements of a row": (NetworkSpec(size=(7, 6, 9), layers=(Conv(channels=3, kernel=(3, 3), dilations=(1, 2)),)), 30),
    "channels": (NetworkSpec(size=(3, 4, 50), layers=(Conv(channels=6, kernel=(2, 3)),)), 24),
    "a tile at a time": (NetworkSpec(size=(3, 4, 10), layers=(Conv(channels=6, kernel=(1, 3)),)), 7),
    "groups": (NetworkSpec(size=(5, 5, 24), layers=(Conv(channels=6, kernel=(3, 3), groups=2),)), 20),
    "depthwise": (NetworkSpec(size=(7, 6, 5), layers=(Conv(channels=5, kernel=(5, 5), groups=0, pads=(2, 2, 2, 2)),)), 12),
    "dense": (NetworkSpec(size=(1, 1, 300), dense=(Dense(channels=9),)), 100),
    "a mean": (NetworkSpec(size=(9, 20, 5), pool="GlobalAveragePool"), 50),
}  #: a network, and how many entries of weights there are


@pytest.mark.parametrize("name", CASES)
def test_portions(name):
    spec, weights = CASES[name]
    network = of_spec(spec)
    whole = check(ENGINE, network)
    assert all(i.first for i in whole.program if isinstance(i, Multiply))
    engine = replace(ENGINE, weights=weights)
    compiled = check(engine, network)
    assert not all(i.first for i in compiled.program if isinstance(i, Multiply))


ALWAYS = ("dense", "depthwise")  #: in Verilog; the others with the long tests


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in ALWAYS else pytest.mark.slow) for n in CASES])
def test_in_verilog(name):
    spec, weights = CASES[name]
    network = of_spec(spec)
    engine = replace(ENGINE, weights=weights)
    compiled = compile_graph(network.graph, engine)
    made = machine(compiled, network)
    run = simulate(engine, compiled.program, made.external)
    made.external = run.external
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()


def test_equal_weights_are_loaded_once():
    """Those of a mean are all one."""
    spec, _ = CASES["a mean"]
    program = check(replace(ENGINE, weights=63), of_spec(spec)).program
    assert len([i for i in program if isinstance(i, Multiply)]) > 2
    assert len([i for i in program if isinstance(i, Load) and i.place == Place.WEIGHTS]) <= 4


@pytest.mark.parametrize("rows", [1, 2])
def test_more_tiles_than_an_instruction_counts(rows):
    engine = replace(ENGINE, rows=rows, taps=1, weights=1 << 13)
    network = of_spec(NetworkSpec(size=(1, 1, 2500), dense=(Dense(channels=3),)))
    program = check(engine, network).program
    assert [i.k0_count for i in program if isinstance(i, Multiply)] == ([1023, 1023, 454] if rows == 1 else [1023, 227])


def test_more_weights_than_an_instruction_loads():
    engine = replace(ENGINE, rows=16, columns=256, weights=1 << 14, scratchpad=1 << 16)
    network = of_spec(NetworkSpec(size=(1, 1, 4096), dense=(Dense(channels=4),)))
    program = check(engine, network).program
    assert sorted({i.size for i in program if isinstance(i, Load) and i.place == Place.WEIGHTS}) == [16 * 256, 4080 * 256]
