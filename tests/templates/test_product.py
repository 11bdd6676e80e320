import itertools

import numpy as np
import pytest
from amaranth import EnableInserter, Module, Signal
from amaranth.sim import Simulator

from hwgen.arith import IntType
from hwgen.cost import Resources
from hwgen.templates.depthwise import DepthwiseParams
from hwgen.templates.mac import Weights
from hwgen.templates.matrix_vector import MatrixVectorParams
from hwgen.templates.product import dsp_product, product_resources, product_stages, soft_product
from hwgen.testing import NO_STALL, STALLS, run_streams


def products(operand, weight, pairs, pause=0, stages=0, dsps=False):
    """What comes out for the pairs, one each enabled cycle; every ``pause``-th cycle is not enabled."""
    m = Module()
    enable, x, w = Signal(), Signal(operand.shape), Signal(weight.shape)
    product = dsp_product(m, x, w, "p", stages) if dsps else soft_product(m, x, w, "p", stages or None)
    assert len(product) >= operand.bits + weight.bits
    found, wait = [], stages or product_stages(weight)

    async def bench(ctx):
        cycle = 0
        for k in range(len(pairs) + wait):
            while pause and cycle % pause == 0:
                ctx.set(enable, 0)
                await ctx.tick()
                cycle += 1
            ctx.set(enable, 1)
            if k < len(pairs):
                ctx.set(x, int(pairs[k][0]))
                ctx.set(w, int(pairs[k][1]))
            found.append(ctx.get(product))
            await ctx.tick()
            cycle += 1

    simulator = Simulator(EnableInserter(enable)(m))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found[wait:]


@pytest.mark.parametrize("signs", list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("bits", [(1, 1), (4, 4), (3, 5), (5, 3), (2, 7), (4, 2), (3, 6)])
def test_every_pair(bits, signs):
    operand, weight = (IntType(n, s) for n, s in zip(bits, signs, strict=True))
    pairs = list(itertools.product(range(operand.min, operand.max + 1), range(weight.min, weight.max + 1)))
    assert products(operand, weight, pairs) == [a * b for a, b in pairs]


@pytest.mark.parametrize("stages", [1, 2])
def test_fewer_stages(stages):
    weight = IntType(6, True)
    pairs = list(itertools.product(range(-8, 8), range(weight.min, weight.max + 1)))
    assert products(IntType(4), weight, pairs, stages=stages) == [a * b for a, b in pairs]


@pytest.mark.parametrize(("operand", "weight"), [((8, True), (8, True)), ((8, False), (9, True)), ((9, True), (8, True))])
def test_wide_operands_and_pauses(operand, weight):
    operand, weight = IntType(*operand), IntType(*weight)
    corners = list(
        itertools.product((operand.min, -1 if operand.signed else 1, 0, operand.max), (weight.min, -1, 0, weight.max))
    )
    rng = np.random.default_rng(1)
    random = [
        (int(rng.integers(operand.min, operand.max + 1)), int(rng.integers(weight.min, weight.max + 1))) for _ in range(300)
    ]
    pairs = corners + random
    assert products(operand, weight, pairs, pause=3) == [a * b for a, b in pairs]


@pytest.mark.parametrize(
    ("operand", "weight", "stages"), [(8, 8, 1), (8, 8, 3), (18, 18, 2), (32, 8, 3), (32, 16, 3), (34, 17, 5)]
)
@pytest.mark.parametrize("signed", [True, False])
def test_dsps(operand, weight, stages, signed):
    operand, weight = IntType(operand, True), IntType(weight, signed)
    corners = [
        [*(around + k for around in (0, *(1 << n for n in range(t.bits - 1))) for k in (-1, 0, 1)), t.min, t.max]
        for t in (operand, weight)
    ]
    pairs = [
        (a, b) for a in corners[0] for b in corners[1] if operand.min <= a <= operand.max and weight.min <= b <= weight.max
    ]
    assert products(operand, weight, pairs, stages=stages, dsps=True) == [a * b for a, b in pairs]


def test_cost():
    assert product_stages(IntType(8)) == 3
    assert product_stages(IntType(9)) == 4
    assert product_stages(IntType(2)) == 1
    assert product_resources(IntType(8), IntType(8)) == Resources(lut=4 * 10 + 2 * 10 + 12, ff=4 * 10 + 2 * 12 + 16)
    assert product_resources(IntType(8), IntType(2)) == Resources(lut=10, ff=10)


def matrix_vector(soft):
    return MatrixVectorParams(
        operand=IntType(8), weight=IntType(8), accumulator=IntType(24),
        vectors=3, words=7, sources=3, packing=3, channels=5, pe=2, soft=soft,
    )  # fmt: skip


def depthwise(soft):
    return DepthwiseParams(
        operand=IntType(8, False), weight=IntType(9), accumulator=IntType(24),
        vectors=4, channels=6, lanes=2, rows=3, words=3, soft=soft,
    )  # fmt: skip


def contents(params, rng):
    if isinstance(params, DepthwiseParams):
        shape = params.groups, 1, params.words, params.rows * params.lanes
    else:
        shape = params.groups, params.channels, params.words, params.sources
    return Weights(values=rng.choice([params.weight.min, params.weight.max, -1, 3], shape))


@pytest.mark.parametrize("make", [matrix_vector, depthwise])
@pytest.mark.parametrize("share", [0, 1, "half", "all"])
@pytest.mark.parametrize("o_pause", STALLS)
def test_any_number_of_multipliers_in_luts(make, share, o_pause):
    every = make(0).multipliers
    params = make({"half": every // 2, "all": every}.get(share, share))
    rng = np.random.default_rng(4)
    words = rng.choice([params.operand.min, params.operand.max, 1], (2 * params.inputs[0].words, params.inputs[0].lanes))
    weights = contents(params, rng)
    count = 2 * params.outputs[0].words
    run = run_streams(params, [words], [count], contents=weights, o_pause=o_pause)
    assert (run.outputs[0] == params.compute(words, contents=weights)).all()
    assert params.cost().resources.dsp == every - params.mac.soft
    if o_pause == NO_STALL:
        assert (run.departures[0] - run.taken[0][0] == params.departures(run.arrivals[0]) - run.taken[0][0]).all()


@pytest.mark.parametrize(("make", "most"), [(matrix_vector, 18), (depthwise, 6)])
@pytest.mark.parametrize("below", [True, False])
def test_errors(make, most, below):
    soft = -1 if below else most + 1
    with pytest.raises(ValueError, match=rf"^soft must be in 0\.\.{most} \(multipliers\), not {soft}$"):
        make(soft)
