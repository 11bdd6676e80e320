import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.templates.matrix_vector import MatrixVectorParams, Weights
from hwgen.testing import NO_STALL, STALLS, run_streams

INT8, INT24 = IntType(8), IntType(24)

SHAPES = [  # vectors, groups, words, sources, packing, channels, pe
    (4, 1, 5, 2, 1, 3, 3),  # no operand memory
    (6, 1, 1, 3, 1, 1, 1),  # one step, one weight word
    (5, 2, 1, 1, 1, 3, 2),  # one step, surplus PE
    (4, 1, 4, 1, 1, 4, 2),  # folds take longer than input
    (3, 2, 6, 2, 3, 3, 1),  # words = depth · folds
    (6, 1, 2, 1, 2, 2, 1),  # the same, depth 1
    (3, 1, 7, 3, 3, 5, 2),  # a last partial operand word
    (2, 2, 9, 1, 4, 2, 2),  # input takes longer
    (3, 1, 5, 1, 4, 3, 1),  # six cycles of folds, five of input
    (2, 1, 8, 5, 2, 2, 2),  # four levels of adders
]


def params_of(shape, operand=INT8, weight=INT8, accumulator=INT24):
    vectors, groups, words, sources, packing, channels, pe = shape
    return MatrixVectorParams(
        operand=operand, weight=weight, accumulator=accumulator,
        vectors=vectors, groups=groups, words=words, sources=sources, packing=packing, channels=channels, pe=pe,
    )  # fmt: skip


def draw(params, frames, extreme=False):
    rng = np.random.default_rng([params.words, params.packing, params.channels, frames])
    shape = (params.groups, params.channels, params.words, params.sources)
    low, high = params.weight.min, params.weight.max
    weights = rng.choice([low, high], shape) if extreme else rng.integers(low, high + 1, shape)
    low, high = params.operand.min, params.operand.max
    shape = (frames * params.inputs[0].words, params.inputs[0].lanes)
    words = rng.choice([low, high], shape) if extreme else rng.integers(low, high + 1, shape)
    return words, Weights(values=weights)


def simulate(params, frames, *, extreme=False, **pauses):
    words, weights = draw(params, frames, extreme)
    run = run_streams(params, [words], [frames * params.outputs[0].words], contents=weights, **pauses)
    return run, params.compute(words, contents=weights)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_reference(shape, i_pause, o_pause):
    run, expected = simulate(params_of(shape), 2, i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


@pytest.mark.parametrize("operand", [IntType(8), IntType(8, False), IntType(5)])
@pytest.mark.parametrize("weight", [IntType(8), IntType(9), IntType(2)])
def test_extremes(operand, weight):
    params = params_of((8, 1, 4, 5, 2, 3, 2), operand, weight)
    widest = 20 * max(abs(operand.min), operand.max) * -weight.min
    params = params_of((8, 1, 4, 5, 2, 3, 2), operand, weight, IntType.holding(-widest, widest))
    run, expected = simulate(params, 2, extreme=True)
    assert (run.outputs[0] == expected).all()


def test_sums_on_the_way_may_wrap():
    params = params_of((1, 1, 2, 4, 1, 1, 1), accumulator=IntType(8))
    words = np.array([[127, 127, 127, 127], [127, 127, 127, 126]])
    weights = Weights(values=np.array([[[[127] * 4, [-127] * 4]]]))
    run = run_streams(params, [words], [1], contents=weights)
    assert run.outputs[0].tolist() == params.compute(words, contents=weights).tolist() == [[127]]


def test_reference_is_the_sum_of_products(monkeypatch):
    params = params_of((5, 2, 3, 2, 2, 5, 2))
    words, weights = draw(params, 3)
    x = words.reshape(15, 2, 3, 2)
    expected = np.zeros((15, 2, 6), np.int64)
    expected[:, :, :5] = np.einsum("ngts,gcts->ngc", x, weights.values)
    assert (params.compute(words, contents=weights) == expected.reshape(-1, 2)).all()
    monkeypatch.setattr("hwgen.templates.matrix_vector.CHUNK", 50)
    assert (params.compute(words, contents=weights) == expected.reshape(-1, 2)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_cycles_and_departures_are_the_model(shape):
    params = params_of(shape)
    run, _ = simulate(params, 4)
    assert run.departures[0].tolist() == params.departures(run.arrivals[0]).tolist()
    ends = run.departures[0][params.outputs[0].words - 1 :: params.outputs[0].words]
    assert np.diff(ends).tolist() == [params.cost().cycles] * 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.15, 0.5, 0.9])
