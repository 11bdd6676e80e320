"""Weighted sums in tiles of the array: the loops over them, and their weights in the order of these."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from ..errors import HwgenError
from ..graph import AveragePool, Conv, Dense, GlobalAveragePool, Linear
from .engine import Engine
from .exact import Sums
from .isa import Load, Multiply, Place, largest
from .places import Placed

__all__ = ["Loops", "Part", "matrix", "parts", "portions", "taps"]


@dataclass(frozen=True, kw_only=True)
class Loops:
    """Of tiles, the outermost first; the fields of :class:`hwgen.overlay.isa.Multiply` for these, of any size.

    Parameters
    ----------
    counts, steps
        Of k2, k1 and k0; bytes of activations from tile to tile.
    """

    counts: tuple[int, int, int]
    steps: tuple[int, int, int]
    depthwise: int = 0
    stride: int = 1

    def entries(self, engine: Engine) -> int:
        """Of the memory of weights, for each tile."""
        return engine.taps if self.depthwise else engine.rows

    def multiply(self) -> Multiply:
        """The instruction, without addresses nor positions."""
        numbers: dict[str, int] = {}
        for name, count, step in zip(("k2", "k1", "k0"), self.counts, self.steps, strict=True):
            numbers |= {f"{name}_count": count, f"{name}_step": step}
        return Multiply(depthwise=self.depthwise, stride=self.stride, **numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Output channels that the array computes at once.

    Parameters
    ----------
    first, count
        Output channels.
    channel
        The first input channel.
    origin
        (y, x) of the first window's first element.
    strides
        (y, x) pixels from window to window.
    x_step
        The field of :class:`hwgen.overlay.isa.Multiply`, in bytes.
    loops
        Over its tiles.
    weights
        (entries, columns) int8.
    ahead
        Bytes from the first window's first element to the first tile.
    """

    first: int
    count: int
    channel: int = 0
    origin: tuple[int, int] = (0, 0)
    strides: tuple[int, int] = (1, 1)
    x_step: int
    loops: Loops
    weights: np.ndarray
    ahead: int = 0


