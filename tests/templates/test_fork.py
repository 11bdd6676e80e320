import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.streams import Stream
from hwgen.templates.fork import ForkParams
from hwgen.testing import STALLS, run_streams
from tests.templates.contract import check_arrivals, check_limits, check_timing


def params_of(branches, lanes=3, words=20):
    return ForkParams(stream=Stream(element=IntType(8), lanes=lanes, words=words), branches=branches)


@pytest.mark.parametrize("branches", [2, 3, 5])
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", [*STALLS, (0, 1, 1, 1, 1), (1, 0)])
def test_hardware_is_reference(branches, i_pause, o_pause):
    params = params_of(branches)
    words = np.random.default_rng(branches).integers(-128, 128, (40, 3))
    run = run_streams(params, [words], [40] * branches, i_pause=i_pause, o_pause=o_pause)
    for output, expected in zip(run.outputs, params.compute(words), strict=True):
        assert (output == expected).all()


def test_branches_take_a_word_when_they_can():
    """One branch takes a word that the other has not taken yet, and only that one."""
    words = np.arange(40).reshape(40, 1)
    run = run_streams(params_of(2, lanes=1), [words[:2]], [1, 1])
    assert run.outputs[0].tolist() == run.outputs[1].tolist() == [[0]]
    uneven = run_streams(params_of(2, lanes=1), [words[:2]], [2, 1])  # the second branch stops after one word
    assert [o.ravel().tolist() for o in uneven.outputs] == [[0, 1], [0]]
    with pytest.raises(AssertionError, match=r"^no output after 50 cycles: \[2, 1\] of \[3, 1\] words$"):
        run_streams(params_of(2, lanes=1), [words], [3, 1], limit=50)


@pytest.mark.parametrize("branches", [2, 3])
def test_cycles_and_departures_are_the_model(branches):
    check_timing(params_of(branches))
    check_arrivals(params_of(branches))


@pytest.mark.parametrize("branches", [2, 3])
def test_needed_and_accepted_are_the_hardware(branches):
    check_limits(params_of(branches))


def test_errors():
    with pytest.raises(ValueError, match=r"^branches must be at least 2, not 1$"):
        params_of(1)
