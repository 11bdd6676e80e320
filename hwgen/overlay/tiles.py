"""Weighted sums in tiles of the array: the loops over them, and their weights in the order of these."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..graph import Conv, Dense, GlobalAveragePool, Linear
from .engine import Engine
from .exact import Sums
from .isa import Multiply
from .places import Placed

__all__ = ["Part", "matrix", "parts", "taps"]


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
        With the tiles' loops, but no addresses nor positions.
    weights
        (entries, columns) int8.
    """

    first: int
    count: int
    channel: int = 0
    origin: tuple[int, int] = (0, 0)
    strides: tuple[int, int] = (1, 1)
    x_step: int
    loops: Multiply
    weights: np.ndarray


def parts(node: Linear | GlobalAveragePool, sums: Sums, source: Placed, engine: Engine) -> Iterator[Part]:
    """All output channels."""
    match node:
        case Conv() if node.depthwise and len(node.weights) == node.groups and node.dilations == (1, 1):
            yield from _by_channel(sums, source, engine, (-node.pads[0], -node.pads[1]), node.strides)
        case GlobalAveragePool():
            yield from _by_channel(sums, source, engine, (0, 0), (1, 1))
        case Conv():
            yield from _convolution(node, sums, source, engine)
        case Dense():
            yield from _dense(sums, source, engine)


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


def _dense(sums: Sums, source: Placed, engine: Engine) -> Iterator[Part]:
    """The image is one run, or one for each row where there is a border between them."""
    height, width, channels = source.shape
    whole = source.row == width * channels
    for first, count in _columns(0, len(sums.weights), engine):
        flat = sums.weights[first : first + count].T
        runs = flat.reshape(1, 1, -1, count) if whole else flat.reshape(height, 1, width * channels, count)
        loops, words = matrix(runs, (source.row, 0), engine)
        yield Part(first=first, count=count, x_step=channels, loops=loops, weights=words)


def _columns(start: int, stop: int, engine: Engine) -> Iterator[tuple[int, int]]:
    """(first, count) of the channels from ``start`` until before ``stop``, as many as there are columns at a time."""
    for first in range(start, stop, engine.columns):
        yield first, min(engine.columns, stop - first)


def matrix(runs: np.ndarray, steps: tuple[int, int], engine: Engine) -> tuple[Multiply, np.ndarray]:
    """Tiles of ``runs`` (k2, k1, bytes that follow each other, outputs): each run in as many tiles as it needs."""
    k2, k1, run, count = runs.shape
    tiles = -(-run // engine.rows)
    words = np.zeros((k2, k1, tiles * engine.rows, engine.columns), np.int8)
    words[:, :, :run, :count] = runs
    loops = Multiply(
        k0_count=tiles, k0_step=engine.rows if tiles > 1 else 0, k1_count=k1, k1_step=steps[1], k2_count=k2, k2_step=steps[0]
    )
    return loops, words.reshape(-1, engine.columns)


def taps(weights: np.ndarray, source: Placed, stride: int, engine: Engine) -> tuple[Multiply, np.ndarray]:
    """Tiles of ``weights`` (channels, ky, kx): each row of the window in as many as it needs."""
    count, height, width = weights.shape
    tiles = -(-width // engine.taps)
    words = np.zeros((height, tiles * engine.taps, engine.columns), np.int8)
    words[:, :width, :count] = weights.transpose(1, 2, 0)
    loops = Multiply(
        depthwise=1, stride=stride, k1_count=tiles, k1_step=engine.taps * source.shape[2], k2_count=height, k2_step=source.row
    )
    return loops, words.reshape(-1, engine.columns)
