"""Operators one by one: compiled, on the simulator of instructions and in Verilog, every tensor as ONNX Runtime has it."""

import pytest

from hwgen.overlay.engine import Engine
from hwgen.overlay.simulation import simulate
from tests.network_specs import Conv, NetworkSpec, Pad, Pool, Unary
from tests.overlay.networks import Case, machine, of_spec, output, stored
from tests.overlay.test_lower import check

ENGINE = Engine(rows=4, columns=4, lanes=4, scratchpad=1 << 14, weights=1 << 12, sums=64, scales=256, bus=4)


def exact(engine: Engine, network: Case) -> None:
    """In both simulations."""
    compiled = check(engine, network)
    made = machine(compiled, network)
    made.external = simulate(engine, compiled.program, made.external).external
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()


CONV = Conv(channels=5, kernel=(3, 3), pads=(1, 1, 1, 1))
PADS = {
    "alone": (Pad(pads=(1, 2, 3, 1), value=7),),
    "one side": (Pad(pads=(0, 0, 0, 2), value=1),),
    "before a border": (Pad(pads=(2, 1, 1, 0)), CONV),
    "behind sums": (CONV, Pad(pads=(1, 1, 1, 1), value=3), Unary(operator="Sigmoid")),
    "twice": (Pad(pads=(2, 0, 0, 1), value=5), Pad(pads=(1, 1, 1, 1), value=9), CONV),
    "before a pooling": (
        Unary(operator="Tanh"),
        Pad(pads=(3, 3, 3, 3)),
        Pool(operator="MaxPool", kernel=(3, 2), strides=(2, 2)),
    ),
}


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", PADS)
def test_pad(name, unsigned):
    exact(ENGINE, of_spec(NetworkSpec(size=(6, 7, 3), layers=PADS[name], unsigned=unsigned)))
