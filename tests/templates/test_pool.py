import dataclasses
import re

import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.templates.pool import GlobalSumParams, WindowMaxParams
from hwgen.testing import STALLS, run_streams

from .contract import check_arrivals, check_limits, check_timing, random_words

INT8 = IntType(8)
UINT8 = IntType(8, False)


def largest(element=INT8, words=3, rows=3, lanes=2, vectors=4):
    return WindowMaxParams(element=element, words=words, rows=rows, lanes=lanes, vectors=vectors)


def total(element=INT8, pixels=6, channels=10, lanes=2, accumulator=None):
    accumulator = accumulator or IntType.holding(element.min * pixels, element.max * pixels)
    return GlobalSumParams(element=element, accumulator=accumulator, pixels=pixels, channels=channels, lanes=lanes)


CASES = [
    largest(),
    largest(words=9, rows=1, lanes=1),
    largest(words=1, rows=2, element=UINT8),
    largest(words=1, rows=1, vectors=1),
    largest(words=2, rows=5, element=IntType(5)),
    total(),
    total(lanes=10),
    total(lanes=5, element=UINT8),
    total(channels=3, lanes=1),
    total(channels=4, lanes=1, pixels=1),
    total(channels=1, lanes=1, pixels=1),
    total(channels=18, lanes=2, pixels=7, element=IntType(5), accumulator=IntType(20)),
    total(element=UINT8, accumulator=IntType(24)),
]


def extremes(params):
    """Random frames, then one of the least and one of the greatest elements."""
    (words,) = random_words(params, 2)
    n = params.inputs[0].words
    return np.concatenate([words, np.full_like(words[:n], params.element.min), np.full_like(words[:n], params.element.max)])


@pytest.mark.parametrize("params", CASES)
@pytest.mark.parametrize(("i_pause", "o_pause"), [(i, o) for i in STALLS for o in STALLS])
def test_hardware_is_reference(params, i_pause, o_pause):
    words = extremes(params)
    expected = params.compute(words)
    run = run_streams(params, [words], [len(expected)], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


def test_compute():
    words = np.array([[1, 2, -3, 4], [0, 9, 0, 0], [-5, -6, -7, -8], [-9, -9, -9, -5]])
    assert largest(words=2, rows=2, vectors=2).compute(words).tolist() == [[1, 9], [-5, -5]]
    assert total(pixels=2, channels=8, lanes=4).compute(words).tolist() == [[-4, -4, -10, -4], [-9, 0, -9, -5]]


@pytest.mark.parametrize("params", CASES)
def test_timing(params):
    check_timing(params)


@pytest.mark.parametrize("params", CASES)
def test_arrivals(params):
    check_arrivals(params)


@pytest.mark.parametrize("params", CASES)
def test_limits(params):
    check_limits(params)


@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        (largest(), {"words": 0}, "words must be positive, not 0"),
        (largest(), {"rows": -1}, "rows must be positive, not -1"),
        (total(), {"pixels": 0}, "pixels must be positive, not 0"),
        (total(), {"lanes": 3}, "lanes must divide the 10 channels, not 3"),
        (total(), {"accumulator": IntType(10)}, "accumulator must hold -768..762, not int10"),
        (total(), {"accumulator": IntType(20, False)}, "accumulator must hold -768..762, not uint20"),
    ],
)
def test_errors(params, change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dataclasses.replace(params, **change)
