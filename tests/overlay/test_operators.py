"""Operators one by one: compiled, on the simulator of instructions and in Verilog, every tensor as ONNX Runtime has it."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.errors import HwgenError
from hwgen.graph import QuantType
from hwgen.overlay.averages import averaged
from hwgen.overlay.engine import Engine
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.simulation import simulate
from tests.network_specs import Conv, Layer, NetworkSpec, Pad, Pool, Unary
from tests.overlay.networks import Case, machine, of_spec, output, stored
from tests.overlay.test_lower import check

ENGINE = Engine(rows=4, columns=4, lanes=4, scratchpad=1 << 14, weights=1 << 12, sums=64, scales=256, bus=4, digit=16)


def exact(engine: Engine, network: Case) -> None:
    """In both simulations."""
    compiled = check(engine, network)
    made = machine(compiled, network)
    made.external = simulate(engine, compiled.program, made.external).external
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()


def refused(layers: tuple[Layer, ...], message: str, size: tuple[int, int, int] = (6, 7, 3), seed: int = 0) -> None:
    with pytest.raises(HwgenError, match=f"^{message}$"):
        compile_graph(of_spec(NetworkSpec(size=size, layers=layers, seed=seed)).graph, ENGINE)


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


def average(*kernel: int, scale: str = "real", **options: object) -> Pool:
    return Pool(operator="AveragePool", kernel=kernel, scale=scale, **options)


AVERAGES = {
    "pairs": (CONV, average(2, 2, strides=(2, 2))),
    "of a power of two": (CONV, average(2, 2, strides=(2, 1), scale="power of two")),
    "a border that does not count": (CONV, average(3, 3, pads=(1, 1, 1, 1)), CONV),
    "a border that counts": (CONV, average(3, 2, pads=(1, 0, 2, 1), include_pad=True)),
    "wider than the taps": (CONV, average(2, 5, pads=(0, 3, 1, 1)), Unary(operator="Tanh")),
    "in a border": (average(2, 3), CONV),
}


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", AVERAGES)
def test_averages(name, unsigned):
    exact(ENGINE, of_spec(NetworkSpec(size=(6, 7, 3), layers=AVERAGES[name], unsigned=unsigned)))


def test_averages_in_portions():
    """Of more weights than their memory holds."""
    check(replace(ENGINE, weights=12), of_spec(NetworkSpec(size=(6, 9, 5), layers=(CONV, average(4, 5)))))


def test_averages_whose_order_matters():
    """Of four elements in the scale of their average: sums of integers lie halfway between two results, float32 sums do not."""
    refused(
        (CONV, average(2, 2, scale="of the input")),
        "pool0: ONNX Runtime adds float32 numbers, so that with scales [0-9.]+ and [0-9.]+ windows of 4 pixels whose sums of "
        "integers are equal have different averages; quantise its output with another scale, or use --style dataflow",
    )


def test_averages_of_too_many_pixels():
    message = (
        "pool0: windows of 210 pixels are larger than the 200 whose float32 sums are looked through; average in two steps, or "
    )
    refused((average(14, 15),), message + "use --style dataflow", size=(15, 16, 1))


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 6, 7])  # with 1 the order matters
def test_least_and_largest_float_sums(seed):
    """Those of all orders of elements with a sum: what any of them gives lies between."""
    rng = np.random.default_rng(seed)
    source = QuantType(
        integer=IntType(8), scale=float(np.float32(rng.uniform(0.01, 1))), zero_point=int(rng.integers(-128, 128))
    )
    result = QuantType(integer=IntType(8), scale=float(np.float32(source.scale * rng.uniform(0.5, 2))), zero_point=-3)
    x = rng.integers(-128, 128, (20000, 6))
    total = np.zeros(len(x), np.float32)
    for column in x.T:
        total += (column - source.zero_point).astype(np.float32) * np.float32(source.scale)
    y = np.clip(np.rint(total / np.float32(6) / np.float32(result.scale) + np.float32(-3)), -128, 127)
    wanted = averaged(source, result, 6, 6)
    assert wanted is not None
    assert (wanted[(x - source.zero_point).sum(1) - 6 * (-128 - source.zero_point)] == y).all()
