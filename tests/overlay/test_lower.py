"""Whole networks as programs of the overlay, tensor by tensor against ONNX Runtime."""

import random
from dataclasses import replace

import numpy as np
import pytest

from hwgen.demo import MODEL, SAMPLES
from hwgen.errors import HwgenError
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import End, Load, Store, Unit
from hwgen.overlay.lower import compile_graph
from tests.overlay.networks import case, in_scratchpad, machine, output, race, stored
from tests.shared_models import MODELS, needs_models

ENGINE = Engine(rows=16, columns=16, lanes=8, scratchpad=1 << 18, weights=1 << 14, sums=2048, scales=2048)
SHAPES = [(16, 16), (12, 13), (3, 3), (9, 1), (1, 4)]


@pytest.fixture(scope="module")
def digits():
    return case(MODEL, SAMPLES)


def check(engine, network):
    """Every tensor when it has just been made, and the output in external memory."""
    compiled = compile_graph(network.graph, engine)
    made = machine(compiled, network)
    ends = {}
    for name, (place, number) in compiled.places.items():
        ends.setdefault(number, []).append((name, place))
    seen = set()
    for number, instruction in enumerate(compiled.program):
        for name, place in ends.get(number, ()):
            assert (in_scratchpad(made, place) == stored(network, name)).all(), name
            seen.add(name)
        if not isinstance(instruction, End):
            made._step(instruction)
    assert seen == set(network.graph.tensors)
    assert (output(made, compiled, network) == stored(network, network.graph.output)).all()
    return compiled


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_digits(digits, shape):
    check(replace(ENGINE, rows=shape[0], columns=shape[1], lanes=2, taps=min(3, shape[0])), digits)


@needs_models
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@pytest.mark.parametrize("name", ["ad", "ic", "kws", "vww"])
def test_networks(name, shape):
    folder = MODELS / name
    network = case(folder / f"{name}_int8_qdq_nchw.onnx", folder / "samples.npz", frame=1)
    check(replace(ENGINE, rows=shape[0], columns=shape[1]), network)


def test_a_small_scratchpad(digits):
    """What does not find room in it goes to external memory meanwhile."""
    large = compile_graph(digits.graph, ENGINE)
    assert sum(isinstance(i, Store) for i in large.program) == 1
    network = digits
    sizes = sorted(place.size for place, _ in large.places.values())
    engine = replace(ENGINE, rows=4, columns=4, lanes=4, bus=4, scratchpad=4 * -(-(sum(sizes[-2:]) + 96) // 4))
    check(engine, network)


def test_bands(digits):
    """Fewer sums than positions of an output."""
    compiled = check(replace(ENGINE, sums=10), digits)
    assert len(compiled.program) > len(compile_graph(digits.graph, ENGINE).program)


@pytest.mark.parametrize("seed", range(5))
def test_units_out_of_step(digits, seed):
    engine = replace(ENGINE, rows=4, columns=4, sums=32, weights=1 << 9)
    compiled = compile_graph(digits.graph, engine)
    made, rng = machine(compiled, digits), random.Random(seed)
    favourite = list(Unit)
    rng.shuffle(favourite)
    race(made, compiled.program, lambda able: min(able, key=favourite.index) if rng.random() < 0.9 else rng.choice(able))
    assert (output(made, compiled, digits) == stored(digits, digits.graph.output)).all()


def test_every_token_counts(digits):
    """Without those of one unit for another, some order of the units is wrong."""
    engine = replace(ENGINE, rows=4, columns=4, sums=32, weights=1 << 9)
    compiled = compile_graph(digits.graph, engine)
    right = stored(digits, digits.graph.output)
    for giver, taker in (
        (Unit.LOAD, Unit.MULTIPLY),
        (Unit.MULTIPLY, Unit.LOAD),
        (Unit.MULTIPLY, Unit.VECTOR),
        (Unit.VECTOR, Unit.MULTIPLY),
        (Unit.VECTOR, Unit.STORE),
    ):  # these imply the others here
        program = [
            replace(i, wait=i.wait & ~(1 << giver) if i.unit == taker else i.wait, signal=i.signal & ~(1 << taker))
            if i.unit in (giver, taker)
            else i
            for i in compiled.program
        ]
        made = machine(compiled, digits)
        made.scratchpad[:] = 85
        order = [taker, *(u for u in Unit if u not in (taker, giver)), giver]
        race(made, program, lambda able, order=order: min(able, key=order.index))
        assert (output(made, compiled, digits) != right).any(), (giver, taker)


def test_refusals(digits):
    with pytest.raises(
        HwgenError, match=r"^conv1: its inputs and output take \d+ bytes .*, and the scratchpad has 512; choose"
    ):
        compile_graph(digits.graph, replace(ENGINE, scratchpad=512))
    with pytest.raises(HwgenError, match=r"^\w+: \d+ entries of weights do not fit into half of the engine's 64$"):
        compile_graph(digits.graph, replace(ENGINE, weights=64))
    with pytest.raises(HwgenError, match=r"^\w+: \d+ entries of scales do not fit into half of the engine's 8$"):
        compile_graph(digits.graph, replace(ENGINE, scales=8))
    with pytest.raises(ValueError, match=r"^bus must be 4, 8, 16 or 32 bytes, not 5$"):
        replace(ENGINE, bus=5)
    with pytest.raises(ValueError, match=r"^rows must be positive, not 0$"):
        replace(ENGINE, rows=0)


def test_loads_are_whole_beats(digits):
    compiled = compile_graph(digits.graph, ENGINE)
    moves = [i for i in compiled.program if isinstance(i, Load | Store)]
    assert all(i.external % ENGINE.bus == 0 for i in moves)
    assert all(i.external_step % ENGINE.bus == 0 for i in moves if i.rows > 1)
    assert np.all([i.external + i.size <= len(compiled.external) for i in moves])
