import re
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.arith import IntType
from hwgen.streams import Stream
from hwgen.templates.add import AddParams, AddTables
from hwgen.templates.argmax import ArgMaxParams
from hwgen.templates.average import AverageParams, AverageTables
from hwgen.templates.concat import ConcatParams
from hwgen.templates.depthwise import DepthwiseParams
from hwgen.templates.fifo import FifoParams
from hwgen.templates.fork import ForkParams
from hwgen.templates.matrix_vector import MatrixVectorParams, Weights
from hwgen.templates.pair_table import PairTableContents, PairTableParams
from hwgen.templates.pool import GlobalSumParams, WindowMaxParams
from hwgen.templates.requant import RequantParams, Scales
from hwgen.templates.softmax import SoftmaxContents, SoftmaxParams
from hwgen.templates.table import TableContents, TableParams
from hwgen.templates.width import WidthParams
from hwgen.templates.window import WindowParams

from . import harness
from .harness import Case, prove_frames, prove_stays

BIT, U2, S2 = IntType(1, False), IntType(2, False), IntType(2)


def bits(lanes, words):
    return Stream(element=BIT, lanes=lanes, words=words)


def image(**options):
    return WindowParams(**{"element": BIT, "height": 3, "width": 3, "channels": 1, "lanes": 1, "kernel": (2, 2)} | options)


def weights(*shape):
    return Weights(values=np.random.default_rng(5).integers(-2, 2, shape))


