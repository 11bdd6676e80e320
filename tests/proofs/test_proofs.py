import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.streams import Stream
from hwgen.templates.argmax import ArgMaxParams
from hwgen.templates.average import AverageParams, AverageTables
from hwgen.templates.concat import ConcatParams
from hwgen.templates.depthwise import DepthwiseParams
from hwgen.templates.fifo import FifoParams
from hwgen.templates.fork import ForkParams
from hwgen.templates.matrix_vector import MatrixVectorParams, Weights
from hwgen.templates.pool import GlobalSumParams, WindowMaxParams
from hwgen.templates.table import TableContents, TableParams
from hwgen.templates.width import WidthParams
from hwgen.templates.window import WindowParams

from .harness import Case, Frames, Stay, prove

BIT, U2, S2 = IntType(1, False), IntType(2, False), IntType(2)


def bits(lanes, words):
    return Stream(element=BIT, lanes=lanes, words=words)


def image(**options):
    return WindowParams(**{"element": BIT, "height": 3, "width": 3, "channels": 1, "lanes": 1, "kernel": (2, 2)} | options)


def weights(*shape):
    return Weights(values=np.random.default_rng(5).integers(-2, 2, shape))


def average(rounded):
    params = AverageParams(
        input=S2,
        output=S2,
        total=IntType(30),
        words=2,
        lanes=1,
        groups=1,
        row_sets=(0,),
        column_sets=(0, 1),
        rounded=rounded,
    )
    values = np.array([-(2**27) - 5, -1, 3 << 23, 2**27 + 7]) if rounded else np.arange(-2, 2)
    reach = int(values.max())
    thresholds = np.array([[-reach, -1, reach + 2], [-3, 0, reach]])
    return {"params": params, "contents": AverageTables(values=values, thresholds=thresholds)}


MATRIX = {"operand": S2, "weight": S2, "accumulator": IntType(8)}

CASES = {
    "fifo": Case(params=FifoParams(stream=bits(1, 4), depth=3), moves=True),
    "fork": Case(params=ForkParams(stream=bits(1, 3), branches=2), moves=True),
    "width joins": Case(params=WidthParams(stream=bits(1, 6), lanes=3), moves=True),
    "width splits": Case(params=WidthParams(stream=bits(3, 2), lanes=1), moves=True),
    "concat": Case(params=ConcatParams(element=BIT, lanes=1, channels=(1, 2), pixels=2), moves=True),
    "window": Case(params=image(), moves=True),
    "window, padded": Case(params=image(height=2, width=2, kernel=(3, 3), pads=(1, 1, 1, 1), rows=3, pad_value=1), moves=True),
    "window, strides": Case(params=image(width=4, strides=(1, 2), channels=2, groups=2, rows=2), moves=True),
    "largest of a window": Case(params=WindowMaxParams(element=S2, words=2, rows=2, lanes=1, vectors=1)),
    "largest of a window, narrow": Case(params=WindowMaxParams(element=BIT, words=3, rows=1, lanes=1, vectors=2)),
    "sum of an image": Case(params=GlobalSumParams(element=S2, accumulator=IntType(4), pixels=2, channels=2, lanes=1)),
    "sum of an image, in memory": Case(
        params=GlobalSumParams(element=BIT, accumulator=IntType(3), pixels=2, channels=4, lanes=1)
    ),
    "average": Case(**average(False)),
    "average, rounded": Case(**average(True)),
    "matrix-vector product": Case(
        params=MatrixVectorParams(**MATRIX, vectors=1, words=4, sources=1, channels=2, pe=2), contents=weights(1, 2, 4, 1)
    ),
    "matrix-vector product, folds": Case(
        params=MatrixVectorParams(**MATRIX, vectors=1, words=3, sources=1, packing=2, channels=3, pe=1),
        contents=weights(1, 3, 3, 1),
    ),
    "depthwise product": Case(
        params=DepthwiseParams(**MATRIX, vectors=1, channels=2, lanes=1, rows=1, words=2), contents=weights(2, 1, 2, 1)
    ),
    "table": Case(
        params=TableParams(stream=Stream(element=S2, lanes=1, words=4), output=BIT),
        contents=TableContents(values=np.array([1, 0, 0, 1])),
    ),
    "clamp": Case(params=TableParams(stream=Stream(element=S2, lanes=1, words=4), output=S2, limits=(-1, 0))),
    "index of the largest": Case(params=ArgMaxParams(element=S2, channels=4)),
    "index of the last largest": Case(params=ArgMaxParams(element=S2, channels=3, last=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_frames(name, tmp_path):
    case = CASES[name]
    prove(Frames(case), tmp_path, "-t", str(case.depth))


@pytest.mark.parametrize("name", CASES)
def test_frames_come_out(name, tmp_path):
    case = CASES[name]
    prove(Frames(case), tmp_path, "-c", "-t", str(case.depth))


@pytest.mark.parametrize("name", CASES)
def test_outputs_stay(name, tmp_path):
    prove(Stay(CASES[name]), tmp_path, "-i", "-t", "2")
