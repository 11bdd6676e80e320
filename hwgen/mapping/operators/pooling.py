"""Pooling: windows reduced to their maximum or mean, and the mean of a whole image."""

from collections.abc import Iterator

import numpy as np

from ...arith import IntType
from ...errors import HwgenError
from ...graph import AveragePool, GlobalAveragePool, Graph, MaxPool
from ...templates.average import average
from ...templates.fifo import fifo_of
from ...templates.pool import GlobalSumParams, WindowMaxParams
from ...templates.window import WindowParams
from .base import Block, Unrolling, divisors, fewest_steps
from .requantiser import Formats, requantiser

__all__ = ["GlobalAverageOperator", "WindowPoolOperator"]


class WindowPoolOperator:
    """A :class:`MaxPool` or :class:`AveragePool` node."""

    macs = 0

    def __init__(self, node: MaxPool | AveragePool, graph: Graph, formats: Formats | None = None):
        if formats is not None and isinstance(node, AveragePool):
            raise HwgenError(
                f"{node.name}: the scales of an average over windows lie in its logic; build it without --retrainable"
            )
        self.node: MaxPool | AveragePool = node
        self.source, self.result = graph.tensors[node.inputs[0]], graph.tensors[node.output]

    def multipliers(self, u: Unrolling) -> int:
        return 0

    def reference(self) -> Unrolling:
        return Unrolling(rows=self.node.kernel[0] if isinstance(self.node, MaxPool) else 1, lanes=self.source.shape[2])

    def unrollings(self, multipliers: int) -> Iterator[Unrolling]:
        for rows in divisors(self.node.kernel[0]) if isinstance(self.node, MaxPool) else [1]:
            for lanes in divisors(self.source.shape[2]):
                yield Unrolling(rows=rows, lanes=lanes)

    def blocks(self, u: Unrolling) -> tuple[Block, ...]:
        element = self.source.type.integer
        height, width, channels = self.source.shape
        window = WindowParams(
            element=element,
            height=height,
            width=width,
            channels=channels,
            lanes=u.lanes,
            rows=u.rows,
            groups=channels // u.lanes,
            kernel=self.node.kernel,
            strides=self.node.strides,
            dilations=self.node.dilations if isinstance(self.node, MaxPool) else (1, 1),
            pads=self.node.pads,
            pad_value=element.min if isinstance(self.node, MaxPool) else self.source.type.zero_point,
        )
        if isinstance(self.node, AveragePool):
            params, tables = average(
                self.source.type,
                self.result.type,
                height=height,
                width=width,
                channels=channels,
                lanes=u.lanes,
                kernel=self.node.kernel,
                strides=self.node.strides,
                pads=self.node.pads,
                count_include_pad=self.node.count_include_pad,
            )
            return Block(suffix="window", params=window), Block(suffix="mean", params=params, contents=lambda: tables)
        words = self.node.kernel[0] // u.rows * self.node.kernel[1]
        largest = WindowMaxParams(
            element=element, words=words, rows=u.rows, lanes=u.lanes, vectors=self.result.elements // u.lanes
        )
        return Block(suffix="window", params=window), Block(suffix="max", params=largest)


class GlobalAverageOperator:
    """A :class:`GlobalAveragePool` node."""

    macs = 0

    def __init__(self, node: GlobalAveragePool, graph: Graph, formats: Formats | None = None):
        self.node: GlobalAveragePool = node
        source, result = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        self.element, self.output = source.type.integer, result.type.integer
        self.pixels, self.channels = source.shape[0] * source.shape[1], source.shape[2]
        self.accumulator = IntType.holding(min(-1, self.element.min * self.pixels), self.element.max * self.pixels)

        def for_all(value: int) -> np.ndarray:
            return np.full(self.channels, value, np.int64)

        self.requantiser = requantiser(
            node.name,
            formats,
            np.full(self.channels, node.scale, np.float32),
            result.type.zero_point,
            self.output.min,
            self.output.max,
            for_all(-source.type.zero_point * self.pixels),
            for_all(self.element.min * self.pixels),
            for_all(self.element.max * self.pixels),
        )

    def multipliers(self, u: Unrolling) -> int:
        return 0

    def reference(self) -> Unrolling:
        return Unrolling(lanes=self.channels, pe=self.channels, out_lanes=self.channels)

    def unrollings(self, multipliers: int) -> Iterator[Unrolling]:
        bits = self.requantiser.mult.bits
        for lanes in divisors(self.channels):
            for out_lanes in divisors(lanes):
                for steps in sorted({fewest_steps(bits, s) for s in (1, 2, 4, 8, 16, 32)}):
                    yield Unrolling(lanes=lanes, pe=lanes, out_lanes=out_lanes, steps=steps)

    def blocks(self, u: Unrolling) -> tuple[Block, ...]:
        total = GlobalSumParams(
            element=self.element, accumulator=self.accumulator, pixels=self.pixels, channels=self.channels, lanes=u.lanes
        )
        queue = fifo_of(total.outputs[0], total.outputs[0].words)
        requant = self.requantiser.block(self.accumulator, self.output, vectors=1, groups=1, channels=self.channels, u=u)
        return Block(suffix="sum", params=total), Block(suffix="queue", params=queue), requant
