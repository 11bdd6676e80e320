"""Weighted sums: positions in bands, output channels in parts, of many weights a portion after the other."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ...errors import HwgenError
from ...graph import Conv, GlobalAveragePool, Linear, Node
from ..exact import Scales, Sums, scales_of, sums_of
from ..isa import SCALE, Drain, Place
from ..places import Band, Placed, bands
from ..tiles import Part, parts, portions
from ..writer import Writer

__all__ = ["WeightedSums", "drain", "load_scales", "multiply"]


class WeightedSums:
    """What a node's sums are made of.

    Parameters
    ----------
    portions
        Of each part. Where one has several, their weights come again for each band.
    starts
        First entries of the weights and scales that are in the engine's memories, of the first parts.
    by_rows
        Whether the rows of an image that is summed up as a whole are tiles of their own.
    """

    def __init__(self, w: Writer, node: Linear | GlobalAveragePool, by_rows: bool = False):
        self.w, self.node = w, node
        self.sums = sums_of(node, w.graph)
        self.parts = list(parts(node, self.sums, w.here[node.inputs[0]], w.engine, by_rows))
        self.scales = [scales_of(self.sums, part.first, part.count, w.engine) for part in self.parts]
        self.portions = [portions(node.name, part, w.engine) for part in self.parts]
        self.starts: list[tuple[int, int]] = []
        self.kept: bool | None = None  # whether the memories hold the constants of all parts, once that is known
        self.first_sums: int | None = None  # of sums that rows are added to

    def rows(self, arrive: Callable[[int | None], None], borders: Callable[[], None]) -> Iterator[int]:
        """Make all of the output; yields how many rows of it are complete, now and then.

        ``arrive`` reads so many rows of the input, or all; ``borders`` writes what surrounds the outputs.
        """
        w, source, target = self.w, self.w.here[self.node.inputs[0]], self.w.here[self.node.output]
        w.together(Place.SCALES, sum(_of_lanes(w, scales) for scales in self.scales))
        if self._in_portions:
            arrive(None)
            borders()
            for number in range(len(self.parts)):
                for band in self._in_portions_of(target, number, 0, target.shape[0]):
                    if number == len(self.parts) - 1 and band.x + band.width == target.shape[1]:
                        yield band.y + band.height
            return
        for band, number in self._order(target):
            if number == 0:
                arrive(_rows_for(self.node, band, source))
            if number == len(self.starts):
                self.starts.append((self._weights(number), load_scales(self.w, self.node, self.scales[number])))
                if number == 0:
                    borders()
            self._band(number, band)
            if number == len(self.parts) - 1 and band.x + band.width == target.shape[1]:
                yield band.y + band.height
        arrive(None)

    def some_rows(self, start: int, stop: int) -> None:
        """Make some rows of the output."""
        w, target = self.w, self.w.here[self.node.output]
        if self._in_portions:
            for number in range(len(self.parts)):
                list(self._in_portions_of(target, number, start, stop))
            return
        if self.kept is None:
            scales = sum(_of_lanes(w, scales) for scales in self.scales)
            self.kept = w.together(Place.WEIGHTS, self._entries) & w.together(Place.SCALES, scales)
        if not self.kept:
            self.starts = []
        for number in range(len(self.parts)):
            if number == len(self.starts):
                self.starts.append((self._weights(number), load_scales(self.w, self.node, self.scales[number])))
            for band in bands(target, w.engine, w.tiling.share * w.engine.rows, start, stop):
                self._band(number, band)

    def add_rows(self, start: int, stop: int) -> None:
        """Add the products of some rows of the input to the sums of the whole image."""
        w, band = self.w, Band(y=0, x=0, height=1, width=1)
        fresh = self.first_sums is None
        if self.first_sums is None:
            if len(self.parts) > w.engine.sums:
                raise HwgenError(
                    f"{self.node.name}: {len(self.parts)} sums at once do not fit into the engine's {w.engine.sums}; "
                    "choose an engine with more, or a larger scratchpad"
                )
            self.first_sums = w.sums(len(self.parts))
        before, weights = None, 0
        for number, part in enumerate(self.parts):
            for k, portion in enumerate(portions(self.node.name, part, w.engine, (start, stop))):
                if before is None or not np.array_equal(portion.weights, before):
                    weights = w.constants(self.node, Place.WEIGHTS, portion.weights.view(np.uint8))
                    before = portion.weights
                multiply(w, self.node, portion, band, weights, self.first_sums + number, fresh=fresh and k == 0)

    def finish(self) -> None:
        """Make the output of the sums of all rows."""
        if self.first_sums is None:
            raise ValueError("rows must be added before")
        for number, scales in enumerate(self.scales):
            self._drain(
                number, Band(y=0, x=0, height=1, width=1), self.first_sums + number, load_scales(self.w, self.node, scales)
            )

    @property
    def _in_portions(self) -> bool:
        return any(len(p) > 1 for p in self.portions)

    def _order(self, target: Placed) -> Iterator[tuple[Band, int]]:
        """Bands and parts: all parts of a band where the memory holds all of their weights, else all bands of a part."""
        w = self.w
        size = w.tiling.share * w.engine.rows
        if w.tiling.together and w.together(Place.WEIGHTS, self._entries):
            for band in bands(target, w.engine, size):
                yield from ((band, number) for number in range(len(self.parts)))
        else:
            for number in range(len(self.parts)):
                yield from ((band, number) for band in bands(target, w.engine, size))

    @property
    def _entries(self) -> int:
        """Of the memory of weights, for all parts."""
        share = self.w.engine.entries_of(Place.WEIGHTS)
        return sum(-(-len(part.weights) // share) * share for part in self.parts)

    def _weights(self, number: int) -> int:
        """Bring those of a part, unless the one before has the same; the first entry."""
        part = self.parts[number]
        if number and np.array_equal(part.weights, self.parts[number - 1].weights):
            return self.starts[-1][0]
        return self.w.constants(self.node, Place.WEIGHTS, part.weights.view(np.uint8))

    def _band(self, number: int, band: Band) -> None:
        """Make sums, and outputs of them."""
        weights, scales = self.starts[number]
        first = self.w.sums(band.height * band.width)
        multiply(self.w, self.node, self.parts[number], band, weights, first, fresh=True)
        self._drain(number, band, first, scales)

    def _in_portions_of(self, target: Placed, number: int, start: int, stop: int) -> Iterator[Band]:
        """Make a part of some rows, portion by portion; yields the bands that are complete."""
        scales = load_scales(self.w, self.node, self.scales[number])
        before, weights = None, 0
        for band in bands(target, self.w.engine, self.w.engine.sums, start, stop):
            first = self.w.sums(band.height * band.width)
            for k, portion in enumerate(self.portions[number]):
                if before is None or not np.array_equal(portion.weights, before):
                    weights = self.w.constants(self.node, Place.WEIGHTS, portion.weights.view(np.uint8))
                    before = portion.weights
                multiply(self.w, self.node, portion, band, weights, first, fresh=k == 0)
            self._drain(number, band, first, scales)
            yield band

    def _drain(self, number: int, band: Band, first: int, scales: int) -> None:
        """Outputs of the sums from entry ``first`` on."""
        drain(self.w, self.node, self.parts[number], band, first, scales, self.sums, self.scales[number])


def multiply(w: Writer, node: Node, part: Part, band: Band, weights: int, sums: int, fresh: bool) -> None:
    """Sums of a part in a band; ``weights``, ``sums``: first entries; ``fresh``: whether sums begin anew."""
    source = w.here[node.inputs[0]]
    start = source.at(part.origin[0] + band.y * part.strides[0], part.origin[1] + band.x * part.strides[1], part.channel)
    instruction = replace(
        part.loops.multiply(), source=start + part.ahead, x_count=band.width, x_step=part.x_step, y_count=band.height,
        y_step=part.strides[0] * source.row, weights=weights, sums=sums, first=int(fresh),
    )  # fmt: skip
    w.program.append(instruction)


def drain(w: Writer, node: Node, part: Part, band: Band, sums: int, scales: int, exact: Sums, scale: Scales) -> None:
    """Outputs of a part in a band, as ``exact`` and ``scale`` say; ``sums``, ``scales``: first entries."""
    target = w.here[node.output]
    instruction = Drain(
        sums=sums, target=target.at(band.y, band.x, part.first), x_count=band.width, x_step=target.shape[2],
        y_count=band.height, y_step=target.row, channels=part.count, scales=scales, steps=scale.steps, shift=scale.shift,
        zero=exact.zero, lo=exact.lo, hi=exact.hi,
    )  # fmt: skip
    w.program.append(instruction)


def load_scales(w: Writer, node: Node, scales: Scales) -> int:
    """Bring those of a part, up to whole words of the lanes; the first entry."""
    content = np.zeros(_of_lanes(w, scales), SCALE)
    content["mult"][: len(scales.mult)], content["offset"][: len(scales.mult)] = scales.mult, scales.offset
    return w.constants(node, Place.SCALES, content.view(np.uint8).reshape(-1, SCALE.itemsize))


def _of_lanes(w: Writer, scales: Scales) -> int:
    """Scales of a part, up to whole words of the lanes."""
    return -(-len(scales.mult) // w.engine.lanes) * w.engine.lanes


def _rows_for(node: Linear | GlobalAveragePool, band: Band, source: Placed) -> int:
    """Rows of the input that a band's sums are made of, and those before."""
    if not isinstance(node, Conv):
        return source.shape[0]
    return (band.y + band.height - 1) * node.strides[0] - node.pads[0] + (node.kernel[0] - 1) * node.dilations[0] + 1
