"""Convolutions and fully connected layers: line buffer, multiply-accumulate, requantise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...arith import IntType
from ...errors import HwgenError
from ...graph import Conv, Graph, Linear, output_shape
from ...templates.depthwise import DepthwiseParams
from ...templates.matrix_vector import MatrixVectorParams, Weights
from ...templates.window import Padding, WindowParams
from .base import Block, Unrolling, ceil_divisions, divisors, fewest_steps, serial_steps
from .requantiser import Formats, requantiser

__all__ = ["LinearOperator"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """A convolution's loops; a fully connected layer is one window of one pixel."""

    shape: tuple[int, int, int]
    vectors: int
    kernel: tuple[int, int]
    groups: int
    needs_window: bool


class LinearOperator:
    """A :class:`Conv` or :class:`Dense` node."""

    def __init__(self, node: Linear, graph: Graph, formats: Formats | None = None):
        self.node: Linear = node
        source, result = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        self.operand, self.output = source.type.integer, result.type.integer
        self.padding = source.type.zero_point
        flat = node.weights.reshape(len(node.weights), -1)
        low, high = flat * self.operand.min, flat * self.operand.max
        acc_lo, acc_hi = np.minimum(low, high).sum(1), np.maximum(low, high).sum(1)
        bias = node.bias - source.type.zero_point * flat.sum(1)
        self.programmable = formats is not None
        self.requantiser = requantiser(
            node.name, formats, node.scale, result.type.zero_point, node.lo, node.hi, bias, acc_lo, acc_hi
        )
        live = self.requantiser.exact.mult != 0
        self.weights = node.weights * live.reshape(-1, *(1,) * (node.weights.ndim - 1))  # a constant output needs none
        span = (int(acc_lo[live].min(initial=-1)), int(acc_hi[live].max(initial=0)))
        self.accumulator = IntType.holding(min(-1, span[0]), max(0, span[1]))
        self.weight = IntType.holding(min(-2, int(self.weights.min())), max(1, int(self.weights.max())))
        if formats is not None:
            self._for_all_weights(formats, flat.shape[1])
        if isinstance(node, Conv):
            out_h, out_w, _ = output_shape(node, [source])
            unit = node.kernel == (1, 1) and node.strides == (1, 1) and not any(node.pads)
            self.geometry = Geometry(source.shape, out_h * out_w, node.kernel, node.groups, not unit)
        else:
            self.geometry = Geometry((1, 1, source.elements), 1, (1, 1), 1, False)

    def _for_all_weights(self, formats: Formats, products: int) -> None:
        """Types that hold any weights, and the sums of so many products; ``HwgenError`` where the earlier ones do not."""
        needed = self.weight.bits
        self.weight = IntType(max(8, needed))
        if formats.earlier:
            self.weight = IntType(**formats.of(f"{self.node.name}_mac")["weight"])
            if self.weight.bits < needed:
                raise HwgenError(f"{self.node.name}: its weights need {needed} bits, the earlier build has {self.weight.bits}")
        corners = [x * w for x in (self.operand.min, self.operand.max) for w in (self.weight.min, self.weight.max)]
        self.accumulator = IntType.holding(products * min(corners), products * max(corners))

    @property
    def depthwise(self) -> bool:
        return isinstance(self.node, Conv) and self.node.depthwise

    @property
    def outputs(self) -> int:
        """Output channels of a group."""
        return len(self.node.weights) // self.geometry.groups

    @property
    def macs(self) -> int:
        return self.geometry.vectors * self.node.weights.size

    def multipliers(self, u: Unrolling) -> int:
        return u.rows * u.lanes * (1 if self.depthwise else u.packing * u.pe)

    def words(self, u: Unrolling) -> int:
        """T: input words of a window and group."""
        kh, kw = self.geometry.kernel
        channels = u.lanes if self.depthwise else self.geometry.shape[2] // self.geometry.groups
        return kh // u.rows * kw * (channels // u.lanes)

    def reference(self) -> Unrolling:
        kh, c = self.geometry.kernel[0], self.geometry.shape[2]
        if self.depthwise:
            return Unrolling(rows=kh, lanes=c, pe=c, out_lanes=c)
        return Unrolling(rows=kh, lanes=c // self.geometry.groups, pe=self.outputs, out_lanes=self.outputs)

    def unrollings(self, multipliers: int) -> Iterator[Unrolling]:
        """The fastest for each number of multipliers, with their equals of other shape."""
        best: dict[int, int] = {}
        found: list[tuple[int, int, Unrolling]] = []
        for cycles, u in self._all(multipliers):
            used = self.multipliers(u)
            if cycles <= best.get(used, cycles):
                best[used] = cycles
                found.append((used, cycles, u))
        fastest = None
        kept: dict[int, int] = {}
        for used, cycles, u in sorted(found, key=lambda f: (f[0], f[1], -f[2].steps, f[2].rows, f[2].out_lanes)):
            if (
                cycles > best[used]
                or (fastest is not None and cycles >= fastest and used not in kept)
                or kept.get(used, 0) >= 4
            ):
                continue
            kept[used] = kept.get(used, 0) + 1
            fastest = cycles
            yield u

    def _all(self, multipliers: int) -> Iterator[tuple[int, Unrolling]]:
        g = self.geometry
        channels = g.shape[2] if self.depthwise else g.shape[2] // g.groups
        for rows in divisors(g.kernel[0]):
            for lanes in divisors(channels):
                if rows * lanes > multipliers:
                    break
                written = self._written() // lanes
                base = Unrolling(rows=rows, lanes=lanes)
                words = self.words(base)
                if self.depthwise:
                    serial = serial_steps(lanes, g.shape[2], words)
                    if serial is not None:
                        cycles = max(written, g.vectors * (channels // lanes) * words)
                        yield (
                            cycles,
                            Unrolling(rows=rows, lanes=lanes, pe=lanes, out_lanes=serial[0], steps=self._steps(serial[1])),
                        )
                    continue
                for packing in ceil_divisions(words):
                    if rows * lanes * packing > multipliers:
                        break
                    depth = -(-words // packing)
                    for pe in ceil_divisions(self.outputs):
                        if rows * lanes * packing * pe > multipliers:
                            break
                        serial = serial_steps(pe, self.outputs, depth)
                        if serial is None:
                            continue
                        folds = -(-self.outputs // pe)
                        cycles = max(written, g.vectors * g.groups * max(words, depth * folds))
                        yield (
                            cycles,
                            Unrolling(
                                rows=rows,
                                lanes=lanes,
                                packing=packing,
                                pe=pe,
                                out_lanes=serial[0],
                                steps=self._steps(serial[1]),
                            ),
                        )

    def _steps(self, available: int) -> int:
        """Of the requantiser, with ``available`` cycles for each output word."""
        return fewest_steps(self.requantiser.mult.bits, available)

    def _written(self) -> int:
        """Elements that pass the line buffer's write port, padding included."""
        h, w, c = self.geometry.shape
        if isinstance(self.node, Conv) and self.geometry.needs_window:
            top, left, bottom, right = self.node.pads
            return (h + top + bottom) * (w + left + right) * c
        return h * w * c

    def blocks(self, u: Unrolling) -> tuple[Block, ...]:
        g, words = self.geometry, self.words(u)
        height, width, channels = g.shape
        chain = []
        if isinstance(self.node, Conv) and g.needs_window:
            loaded = self.programmable and any(self.node.pads)
            window = WindowParams(
                element=self.operand,
                height=height,
                width=width,
                channels=channels,
                lanes=u.lanes,
                rows=u.rows,
                groups=channels // u.lanes if self.depthwise else g.groups,
                kernel=g.kernel,
                strides=self.node.strides,
                dilations=self.node.dilations,
                pads=self.node.pads,
                pad_value=self.operand.min if self.programmable else self.padding,
                programmable=loaded,
            )
            chain.append(
                Block(suffix="window", params=window, contents=(lambda: Padding(value=self.padding)) if loaded else None)
            )
        if self.depthwise:
            mac: DepthwiseParams | MatrixVectorParams = DepthwiseParams(
                operand=self.operand,
                weight=self.weight,
                accumulator=self.accumulator,
                vectors=g.vectors,
                channels=channels,
                lanes=u.lanes,
                rows=u.rows,
                words=words,
                soft=u.soft,
                programmable=self.programmable,
            )
        else:
            mac = MatrixVectorParams(
                operand=self.operand,
                weight=self.weight,
                accumulator=self.accumulator,
                vectors=g.vectors,
                groups=g.groups,
                words=words,
                sources=u.rows * u.lanes,
                packing=u.packing,
                channels=self.outputs,
                pe=u.pe,
                soft=u.soft,
                programmable=self.programmable,
            )
        chain.append(Block(suffix="mac", params=mac, contents=lambda: Weights(values=self.arranged(u))))
        groups, outputs = (1, channels) if self.depthwise else (g.groups, self.outputs)
        requant = self.requantiser.block(self.accumulator, self.output, vectors=g.vectors, groups=groups, channels=outputs, u=u)
        return (*chain, requant)

    def arranged(self, u: Unrolling) -> np.ndarray:
        """The weights in the order of the window's words: (groups, outputs, words, sources)."""
        kh, kw = self.geometry.kernel
        if self.depthwise:
            split = self.weights.reshape(-1, u.lanes, kh // u.rows, u.rows, kw)
            return split.transpose(0, 2, 4, 3, 1).reshape(len(split), 1, -1, u.rows * u.lanes)
        split = self.weights.reshape(self.geometry.groups, self.outputs, -1, u.lanes, kh // u.rows, u.rows, kw)
        ordered = split.transpose(0, 1, 4, 6, 2, 5, 3)
        return ordered.reshape(self.geometry.groups, self.outputs, -1, u.rows * u.lanes)
