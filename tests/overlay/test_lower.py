"""Whole networks as programs of the overlay, tensor by tensor against ONNX Runtime."""

import random
from dataclasses import replace

import numpy as np
import pytest

from hwgen.demo import MODEL, SAMPLES
from hwgen.overlay import lower
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Drain, End, Load, Place, Store, Unit
from hwgen.overlay.lower import Tiling, compile_graph
from hwgen.overlay.places import Placed, bands
from tests.network_specs import Branch, Conv, NetworkSpec, Pool
from tests.overlay.networks import case, in_scratchpad, machine, of_spec, output, outside, race, stored
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
            seen.add(name)
            # Not what ONNX Runtime keeps to itself: a Concat's operands in its scale.
            if name in network.tensors and name not in compiled.overwritten:
                there = in_scratchpad(made, place, compiled) if place else outside(made, compiled, name)
                assert (there == stored(network, name)).all(), name
        if not isinstance(instruction, End):
            made.step(instruction)
    assert seen == set(network.graph.tensors)
    assert len(seen - set(network.tensors)) <= len(seen) // 2
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


def test_a_small_scratchpad():
    """What does not find room in it goes to external memory meanwhile."""
    left = Conv(channels=32), Conv(channels=32), Conv(channels=8)
    network = of_spec(NetworkSpec(size=(6, 6, 4), layers=(Conv(channels=8), Branch(join="Add", left=left, right=()))))
    engine = replace(ENGINE, rows=4, columns=4, lanes=4, bus=4)
    stores = [i for i in check(engine, network).program if isinstance(i, Store)]
    assert (sum(i.rows for i in stores), {i.size for i in stores}) == (6, {6 * 8})
    compiled = check(replace(engine, scratchpad=2 * 6 * 6 * 32 + 8), network)  # and 2 words to spare
    spill, *outputs = (i for i in compiled.program if isinstance(i, Store))
    end = spill.external + spill.rows * spill.external_step
    loads = [i for i in compiled.program if isinstance(i, Load) and i.place == Place.SCRATCHPAD]
    assert sum(i.rows for i in loads if spill.external <= i.external < end) == spill.rows == 6
    assert sum(i.rows for i in outputs) == 6
    assert not any(spill.external <= i.external < end for i in outputs)


@pytest.mark.parametrize("unsigned", [False, True])
def test_borders(unsigned):
    """Of zero points around a convolution's input, of the least value around a pooling's."""
    conv = Conv(channels=5, kernel=(3, 3), pads=(1, 2, 0, 1))
    layers = conv, Pool(operator="MaxPool", kernel=(3, 3), strides=(2, 1), pads=(1, 0, 1, 2)), conv
    check(ENGINE, of_spec(NetworkSpec(size=(7, 6, 3), layers=layers, pool="GlobalAveragePool", unsigned=unsigned)))


@pytest.mark.parametrize(
    ("rows", "sums", "shapes"),
    [
        (16, 2, [(1, 1)] * 42),
        (16, 8, [(3, 1), (4, 1)] * 6),
        (16, 16, [(7, 1)] * 6),
        (16, 32, [(7, 2)] * 3),
        (16, 64, [(7, 3)] * 2),
        (16, 128, [(7, 3)] * 2),
        (32, 128, [(7, 6)]),
        (3, 128, [(7, 1)] * 6),
    ],
)
def test_bands(rows, sums, shapes, monkeypatch):
    """Fewer sums than positions of an output, or than keep the array busy."""
    monkeypatch.setattr(lower, "TILINGS", (Tiling(share=2, together=True),))
    network = of_spec(NetworkSpec(size=(6, 7, 3), layers=(Conv(channels=5, kernel=(3, 3), pads=(1, 1, 1, 1)),)))
    compiled = check(replace(ENGINE, rows=rows, sums=sums), network)
    assert [(i.x_count, i.y_count) for i in compiled.program if isinstance(i, Drain)] == shapes


@pytest.mark.parametrize("sums", [2, 4, 16, 64, 1024])
@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (7, 7), (13, 31), (32, 32), (3, 600)])
def test_bands_cover_all_positions_once(height, width, rows, sums):
    """In order of their rows, evenly, each in half of the sums."""
    place = Placed(address=0, shape=(height, width, 1), border=(0, 0, 0, 0), fill=0)
    found = list(bands(place, replace(ENGINE, rows=rows, sums=sums, taps=1), 2 * rows))
    times = np.zeros((height, width), int)
    for band in found:
        times[band.y : band.y + band.height, band.x : band.x + band.width] += 1
        assert band.height * band.width <= sums // 2
    assert (times == 1).all()
    assert [(b.y, b.x) for b in found] == sorted((b.y, b.x) for b in found)
    for sizes in ({b.height for b in found}, {b.width for b in found}):
        assert max(sizes) - min(sizes) <= 1


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


def test_loads_are_whole_beats(digits):
    compiled = compile_graph(digits.graph, ENGINE)
    moves = [i for i in compiled.program if isinstance(i, Load | Store)]
    assert all(i.external % ENGINE.bus == 0 for i in moves)
    assert all(i.external_step % ENGINE.bus == 0 for i in moves if i.rows > 1)
    assert np.all([i.external + i.size <= len(compiled.external) for i in moves])
