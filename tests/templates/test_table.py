import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.streams import Stream
from hwgen.templates.table import TableContents, TableParams, table_params
from hwgen.testing import STALLS, run_streams
from tests.templates.contract import check_arrivals, check_limits, check_timing

INT8, UINT8 = IntType(8), IntType(8, False)


def built(element, output, lanes, words, values=None):
    rng = np.random.default_rng(element.bits)
    values = rng.integers(output.min, output.max + 1, 1 << element.bits) if values is None else values
    return table_params(Stream(element=element, lanes=lanes, words=words), output, values)


@pytest.mark.parametrize(
    ("element", "output", "lanes"), [(INT8, INT8, 1), (INT8, UINT8, 3), (UINT8, INT8, 2), (IntType(4), IntType(12), 2)]
)
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_table_is_reference(element, output, lanes, i_pause, o_pause):
    params, contents = built(element, output, lanes, 300 // lanes)
    assert params.limits is None
    x = np.resize(np.arange(element.min, element.max + 1), 300)
    words = np.random.default_rng(3).permutation(x).reshape(-1, lanes)
    expected = params.compute(words, contents=contents)
    assert expected.ravel().tolist() == [contents.values[x - element.min] for x in words.ravel()]
    run = run_streams(params, [words], [len(words)], contents=contents, i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


@pytest.mark.parametrize(
    ("element", "output", "limits"),
    [(INT8, INT8, (-5, 127)), (INT8, INT8, (-128, 127)), (UINT8, INT8, (3, 77)), (INT8, UINT8, (0, 6))],
)
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_clamp_is_reference(element, output, limits, i_pause, o_pause):
    x = np.arange(element.min, element.max + 1)
    params, contents = built(element, output, 4, 64, np.clip(x, *limits))
    assert contents is None
    assert params.limits == limits
    words = np.random.default_rng(3).permutation(x).reshape(-1, 4)
    run = run_streams(params, [words], [64], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == np.clip(words, *limits)).all()
    assert (params.compute(words) == np.clip(words, *limits)).all()


@pytest.mark.parametrize("values", [None, np.arange(256).clip(130) - 128])
def test_timing_is_the_model(values):
    params, contents = built(INT8, INT8, 2, 20, values)
    assert (contents is None) == (values is not None)
    check_timing(params, contents)
    check_arrivals(params, contents)
    check_limits(params, contents)


def test_a_clamp_of_another_scale_is_a_table():
    shifted = np.clip(np.arange(-128, 128) + 1, -128, 127)
    params, contents = built(INT8, INT8, 1, 1, shifted)
    assert params.limits is None
    assert (contents.values == shifted).all()


def test_errors():
    stream = Stream(element=INT8, lanes=1, words=1)
    with pytest.raises(ValueError, match=r"^stream must have elements of at most 14 bits, not 15$"):
        TableParams(stream=Stream(element=IntType(15), lanes=1, words=1), output=INT8)
    for limits in (5, 4), (-129, 0), (0, 128):
        with pytest.raises(ValueError, match=rf"^limits must be ordered and in -128\.\.127, not \({limits[0]}, {limits[1]}\)$"):
            TableParams(stream=stream, output=INT8, limits=limits)
    with pytest.raises(ValueError, match=r"^values must have shape \(256,\), not \(255,\)$"):
        built(INT8, INT8, 1, 1, np.arange(255))
    with pytest.raises(ValueError, match=r"^values must be in -128\.\.127, not -127\.\.128$"):
        TableParams(stream=stream, output=INT8).create(TableContents(values=np.arange(256) - 127))
    with pytest.raises(ValueError, match=r"^values must be in -128\.\.127, not 0\.\.255$"):
        built(INT8, INT8, 1, 1, np.arange(256))
    with pytest.raises(ValueError, match=r"^contents must be given, not None$"):
        TableParams(stream=stream, output=INT8).create()
