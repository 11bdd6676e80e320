import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.templates.concat import ConcatParams
from hwgen.testing import STALLS, run_streams
from tests.templates.contract import check_arrivals, check_limits, check_timing, random_words

SHAPES = [((4, 2), 2, 6), ((3, 5, 1), 1, 4), ((4, 4, 4, 4), 4, 3), ((2, 8), 1, 1), ((1, 1), 1, 7)]  #: channels, lanes, pixels


INT8 = IntType(8)


def params_of(channels, lanes, pixels, element=INT8):
    return ConcatParams(element=element, lanes=lanes, channels=channels, pixels=pixels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_reference(shape, i_pause, o_pause):
    element = IntType(8, shape[1] != 1)
    params = params_of(*shape, element)
    words = random_words(params, frames=2)
    for w in words:
        w[0], w[-1] = element.min, element.max
    frames = [w.reshape(2, params.pixels, c) for w, c in zip(words, params.channels, strict=True)]
    expected = np.concatenate(frames, axis=2).reshape(-1, params.lanes)
    assert (params.compute(*words) == expected).all()
    run = run_streams(params, words, [len(expected)], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_cycles_and_departures_are_the_model(shape):
    check_arrivals(params_of(*shape))
    check_timing(params_of(*shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_needed_and_accepted_are_the_hardware(shape):
    check_limits(params_of(*shape))


def test_errors():
    with pytest.raises(ValueError, match=r"^channels must be of at least 2 inputs, not \(4,\)$"):
        params_of((4,), 1, 1)
    with pytest.raises(ValueError, match=r"^channels must be positive multiples of 2 lanes, not \(4, 3\)$"):
        params_of((4, 3), 2, 1)
    with pytest.raises(ValueError, match=r"^channels must be positive multiples of 1 lanes, not \(4, 0\)$"):
        params_of((4, 0), 1, 1)
    with pytest.raises(ValueError, match=r"^lanes must be positive, not 0$"):
        params_of((4, 3), 0, 1)
    with pytest.raises(ValueError, match=r"^pixels must be positive, not 0$"):
        params_of((4, 3), 1, 0)
