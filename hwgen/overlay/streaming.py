"""An operator whose tensors pass through the scratchpad in bands: load, work, store, and the next band meanwhile."""

from collections.abc import Mapping
from dataclasses import replace

from ..graph import AveragePool, Conv, Dense, GlobalAveragePool
from .isa import Load, Store
from .operators.average import WindowAverages
from .operators.linear import WeightedSums
from .operators.vector import vector_rows
from .places import Placed, fills, rectangle
from .streams import Stream
from .writer import Writer, saying

__all__ = ["streamed"]


def streamed(w: Writer, plan: Stream, address: int, there: Mapping[str, int]) -> None:
    """Write an operator's instructions; ``address``: of its buffers; ``there``: of tensors in external memory."""
    _Streaming(w, plan, address, there).run()


class _Streaming:
    def __init__(self, w: Writer, plan: Stream, address: int, there: Mapping[str, int]):
        self.w, self.plan, self.node, self.there = w, plan, plan.node, there
        self.places = {name: plan.place(name) for name in plan.outside}
        self.buffers = {name: [address + k for k in offsets] for name, offsets in plan.buffers().items()}

    def run(self) -> None:
        w, node, bands = self.w, self.node, self.plan.bands
        if node.output not in self.places:
            w.program += fills(w.here[node.output])
        self._load(0)
        sums: WeightedSums | WindowAverages | None = None
        whole: WeightedSums | None = None
        for k, (start, stop) in enumerate(bands):
            if self.plan.copies > 1 and k + 1 < len(bands):
                self._load(k + 1)
            w.here |= {name: self._place(name, k) for name in self.places}
            with saying(node.name):
                last = k == len(bands) - 1
                match node:
                    case Dense() | GlobalAveragePool():
                        whole = whole or WeightedSums(w, node, by_rows=True)
                        whole.add_rows(start, stop)
                        if last:
                            whole.finish()
                    case Conv() | AveragePool():
                        sums = sums or (WeightedSums(w, node) if isinstance(node, Conv) else WindowAverages(w, node))
                        sums.some_rows(start, stop)
                    case _:
                        vector_rows(w, node, start, stop)
            if last or not self.plan.sums_all:
                self._store(k)
            if self.plan.copies == 1 and k + 1 < len(bands):
                self._load(k + 1)
        for name in self.places:
            del w.here[name]

    def _place(self, name: str, band: int) -> Placed:
        """Where the tensor would begin if all of it lay there."""
        place, buffers = self.places[name], self.buffers[name]
        first, _ = self.plan.span(name, *self.plan.bands[band])
        return replace(place, address=buffers[band % len(buffers)] - (first + place.border[0]) * place.row)

    def _load(self, band: int) -> None:
        """What the operator reads of a band."""
        for name in dict.fromkeys(self.node.inputs):
            if name not in self.places:
                continue
            place = self._place(name, band)
            height, width, _ = place.shape
            first, last = self.plan.span(name, *self.plan.bands[band])
            start, stop = max(first, 0), max(0, min(last, height))
            left, right = -place.border[1], width + place.border[3]
            around = [(first, left, min(0, last), right), (max(height, first), left, last, right)]
            if band < self.plan.copies:  # what is beside the image stays when the next rows come
                below = first + max(end - begin for begin, end in (self.plan.span(name, *b) for b in self.plan.bands))
                around += [(first, left, below, 0), (first, width, below, right)]
            with saying(f"tensor {name}"):
                for corners in around:
                    self.w.program += rectangle(place, place.fill, *corners)
                if stop > start:
                    self.w.move(name, place, Load, self.there[name], start, stop)

    def _store(self, band: int) -> None:
        name = self.node.output
        if name in self.there:
            first, last = self.plan.span(name, *self.plan.bands[band])
            with saying(f"tensor {name}"):
                self.w.move(name, self.w.here[name], Store, self.there[name], first, last)
