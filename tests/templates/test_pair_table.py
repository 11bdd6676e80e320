import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.graph import QuantType
from hwgen.templates.add import add_block, add_reference
from hwgen.templates.pair_table import PairTableContents, PairTableParams
from hwgen.testing import STALLS, run_streams

from .contract import check_arrivals, check_limits, check_timing

INT8, A, B, Y = IntType(8), IntType(3), IntType(4, False), IntType(5)


def block(a=A, b=B, output=Y, lanes=2, words=30):
    values = np.random.default_rng(7).integers(output.min, output.max + 1, (1 << a.bits, 1 << b.bits))
    return PairTableParams(a=a, b=b, output=output, lanes=lanes, words=words), PairTableContents(values=values)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("types", [(A, B), (IntType(2, False), A), (IntType(4), IntType(4))])
@pytest.mark.parametrize("i_pause", STALLS)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_reference(lanes, types, i_pause, o_pause):
    a, b = types
    params, contents = block(a, b, lanes=lanes, words=1)
    x, y = np.meshgrid(np.arange(a.min, a.max + 1), np.arange(b.min, b.max + 1), indexing="ij")
    x, y = (np.repeat(v.reshape(-1, 1), lanes, 1) for v in (x, y))
    expected = params.compute(x, y, contents)
    assert (expected == contents.values.reshape(-1, 1)).all()
    run = run_streams(params, [x, y], [len(x)], contents=contents, i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


def test_timing_is_the_model():
    params, contents = block()
    check_timing(params, contents)
    check_arrivals(params, contents)
    check_limits(params, contents)


def test_sums_without_arithmetic_of_their_own():
    """Round decimal scales make thousands of sums ties that float32 rounds either way: a table of all pairs has them."""
    a, b, y = (QuantType(integer=INT8, scale=float(np.float32(s)), zero_point=z) for s, z in ((0.05, 3), (0.1, -7), (0.12, 5)))
    params, contents = add_block(a, b, y, -128, 127, lanes=1, words=1)
    assert isinstance(params, PairTableParams)
    assert (contents.values == add_reference(a, b, y, -128, 127)).all()


def test_errors():
    with pytest.raises(ValueError, match=r"^a and b must have at most 16 bits together, not 17$"):
        block(IntType(8), IntType(9))
    with pytest.raises(ValueError, match=r"^lanes must be positive, not 0$"):
        block(lanes=0)
    params, _ = block()
    with pytest.raises(ValueError, match=r"^values must have shape \(8, 16\), not \(8, 15\)$"):
        params.create(PairTableContents(values=np.zeros((8, 15))))
    with pytest.raises(ValueError, match=r"^values must be int5, not in 16\.\.16$"):
        params.create(PairTableContents(values=np.full((8, 16), 16)))
