import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.streams import Stream
from hwgen.templates.fifo import FifoParams
from hwgen.testing import STALLS, run_streams


@pytest.mark.parametrize(("depth", "registered"), [(3, False), (4, False), (40, False), (6, True), (40, True)])
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_reference(depth, registered, i_pause, o_pause):
    params = FifoParams(stream=Stream(element=IntType(8), lanes=3, words=60), depth=depth, registered=registered)
    words = np.random.default_rng(depth).integers(-128, 128, (120, 3))
    run = run_streams(params, [words], [120], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == params.compute(words)).all()


@pytest.mark.parametrize(("depth", "registered"), [(3, False), (6, True), (33, True)])
def test_cycles_and_departures_are_the_model(depth, registered):
    params = FifoParams(stream=Stream(element=IntType(8), lanes=3, words=60), depth=depth, registered=registered)
    words = np.zeros((180, 3), np.int64)
    run = run_streams(params, [words], [180])
    assert (run.departures[0] == params.departures(run.arrivals[0])).all()
    assert np.diff(run.departures[0][59::60]).tolist() == [params.cost().cycles] * 2


@pytest.mark.parametrize(("depth", "registered"), [(3, False), (6, True), (40, False), (40, True)])
def test_holds_as_many_words_as_it_says(depth, registered):
    params = FifoParams(stream=Stream(element=IntType(8), lanes=3, words=60), depth=depth, registered=registered)
    words = np.zeros((120, 3), np.int64)
    run = run_streams(params, [words], [1], o_pause=[1] * 300 + [0])
    assert (run.taken[0] < 300).sum() == depth


def test_errors():
    with pytest.raises(ValueError, match=r"^depth must be at least 3, not 2$"):
        FifoParams(stream=Stream(element=IntType(8), lanes=3, words=60), depth=2)
    with pytest.raises(ValueError, match=r"^depth must be at least 6, not 5$"):
        FifoParams(stream=Stream(element=IntType(8), lanes=3, words=60), depth=5, registered=True)