def average(output, rounded):
    params = AverageParams(
        input=S2,
        output=output,
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
    thresholds = np.array([[-reach, -1, reach + 2], [-3, 0, reach]])[:, -(1 << output.bits) + 1 :]
    return {"params": params, "contents": AverageTables(values=values, thresholds=thresholds)}


def requant(**options):
    params = {
        "accumulator": IntType(3),
        "output": S2,
        "vectors": 1,
        "groups": 1,
        "channels": 2,
        "pe": 2,
        "lanes": 1,
        "steps": 2,
    }
    params |= {
        "mult": IntType(3, False),
        "offset": IntType(4),
        "shift": 2,
        "window": 0,
        "odd": 1,
        "lo": -2,
        "hi": 1,
        "fixes": 1,
    }
    scales = Scales(mult=np.array([3, 5]), offset=np.array([2, -3]), fixes=np.array([[1, 2, -1]]))
    return {"params": RequantParams(**params | options), "contents": scales}


def softmax():
    """Elements are -3 and 4, so that of the tables only two entries are looked up; the rest repeats one of them."""
    int8 = IntType(8)
    params = SoftmaxParams(element=int8, output=int8, channels=2, levels=256, zero_point=-128)
    exponentials = np.where(np.arange(256) < 255, 0.17377394, 1).astype(np.float32)
    contents = SoftmaxContents(exponentials=exponentials, scaled=exponentials * np.float32(256))
    return {"params": params, "contents": contents, "alphabet": (-3, 4), "data": False, "stalls": 1}


def add():
    params = AddParams(
        a=BIT, b=S2, output=S2, lanes=1, words=2, term=IntType(5), shift=2, window=0, odd=1, lo=-2, hi=1, fixes=1
    )
    tables = AddTables(a=np.array([1, 6]), b=np.array([-9, -3, 0, 4]), fixes=np.array([[1, 0, 1]]))
    return {"params": params, "contents": tables}


def pair_table():
    params = PairTableParams(a=BIT, b=S2, output=S2, lanes=1, words=2)
    return {"params": params, "contents": PairTableContents(values=np.array([[1, 0, -2, -1], [-1, 1, 0, 1]]))}


MATRIX = {"operand": BIT, "weight": S2, "accumulator": IntType(4)}

CASES = {
    "fifo": Case(params=FifoParams(stream=bits(1, 4), depth=3), moves=True),
    "fifo_registered": Case(params=FifoParams(stream=bits(1, 4), depth=6, registered=True), moves=True),
    "fork": Case(params=ForkParams(stream=bits(1, 3), branches=2), moves=True),
    "width joins": Case(params=WidthParams(stream=bits(1, 6), lanes=3), moves=True),
    "width splits": Case(params=WidthParams(stream=bits(3, 2), lanes=1), moves=True),
    "concat": Case(params=ConcatParams(element=BIT, lanes=1, channels=(1, 2), pixels=2), moves=True),
    "window": Case(params=image(height=2, width=2, kernel=(2, 1)), moves=True),
    "window, padded": Case(params=image(height=2, width=1, kernel=(2, 1), pads=(1, 0, 0, 0), rows=2, pad_value=1), moves=True),
    "window, strides": Case(params=image(height=1, width=4, kernel=(1, 2), strides=(1, 2)), moves=True),
    "largest of a window": Case(params=WindowMaxParams(element=S2, words=2, rows=2, lanes=1, vectors=1)),
    "largest of a window, narrow": Case(params=WindowMaxParams(element=BIT, words=3, rows=1, lanes=1, vectors=2)),
    "sum of an image": Case(params=GlobalSumParams(element=S2, accumulator=IntType(4), pixels=2, channels=2, lanes=1)),
    "sum of an image, in memory": Case(
        params=GlobalSumParams(element=BIT, accumulator=IntType(3), pixels=2, channels=4, lanes=1), stalls=2
    ),
    "average": Case(**average(BIT, False), stalls=2),
    "matrix-vector product": Case(
        params=MatrixVectorParams(**MATRIX, vectors=1, words=3, sources=1, channels=2, pe=2), contents=weights(1, 2, 3, 1)
    ),
    "matrix-vector product, folds": Case(
        params=MatrixVectorParams(**MATRIX, vectors=1, words=3, sources=1, packing=2, channels=2, pe=1),
        contents=weights(1, 2, 3, 1),
    ),
    "depthwise product": Case(
        params=DepthwiseParams(**MATRIX, vectors=1, channels=2, lanes=1, rows=1, words=2), contents=weights(2, 1, 2, 1)
    ),
    "requantiser": Case(**requant()),
    "residual sum": Case(**add()),
    "pair table": Case(**pair_table()),
    "table": Case(
        params=TableParams(stream=Stream(element=S2, lanes=1, words=4), output=BIT),
        contents=TableContents(values=np.array([1, 0, 0, 1])),
    ),
    "clamp": Case(params=TableParams(stream=Stream(element=S2, lanes=1, words=4), output=S2, limits=(-1, 0))),
    "index of the largest": Case(params=ArgMaxParams(element=S2, channels=4)),
    "index of the last largest": Case(params=ArgMaxParams(element=S2, channels=3, last=True)),
}

PADDED = image(height=2, width=2, kernel=(3, 3), pads=(1, 1, 1, 1), rows=3, pad_value=1)
GROUPED = image(height=2, width=4, strides=(1, 2), channels=2, groups=2, rows=2)

SLOW = {
    "fifo": Case(params=FifoParams(stream=bits(2, 8), depth=5), moves=True),
    "window, padded": Case(params=PADDED, data=False),
    "window, strides and groups": Case(params=GROUPED, data=False),
    "average, rounded": Case(**average(S2, True), data=False),
    "matrix-vector product": Case(
        params=MatrixVectorParams(**MATRIX | {"operand": S2}, vectors=1, words=3, sources=1, packing=2, channels=3, pe=1),
        contents=weights(1, 3, 3, 1),
    ),
    "softmax": Case(**softmax()),
}


@pytest.mark.parametrize("name", CASES)
def test_frames(name, tmp_path):
    prove_frames(CASES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_longer_frames(name, tmp_path):
    prove_frames(SLOW[name], tmp_path)


@pytest.mark.parametrize("name", SLOW | CASES)
def test_outputs_stay(name, tmp_path):
    prove_stays((SLOW | CASES)[name], tmp_path)


class Faulty(wiring.Component):
    """A FIFO, broken in one way."""

    def __init__(self, params, fault):
        self.params, self.fault = params, fault
        super().__init__({"i": In(params.stream.signature), "o": Out(params.stream.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.params.create()
        stalled, first, second, accepted = Signal(), Signal(), Signal(), Signal(4)
        m.d.sync += stalled.eq(self.o.valid & ~self.o.ready)
        put, accept, show, pop = self.i.valid, queue.i.ready, queue.o.valid, self.o.ready
        word = queue.o.payload[0]
        match self.fault:
            case "offers nothing":
                show = 1
            case "withdraws":
                show, pop = show & ~stalled, pop & ~stalled
            case "changes a waiting word":
                word = word ^ stalled
            case "duplicates under stall":
                pop = pop & ~stalled
            case "loses when full":
                accept = 1
            case "stops":
                put, accept = put & (accepted < 9), accept & (accepted < 9)
                m.d.sync += accepted.eq(accepted + (self.i.valid & self.i.ready))
            case "swaps words":  # the second of two is the first again
                with m.If(show & pop):
                    m.d.sync += [first.eq(word), second.eq(~second)]
                word = Mux(second, first, word)
        m.d.comb += [
            queue.i.valid.eq(put),
            queue.i.payload.eq(self.i.payload),
            self.i.ready.eq(accept),
            self.o.valid.eq(show),
            self.o.payload[0].eq(word),
            queue.o.ready.eq(pop),
        ]
        return m


@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        (None, None),
        ("offers nothing", "needed"),
        ("withdraws", "output.valid"),
        ("changes a waiting word", "output.payload"),
        ("duplicates under stall", "expected"),
        ("loses when full", "accepted"),
        ("stops", "longest"),
        ("swaps words", "expected"),
    ],
)
def test_faults_are_found(fault, failing, tmp_path):
    params = FifoParams(stream=bits(1, 4), depth=3)
    case = Case(params=params, moves=True, dut=Faulty(params, fault))
    if fault is None:
        prove_frames(case, tmp_path)
        return
    with pytest.raises(AssertionError, match="Assert failed") as failure:
        prove_frames(case, tmp_path)
    lines = Path(harness.__file__).read_text().splitlines()
    asserts = [lines[int(n) - 1] for n in re.findall(r"harness\.py:(\d+)", str(failure.value))]
    assert any(failing in line for line in asserts), asserts
