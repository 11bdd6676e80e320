"""Random parameters of every template, in the range that networks need: what the resource model is calibrated on."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hwgen.arith import IntType
from hwgen.graph import QuantType
from hwgen.mapping.design import Stage
from hwgen.streams import Stream
from hwgen.templates.add import AddParams, AddTables
from hwgen.templates.argmax import ArgMaxParams
from hwgen.templates.average import average
from hwgen.templates.concat import ConcatParams
from hwgen.templates.depthwise import DepthwiseParams
from hwgen.templates.fifo import fifo_of
from hwgen.templates.fork import ForkParams
from hwgen.templates.matrix_vector import MatrixVectorParams, Weights
from hwgen.templates.pair_table import PairTableContents, PairTableParams
from hwgen.templates.pool import GlobalSumParams, WindowMaxParams
from hwgen.templates.requant import RequantParams, Scales
from hwgen.templates.softmax import softmax_params
from hwgen.templates.table import TableContents, TableParams
from hwgen.templates.width import WidthParams
from hwgen.templates.window import WindowParams

__all__ = ["points"]

INT8 = IntType(8)
BYTES = (INT8, INT8, INT8, IntType(8, False))

Point = tuple[Any, Any]  #: params, contents
Random = np.random.Generator


def float32(x: float) -> float:
    return float(np.float32(x))


def pick(random: Random, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def stream(random: Random, lanes: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 16), words: int = 1000) -> Stream:
    return Stream(element=pick(random, BYTES), lanes=pick(random, lanes), words=words)


def fifo(random: Random) -> Point:
    depth = int(pick(random, (8, 32, 128, 1024, 3000)) * random.uniform(0.4, 1))
    return fifo_of(stream(random), depth), None


def width(random: Random) -> Point:
    of, factor = pick(random, (1, 2, 3, 4, 8)), pick(random, (2, 3, 4, 6, 8))
    lanes = (of, of * factor) if random.integers(2) else (of * factor, of)
    return WidthParams(stream=stream(random, (lanes[0],), 24 * 24), lanes=lanes[1]), None


def fork(random: Random) -> Point:
    return ForkParams(stream=stream(random), branches=pick(random, (2, 2, 3, 4))), None


def concat(random: Random) -> Point:
    lanes = pick(random, (1, 2, 4, 8))
    channels = tuple(lanes * int(n) for n in random.integers(1, 9, pick(random, (2, 2, 3, 4))))
    return ConcatParams(element=INT8, lanes=lanes, channels=channels, pixels=64), None


def window(random: Random) -> Point:
    lanes, kernel, size = pick(random, (1, 1, 2, 4, 8)), pick(random, (2, 3, 3, 3, 5)), int(random.integers(6, 49))
    before, after = pick(random, ((0, 0), (1, 1), (0, 1), (2, 2)))
    params = WindowParams(
        element=pick(random, BYTES), height=size, width=size + int(random.integers(5)), lanes=lanes,
        channels=lanes * pick(random, (1, 2, 3, 4, 8, 16)), rows=pick(random, (1, 1, kernel)), kernel=(kernel, kernel),
        strides=pick(random, ((1, 1), (2, 2))), pads=(before, before, after, after), pad_value=int(random.integers(0, 50)),
    )  # fmt: skip
    return params, None


def window_max(random: Random) -> Point:
    rows = pick(random, (1, 2, 3))
    params = WindowMaxParams(
        element=pick(random, BYTES), words=pick(random, (2, 3, 4, 9)), rows=rows, lanes=pick(random, (1, 2, 4, 8)), vectors=100
    )
    return params, None


def global_sum(random: Random) -> Point:
    lanes, pixels = pick(random, (1, 2, 4)), pick(random, (16, 25, 64, 125))
    element = pick(random, BYTES)
    accumulator = IntType.holding(min(-1, element.min * pixels), element.max * pixels)
    chunks = pick(random, (1, 2, 3, 8, 16, 32, 64, 128))
    return GlobalSumParams(element=element, accumulator=accumulator, pixels=pixels, channels=lanes * chunks, lanes=lanes), None


def average_pool(random: Random) -> Point:
    lanes, size = pick(random, (1, 2, 4)), int(random.integers(6, 13))
    source = QuantType(integer=INT8, scale=float32(random.uniform(0.01, 0.1)), zero_point=int(random.integers(-20, 20)))
    result = QuantType(integer=INT8, scale=float32(source.scale * random.uniform(0.7, 1)), zero_point=3)
    kernel = pick(random, (2, 3))
    pad = pick(random, (0, kernel - 1))
    return average(
        source, result, height=size, width=size, channels=lanes * pick(random, (1, 2, 4)), lanes=lanes,
        kernel=(kernel, kernel), strides=(1, 1), pads=(pad, pad, 0, 0), count_include_pad=bool(random.integers(2)),
    )  # fmt: skip


def weights_of(random: Random, weight: IntType, *shape: int) -> Weights:
    return Weights(values=random.integers(weight.min, weight.max + 1, shape))


def matrix_vector(random: Random) -> Point:
    operand, weight = pick(random, BYTES), IntType(pick(random, (8, 8, 8, 7, 6)))
    words, sources = pick(random, (1, 3, 9, 16, 27, 36, 64, 144)), pick(random, (1, 2, 3, 4, 8))
    channels, groups = pick(random, (8, 10, 16, 32, 64)), pick(random, (1, 1, 1, 2))
    pe, packing = min(channels, pick(random, (1, 2, 3, 4, 5, 6))), min(words, pick(random, (1, 1, 2, 3)))
    reach = 1 << (operand.bits + weight.bits - 1)
    accumulator = IntType.holding(-reach * words * sources // 4, reach * words * sources // 4)
    soft = int(pick(random, (0, 0, 0.5, 1)) * sources * packing * pe)
    params = MatrixVectorParams(
        operand=operand, weight=weight, accumulator=accumulator, vectors=100, groups=groups, words=words, sources=sources,
        packing=packing, channels=channels, pe=pe, soft=soft,
    )  # fmt: skip
    return params, weights_of(random, weight, groups, channels, words, sources)


def depthwise(random: Random) -> Point:
    operand, weight = pick(random, BYTES), IntType(pick(random, (8, 8, 8, 7)))
    rows, lanes, groups = pick(random, (1, 3, 3, 5)), pick(random, (1, 2, 4, 8)), pick(random, (1, 2, 4, 8, 16, 32))
    words = pick(random, (1, 3, 3, 9, 9, 25))
    reach = 1 << (operand.bits + weight.bits - 1)
    accumulator = IntType.holding(-reach * words * rows // 4, reach * words * rows // 4)
    params = DepthwiseParams(
        operand=operand, weight=weight, accumulator=accumulator, vectors=100, channels=lanes * groups, lanes=lanes, rows=rows,
        words=words, soft=int(pick(random, (0, 0, 0.5, 1)) * rows * lanes),
    )  # fmt: skip
    return params, weights_of(random, weight, groups, 1, words, rows * lanes)


def requant(random: Random) -> Point:
    lanes, groups = pick(random, (1, 1, 1, 2, 3)), pick(random, (1, 1, 1, 4))
    channels = lanes * pick(random, (4, 8, 12, 16, 32, 64))
    pe = min(channels, lanes * pick(random, (1, 2, 4, 5, 8)))
    accumulator, mult = IntType(int(random.integers(14, 23))), IntType(int(random.integers(12, 25)), False)
    digits = sorted({-(-mult.bits // steps) for steps in range(1, mult.bits + 1)})
    steps = -(-mult.bits // pick(random, digits[:12]))
    offset = IntType(accumulator.bits + mult.bits - int(random.integers(0, 4)))
    shift = min(offset.bits - 2, accumulator.bits + mult.bits - int(random.integers(10, 14)))
    uniform, fixes = not random.integers(6), pick(random, (0, 0, 0, 0, 1, 2))
    values = {
        name: random.integers(element.min, element.max, 1 if uniform else groups * channels, endpoint=True)
        for name, element in (("mult", mult), ("offset", offset))
    }
    params = RequantParams(
        accumulator=accumulator, output=INT8, vectors=50, groups=groups, channels=channels, pe=pe, lanes=lanes, steps=steps,
        mult=mult, offset=offset, shift=shift, window=pick(random, (-1, -1, shift // 2, shift - 8)), odd=1,
        lo=pick(random, (-128, -100)), hi=pick(random, (127, 90)), fixes=fixes, uniform=uniform,
    )  # fmt: skip
    changes = [(int(random.integers(groups * channels)), int(random.integers(-1000, 1000)), 1) for _ in range(fixes)]
    size = groups * channels // values["mult"].size
    scales = Scales(
        mult=np.tile(values["mult"], size), offset=np.tile(values["offset"], size), fixes=np.array(changes).reshape(-1, 3)
    )
    return params, scales


def add(random: Random) -> Point:
    term, shift = IntType(int(random.integers(11, 19))), int(random.integers(2, 9))
    fixes = pick(random, (0, 0, 0, 2))
    params = AddParams(
        a=INT8, b=INT8, output=INT8, lanes=pick(random, (1, 2, 3, 4)), words=100, term=term, shift=shift,
        window=pick(random, (-1, -1, shift - 1)), odd=1, lo=pick(random, (-128, -20)), hi=127, fixes=fixes,
    )  # fmt: skip
    tables = [random.integers(term.min, term.max, 256, endpoint=True) for _ in "ab"]
    changes = np.column_stack([random.integers(-128, 128, (fixes, 2)), np.ones(fixes, int)])
    return params, AddTables(a=tables[0], b=tables[1], fixes=changes)


def table(random: Random) -> Point:
    source = Stream(element=IntType(pick(random, (4, 6, 8, 8, 8, 9, 12))), lanes=pick(random, (1, 2, 3, 4, 8)), words=100)
    if random.integers(3) == 0:
        return TableParams(stream=source, output=INT8, limits=(pick(random, (-8, -5)), pick(random, (7, 4)))), None
    values = random.integers(-128, 128, 1 << source.element.bits)
    return TableParams(stream=source, output=INT8), TableContents(values=values)


def pair_table(random: Random) -> Point:
    a, b = IntType(pick(random, (4, 5, 6))), IntType(pick(random, (5, 8)))
    params = PairTableParams(a=a, b=b, output=INT8, lanes=pick(random, (1, 2)), words=100)
    return params, PairTableContents(values=random.integers(-128, 128, (1 << a.bits, 1 << b.bits)))


def softmax(random: Random) -> Point:
    element = QuantType(integer=INT8, scale=float32(random.uniform(0.02, 0.2)), zero_point=int(random.integers(-20, 20)))
    output = QuantType(integer=INT8, scale=1 / 256, zero_point=-128)
    return softmax_params(element, output, pick(random, (2, 4, 10, 12, 35, 100, 1000)))


def arg_max(random: Random) -> Point:
    return ArgMaxParams(element=pick(random, BYTES), channels=int(random.integers(2, 200)), last=bool(random.integers(2))), None


MAKERS: dict[str, tuple[Callable[[Random], Point], int]] = {
    "MatrixVector": (matrix_vector, 48), "Depthwise": (depthwise, 32), "Requant": (requant, 64), "Window": (window, 48),
    "Fifo": (fifo, 32), "Width": (width, 16), "Fork": (fork, 8), "Concat": (concat, 12), "WindowMax": (window_max, 16),
    "GlobalSum": (global_sum, 24), "Average": (average_pool, 12), "Add": (add, 24), "Table": (table, 24),
    "PairTable": (pair_table, 6), "Softmax": (softmax, 4), "ArgMax": (arg_max, 12),
}  # fmt: skip


def points(template: str) -> Iterator[Stage]:
    """Stages of that template, always the same."""
    maker, count = MAKERS[template]
    random = np.random.default_rng(sum(template.encode()))
    made: set[Any] = set()
    while len(made) < count:
        params, contents = maker(random)
        if params not in made:
            made.add(params)
            yield Stage(name=f"{template.lower()}{len(made)}", node="", params=params, contents=contents)