def portions(name: str, part: Part, engine: Engine, rows: tuple[int, int] | None = None) -> list[Part]:
    """A part whose weights are too many for the memory, or for one instruction, as several whose sums add up to its own.

    Parameters
    ----------
    name
        Of the node, for messages.
    rows
        Of the outermost loop only those from the first until before the second.
    """
    loops = part.loops
    (k2, k1, k0), (first, last) = loops.counts, rows or (0, loops.counts[0])
    entries, most = loops.entries(engine), _most(engine)
    limits = [largest(Multiply, f"k{k}_count") for k in (2, 1, 0)]
    counts = last - first, k1, k0
    fits = prod(counts) * entries <= most and all(a <= b for a, b in zip(counts, limits, strict=True))
    if rows is None and fits:
        return [part]
    tiles = (most if fits else min(most, max(entries, engine.weights // 2))) // entries
    if tiles < 1:
        raise HwgenError(
            f"{name}: a tile's {entries} entries of weights do not fit into the engine's {engine.weights}; "
            "choose an engine with more"
        )
    at_once = [1, 1, min(k0, tiles, limits[2])]
    if at_once[2] == k0:
        at_once[1] = min(k1, tiles // k0, limits[1])
        if at_once[1] == k1:
            at_once[0] = min(last - first, tiles // (k1 * k0), limits[0])
    words = part.weights.reshape(k2, k1, k0, entries, -1)
    found = []
    for a, b, c in product(range(first, last, at_once[0]), range(0, k1, at_once[1]), range(0, k0, at_once[2])):
        piece = words[a : min(last, a + at_once[0]), b : b + at_once[1], c : c + at_once[2]]
        ahead = sum(n * step for n, step in zip((a, b, c), loops.steps, strict=True))
        counts = (piece.shape[0], piece.shape[1], piece.shape[2])
        weights = piece.reshape(-1, engine.columns)
        found.append(replace(part, loops=replace(loops, counts=counts), weights=weights, ahead=part.ahead + ahead))
    return found


def _most(engine: Engine) -> int:
    """Entries of weights that one Load can bring."""
    group = engine.beats_of(Place.WEIGHTS) * engine.bus
    share = engine.entries_of(Place.WEIGHTS)
    return min(engine.weights // share, largest(Load, "size") // group) * share


def parts(
    node: Linear | GlobalAveragePool | AveragePool, sums: Sums, source: Placed, engine: Engine, by_rows: bool = False
) -> Iterator[Part]:
    """All output channels; ``by_rows``: rows of an image that a Dense takes as a whole are tiles of their own."""
    match node:
        case Conv() if node.depthwise and len(node.weights) == node.groups and node.dilations == (1, 1):
            yield from _by_channel(sums, source, engine, (-node.pads[0], -node.pads[1]), node.strides)
        case AveragePool():
            yield from _by_channel(sums, source, engine, (-node.pads[0], -node.pads[1]), node.strides)
        case GlobalAveragePool():
            yield from _by_channel(sums, source, engine, (0, 0), (1, 1))
        case Conv():
            yield from _convolution(node, sums, source, engine)
        case Dense():
            yield from _dense(sums, source, engine, by_rows)


def _by_channel(
    sums: Sums, source: Placed, engine: Engine, origin: tuple[int, int], strides: tuple[int, int]
) -> Iterator[Part]:
    """Of each input channel an output channel."""
    pixel = source.shape[2]
    for first, count in _columns(0, len(sums.weights), engine):
        loops, words = taps(sums.weights[first : first + count, 0], source, strides[1], engine)
        yield Part(
            first=first, count=count, channel=first, origin=origin, strides=strides, x_step=pixel, loops=loops, weights=words
        )


def _convolution(node: Conv, sums: Sums, source: Placed, engine: Engine) -> Iterator[Part]:
    """Group by group; without dilation, a window's row of all channels is one run."""
    pixel = source.shape[2]
    outputs, inputs = len(node.weights) // node.groups, node.weights.shape[1]
    whole = node.groups == 1 and node.dilations[1] == 1
    for group in range(node.groups):
        for first, count in _columns(group * outputs, (group + 1) * outputs, engine):
            kernel = sums.weights[first : first + count].transpose(2, 3, 1, 0)  # ky, kx, channel, output
            runs = kernel.reshape(kernel.shape[0], 1, -1, count) if whole else kernel
            loops, words = matrix(runs, (node.dilations[0] * source.row, node.dilations[1] * pixel), engine)
            yield Part(
                first=first, count=count, channel=group * inputs, origin=(-node.pads[0], -node.pads[1]), strides=node.strides,
                x_step=node.strides[1] * pixel, loops=loops, weights=words,
            )  # fmt: skip


def _dense(sums: Sums, source: Placed, engine: Engine, by_rows: bool) -> Iterator[Part]:
    """The image is one run, or one for each row where there is a border between them."""
    height, width, channels = source.shape
    whole = source.row == width * channels and not by_rows
    for first, count in _columns(0, len(sums.weights), engine):
        flat = sums.weights[first : first + count].T
        runs = flat.reshape(1, 1, -1, count) if whole else flat.reshape(height, 1, width * channels, count)
        loops, words = matrix(runs, (source.row, 0), engine)
        yield Part(first=first, count=count, x_step=channels, loops=loops, weights=words)


def _columns(start: int, stop: int, engine: Engine) -> Iterator[tuple[int, int]]:
    """(first, count) of the channels from ``start`` until before ``stop``, as many as there are columns at a time."""
    for first in range(start, stop, engine.columns):
        yield first, min(engine.columns, stop - first)


def matrix(runs: np.ndarray, steps: tuple[int, int], engine: Engine) -> tuple[Loops, np.ndarray]:
    """Tiles of ``runs`` (k2, k1, bytes that follow each other, outputs): each run in as many tiles as it needs."""
    k2, k1, run, count = runs.shape
    tiles = -(-run // engine.rows)
    words = np.zeros((k2, k1, tiles * engine.rows, engine.columns), np.int8)
    words[:, :, :run, :count] = runs
    loops = Loops(counts=(k2, k1, tiles), steps=(*steps, engine.rows if tiles > 1 else 0))
    return loops, words.reshape(-1, engine.columns)


def taps(weights: np.ndarray, source: Placed, stride: int, engine: Engine) -> tuple[Loops, np.ndarray]:
    """Tiles of ``weights`` (channels, ky, kx): each row of the window in as many as it needs."""
    count, height, width = weights.shape
    tiles = -(-width // engine.taps)
    words = np.zeros((height, tiles * engine.taps, engine.columns), np.int8)
    words[:, :width, :count] = weights.transpose(1, 2, 0)
    steps = source.row, engine.taps * source.shape[2], 0
    loops = Loops(counts=(height, tiles, 1), steps=steps, depthwise=1, stride=stride)
    return loops, words.reshape(-1, engine.columns)
