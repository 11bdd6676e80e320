import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.templates.depthwise import DepthwiseParams, Weights
from hwgen.testing import STALLS, run_streams

INT8, INT24 = IntType(8), IntType(24)

SHAPES = [  # vectors, channels, lanes, rows, words
    (6, 6, 2, 3, 3),
    (15, 1, 1, 1, 1),  # one weight word, a result every cycle
    (12, 4, 4, 5, 1),  # one step, three levels of adders
    (6, 3, 1, 1, 9),  # no adder tree
    (7, 4, 2, 2, 5),
]


def params_of(shape, operand=INT8, weight=INT8, accumulator=INT24):
    vectors, channels, lanes, rows, words = shape
    return DepthwiseParams(
        operand=operand, weight=weight, accumulator=accumulator,
        vectors=vectors, channels=channels, lanes=lanes, rows=rows, words=words,
    )  # fmt: skip


def draw(params, frames, extreme=False):
    rng = np.random.default_rng([params.words, params.rows, params.channels, frames])
    shape = (params.groups, 1, params.words, params.rows * params.lanes)
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
    widest = 9 * max(abs(operand.min), operand.max) * -weight.min
    params = params_of((6, 6, 2, 3, 3), operand, weight, IntType.holding(-widest, widest))
    run, expected = simulate(params, 2, extreme=True)
    assert (run.outputs[0] == expected).all()


def test_reference_is_the_sum_of_products(monkeypatch):
    params = params_of((5, 6, 2, 3, 4))
    words, weights = draw(params, 3)
    expected = np.zeros((15, 3, 2), np.int64)
    x = words.reshape(15, 3, 4, 6)
    for t in range(4):
        for r in range(3):
            for c in range(2):
                expected[:, :, c] += x[:, :, t, r * 2 + c] * weights.values[:, 0, t, r * 2 + c]
    assert (params.compute(words, contents=weights) == expected.reshape(-1, 2)).all()
    monkeypatch.setattr("hwgen.templates.depthwise.CHUNK", 200)
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
    frames, late = 3, 200
    run, _ = simulate(params, frames, o_pause=[1] * late + [0] * 3000)
    k = np.arange(frames * params.outputs[0].words)
    assert np.searchsorted(run.taken[0], late) == params.accepted(0)  # in all that time the first output was not taken
    taken = np.searchsorted(run.taken[0], run.departures[0])  # words that came before output k left
    assert (taken <= params.accepted(k)).all()
    assert (run.taken[0][params.needed(k) - 1] < run.departures[0]).all()
    words, weights = draw(params, frames)
    for stop in (1, len(k) // 2, len(k)):  # output k comes although no input follows
        run = run_streams(params, [words[: params.needed(stop - 1)]], [stop], contents=weights)
        assert (run.outputs[0] == params.compute(words, contents=weights)[:stop]).all()


def test_cost():
    resources = params_of((4, 64, 4, 3, 3)).cost().resources
    assert resources.dsp == 12
    assert resources.bram == 3  # 48 × 96 bits


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"vectors": 0}, "vectors must be positive, not 0"),
        ({"rows": -1}, "rows must be positive, not -1"),
        ({"words": 0}, "words must be positive, not 0"),
        ({"lanes": 4}, r"lanes must divide 6 \(channels\), not be 4"),
        ({"weight": IntType(8, False)}, "weight must be signed, not uint8"),
        ({"accumulator": IntType(53)}, "accumulator must be signed, of at most 52 bits, not int53"),
    ],
)
def test_errors(change, text):
    good = {
        "operand": INT8, "weight": INT8, "accumulator": IntType(20), "vectors": 2, "channels": 6, "lanes": 2, "rows": 3,
        "words": 3,
    }  # fmt: skip
    DepthwiseParams(**good)
    with pytest.raises(ValueError, match=f"^{text}$"):
        DepthwiseParams(**(good | change))


def test_contents_errors():
    params = params_of((1, 2, 2, 3, 3), accumulator=IntType(16))
    with pytest.raises(ValueError, match=r"^weights must have shape \(1, 1, 3, 6\), not \(1, 3, 6\)$"):
        params.create(Weights(values=np.zeros((1, 3, 6), int)))
    with pytest.raises(ValueError, match=r"^accumulator must hold 145161\.\.145161, not be int16$"):
        params.compute(np.full((3, 6), 127), Weights(values=np.full((1, 1, 3, 6), 127)))