def test_departures_of_sparse_arrivals(shape, density):
    params = params_of(shape)
    pauses = np.random.default_rng(round(density * 100)).random(997) > density
    run, _ = simulate(params, 3, i_pause=pauses.astype(int).tolist())
    assert run.departures[0].tolist() == params.departures(run.arrivals[0]).tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_needed_and_accepted(shape):
    params = params_of(shape)
    frames, late = 4, 400
    run, _ = simulate(params, frames, o_pause=[1] * late + [0] * 3000)
    k = np.arange(frames * params.outputs[0].words)
    total = frames * params.inputs[0].words
    before = np.searchsorted(run.taken[0], late)  # in all that time the first output was not taken
    assert before <= params.accepted(0)
    if params.words <= params.depth * params.folds:  # else steps wait for input, and the pipeline is not full
        assert before == min(total, params.accepted(0))
    taken = np.searchsorted(run.taken[0], run.departures[0])  # words that came before output k left
    assert (taken <= params.accepted(k)).all()
    assert (run.taken[0][params.needed(k) - 1] < run.departures[0]).all()
    for stop in sorted({1, len(k) // 2, len(k)}):  # output k comes although no input follows
        words, weights = draw(params, frames)
        run = run_streams(params, [words[: params.needed(stop - 1)]], [stop], contents=weights, o_pause=NO_STALL)
        assert (run.outputs[0] == params.compute(words, contents=weights)[:stop]).all()


def test_cost_counts_memories():
    assert params_of((1, 1, 5, 2, 1, 3, 3)).cost().resources.bram == 0
    resources = params_of((1, 1, 600, 4, 2, 4, 2)).cost().resources
    assert resources.dsp == 16
    assert resources.bram == 2 * 4 + 2 * 2  # 600 × 128 bits of weights, 600 × 64 bits of operands


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"vectors": 0}, "vectors must be positive, not 0"),
        ({"groups": -1}, "groups must be positive, not -1"),
        ({"packing": 4}, r"packing must be in 1\.\.3 \(words\), not 4"),
        ({"packing": 0}, r"packing must be in 1\.\.3 \(words\), not 0"),
        ({"pe": 6}, r"pe must be in 1\.\.5 \(channels\), not 6"),
        ({"weight": IntType(8, False)}, "weight must be signed, not uint8"),
        ({"accumulator": IntType(20, False)}, "accumulator must be signed, of at most 52 bits, not uint20"),
        ({"accumulator": IntType(53)}, "accumulator must be signed, of at most 52 bits, not int53"),
    ],
)
def test_errors(change, text):
    good = {
        "operand": IntType(8), "weight": IntType(8), "accumulator": IntType(20), "vectors": 2, "words": 3, "sources": 2,
        "channels": 5, "pe": 2,
    }  # fmt: skip
    MatrixVectorParams(**good)
    with pytest.raises(ValueError, match=f"^{text}$"):
        MatrixVectorParams(**(good | change))


def test_contents_errors():
    params = params_of((1, 1, 3, 2, 1, 5, 2), accumulator=IntType(16))
    with pytest.raises(ValueError, match=r"^weights must have shape \(1, 5, 3, 2\), not \(5, 3, 2\)$"):
        params.create(Weights(values=np.zeros((5, 3, 2), int)))
    with pytest.raises(ValueError, match=r"^weights must be int8, not in 0\.\.128$"):
        params.compute(np.zeros((3, 2)), Weights(values=np.arange(30).reshape(1, 5, 3, 2) // 29 * 128))
    with pytest.raises(ValueError, match=r"^accumulator must hold 96774\.\.96774, not be int16$"):
        params_of((1, 1, 3, 2, 1, 2, 2), accumulator=IntType(16)).compute(
            np.full((3, 2), 127), Weights(values=np.full((1, 2, 3, 2), 127))
        )
