"""Averages over windows: depthwise sums with weights of one, requantised by how many pixels of the image a window has."""

from dataclasses import replace

import numpy as np

from ...graph import AveragePool
from ..averages import Run, averages_of
from ..isa import Place
from ..places import bands
from ..tiles import parts, portions
from ..writer import Writer
from .linear import drain, load_scales, multiply

__all__ = ["WindowAverages"]


class WindowAverages:
    """What a node's sums are made of. Scales are the same for all channels, and weights too."""

    def __init__(self, w: Writer, node: AveragePool):
        self.w, self.node = w, node
        self.exact = averages_of(node, w.graph, w.engine)
        self.parts = list(parts(node, self.exact.sums, w.here[node.inputs[0]], w.engine))
        self.portions = [portions(node.name, part, w.engine) for part in self.parts]
        self.weights: list[tuple[np.ndarray, int]] = []  # that came last, and where they are

    def some_rows(self, start: int, stop: int) -> None:
        """Make some rows of the output."""
        for row in self.exact.rows:
            for column in self.exact.columns:
                if max(start, row.start) < min(stop, row.stop):
                    self._rectangle(max(start, row.start), min(stop, row.stop), row, column)

    def _rectangle(self, start: int, stop: int, row: Run, column: Run) -> None:
        """Windows with as many pixels each."""
        w, target = self.w, self.w.here[self.node.output]
        one = self.exact.scales[row.pixels, column.pixels]
        sums = replace(self.exact.sums, zero=self.exact.zeros[row.pixels, column.pixels])
        count = max(part.count for part in self.parts)
        scale = replace(one, mult=np.repeat(one.mult, count), offset=np.repeat(one.offset, count))
        scales = load_scales(w, self.node, scale)
        across = replace(target, shape=(target.shape[0], column.stop - column.start, target.shape[2]))
        for number, part in enumerate(self.parts):
            for inner in bands(across, w.engine, w.tiling.share * w.engine.rows, start, stop):
                band = replace(inner, x=column.start + inner.x)
                first = w.sums(band.height * band.width)
                for k, portion in enumerate(self.portions[number]):
                    multiply(w, self.node, portion, band, self._load(portion.weights), first, fresh=k == 0)
                drain(w, self.node, part, band, first, scales, sums, scale)

    def _load(self, weights: np.ndarray) -> int:
        """Bring weights unless they are there; the first entry. Columns that do not count may have any."""
        for there, first in self.weights:
            if there.shape == weights.shape and (there >= weights).all():
                return first
        first = self.w.constants(self.node, Place.WEIGHTS, weights.view(np.uint8))
        self.weights = [(weights, first)]
        return first
