"""Averages over windows in the engine's number formats: sums of integers, as far as ONNX Runtime's float32 sums allow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product

import numpy as np

from ..errors import HwgenError
from ..graph import AveragePool, Graph, QuantType
from .engine import Engine
from .exact import FARTHEST, INSTEAD, Scales, Sums, nearest, scales_of, stored

__all__ = ["Averages", "Run", "averaged", "averages_of"]

ADDED = 200  #: elements of a window, at most
NEIGHBOURS = 2  #: float32 numbers on each side of a scale that are tried too


@dataclass(frozen=True, kw_only=True)
class Run:
    """Rows or columns of windows from ``start`` until before ``stop`` with as many pixels of the image in each."""

    start: int
    stop: int
    pixels: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Averages:
    """What ONNX Runtime makes of sums of stored activations.

    Parameters
    ----------
    sums
        Of all pixels of a window; those beside the image are zero points.
    rows, columns
        Of windows.
    scales, zeros
        Of one channel, and what is added, by the pixels of rows and columns.
    """

    sums: Sums
    rows: list[Run]
    columns: list[Run]
    scales: dict[tuple[int, int], Scales]
    zeros: dict[tuple[int, int], int]


def averages_of(node: AveragePool, graph: Graph, engine: Engine) -> Averages:
    """The arithmetic of a node; ``HwgenError`` where no requantisation of the integers' sums equals it."""
    source, result = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    channels, away, up = source.shape[2], stored(graph, source.name), stored(graph, result.name)
    taps, zero = node.kernel[0] * node.kernel[1], source.type.zero_point - away
    rows, columns = (list(_runs(node, axis, source.shape[axis], result.shape[axis])) for axis in (0, 1))
    if min(run.pixels for run in rows + columns) < 1 or not 2.0**-80 < source.type.scale / result.type.scale < 2.0**80:
        raise HwgenError(f"{node.name}: a window lies in the padding alone, or scales leave float32's range; {INSTEAD}")
    sums = Sums(
        name=node.name, weights=np.ones((channels, 1, *node.kernel), np.int64), bias=np.array([-taps * zero]),
        scale=np.zeros(1, np.float32), constant=np.zeros(1, np.int64), low=np.zeros(1, np.int64), high=np.zeros(1, np.int64),
        zero=result.type.zero_point - up, lo=result.type.integer.min - up, hi=result.type.integer.max - up,
    )  # fmt: skip
    scales: dict[tuple[int, int], Scales] = {}
    zeros: dict[tuple[int, int], int] = {}
    both = f"scales {source.type.scale:.9g} and {result.type.scale:.9g}"
    for pixels in dict.fromkeys((row.pixels, column.pixels) for row, column in product(rows, columns)):
        count = pixels[0] * pixels[1]
        counted = taps if node.count_include_pad else count
        if count > ADDED:
            raise HwgenError(
                f"{node.name}: windows of {count} pixels are larger than the {ADDED} whose float32 sums are looked through; "
                f"average in two steps, or {INSTEAD}"
            )
        every = np.arange(count * (-128 - zero), count * (127 - zero) + 1)
        wanted = averaged(source.type, result.type, count, counted)
        if wanted is None:
            raise HwgenError(
                f"{node.name}: ONNX Runtime adds float32 numbers, so that with {both} windows of {count} pixels whose sums of "
                f"integers are equal have different averages; quantise its output with another scale, or {INSTEAD}"
            )
        scale = np.array([np.float32(source.type.scale) / (np.float32(counted) * np.float32(result.type.scale))])
        found = _requantised(replace(sums, scale=scale), every + taps * zero, wanted - up, engine)
        if found is None:
            raise HwgenError(
                f"{node.name}: ONNX Runtime rounds averages of {counted} pixels with {both} as the overlay cannot; "
                f"quantise its output with another scale, or {INSTEAD}"
            )
        scales[pixels], zeros[pixels] = found
    return Averages(sums=sums, rows=rows, columns=columns, scales=scales, zeros=zeros)


@cache
def averaged(source: QuantType, result: QuantType, count: int, counted: int) -> np.ndarray | None:
    """What ONNX Runtime makes of ``count`` elements, for each sum of their integers; None where their order matters.

    It adds float32 numbers one after the other. Of all elements with the same sum of integers those with the least and the
    largest float32 sum are known, as rounding is monotone: they go on from those of one element less.
    """
    steps = np.arange(source.integer.min, source.integer.max + 1) - source.zero_point
    values = steps.astype(np.float32) * np.float32(source.scale)
    least = most = np.zeros(1, np.float32)
    for _ in range(count):
        size = len(least) + len(values) - 1
        low, high = np.full(size, np.inf, np.float32), np.full(size, -np.inf, np.float32)
        for k, value in enumerate(values):
            part = slice(k, k + len(least))
            np.minimum(low[part], least + value, out=low[part])
            np.maximum(high[part], most + value, out=high[part])
        least, most = low, high

    def mean(total: np.ndarray) -> np.ndarray:
        quotient = total / np.float32(counted) / np.float32(result.scale) + np.float32(result.zero_point)
        return np.clip(np.rint(quotient), result.integer.min, result.integer.max).astype(np.int64)

    return mean(least) if (mean(least) == mean(most)).all() else None


def _runs(node: AveragePool, axis: int, size: int, count: int) -> Iterator[Run]:
    """Along an axis."""
    first = np.arange(count) * node.strides[axis] - node.pads[axis]
    inside = np.minimum(first + node.kernel[axis], size) - np.maximum(first, 0)
    ends = [0, *(np.flatnonzero(np.diff(inside)) + 1).tolist(), count]
    for start, stop in pairwise(ends):
        yield Run(start=start, stop=stop, pixels=int(inside[start]))


def _requantised(sums: Sums, every: np.ndarray, wanted: np.ndarray, engine: Engine) -> tuple[Scales, int] | None:
    """Scales, and what is added, that make what is ``wanted`` of every sum.

    ONNX Runtime adds the zero point before it rounds: ties go to the even neighbour of both together.
    """
    scale = sums.scale[0]
    nearby = [scale]
    for _ in range(NEIGHBOURS):
        nearby = [np.nextafter(nearby[0], np.float32(0)), *nearby, np.nextafter(nearby[-1], np.float32(np.inf))]
    odd = 0 if sums.zero % 2 == 0 else 1 if sums.zero > sums.lo else -1
    for candidate, moved in product(sorted(nearby, key=lambda s: abs(s - scale)), dict.fromkeys((odd, 0))):
        room = int(2 / candidate) + FARTHEST  # for what the offset moves
        tried = replace(sums, scale=np.array([candidate]), low=every[:1] - room, high=every[-1:] + room)
        made = scales_of(tried, 0, 1, engine)
        mult, shift = int(made.mult[0]), 4 * made.shift
        for halves in sorted(range(-FARTHEST, FARTHEST + 1), key=abs):
            offset = made.offset + (moved << shift) + halves * mult // 2
            result = np.clip(nearest(every * mult + offset[0], shift) + sums.zero - moved, sums.lo, sums.hi)
            if (result == wanted).all():
                return replace(made, offset=offset), sums.zero - moved
    return None
