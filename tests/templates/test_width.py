import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.streams import Stream
from hwgen.templates.width import WidthParams
from hwgen.testing import STALLS, run_streams
from tests.templates.contract import check_arrivals, check_limits, check_timing

SHAPES = [(1, 4, 24), (4, 1, 6), (2, 6, 9), (6, 2, 3), (3, 3, 5), (12, 3, 1), (1, 24, 24)]  #: lanes in, lanes out, words in


INT8 = IntType(8)


def params_of(lanes, out, words, element=INT8):
    return WidthParams(stream=Stream(element=element, lanes=lanes, words=words), lanes=out)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_reference(shape, i_pause, o_pause):
    element = IntType(20) if shape[0] == 2 else IntType(8, shape[0] != 3)
    params = params_of(*shape, element)
    words = np.random.default_rng(1).integers(element.min, element.max + 1, (2 * params.stream.words, params.stream.lanes))
    words[0], words[-1] = element.min, element.max
    expected = params.compute(words)
    assert (expected.ravel() == words.ravel()).all()
    run = run_streams(params, [words], [len(expected)], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_cycles_and_departures_are_the_model(shape):
    check_timing(params_of(*shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_departures_with_sparse_arrivals(shape):
    check_arrivals(params_of(*shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_needed_and_accepted_are_the_hardware(shape):
    check_limits(params_of(*shape))


def test_errors():
    with pytest.raises(ValueError, match=r"^lanes must be a divisor or a multiple of 4, not 6$"):
        params_of(4, 6, 3)
    with pytest.raises(ValueError, match=r"^lanes must be a divisor or a multiple of 4, not 0$"):
        params_of(4, 0, 3)
    with pytest.raises(ValueError, match=r"^lanes must divide the 12 elements of a frame, not 8$"):
        params_of(4, 8, 3)
