"""Products of two activations: the second one is copied into tiles of weights, stored, and loaded as such."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..exact import products_of, scales_of
from ..isa import Drain, Fill, Load, Multiply, Place, Pool, Store, largest
from ..places import shares
from ..staging import COPIES, Staging, matrices, repeated
from ..tiles import Part
from ..writer import Writer
from .linear import load_scales

__all__ = ["Product"]


class Product:
    """What a node's sums are made of.

    Parameters
    ----------
    address
        Of the room in the scratchpad that ``staging`` wants.
    """

    def __init__(self, w: Writer, staging: Staging, address: int):
        self.w, self.node, self.staging, self.address = w, staging.node, staging, address
        self.first, self.second = (
            matrices(self.node, name, w.here[name], rows) for name, rows in zip(self.node.inputs, self._rows(), strict=True)
        )
        self.sums = products_of(self.node, w.graph)
        one = scales_of(self.sums, 0, 1, w.engine)
        count = min(w.engine.columns, staging.outputs)
        self.scale = replace(one, mult=np.repeat(one.mult, count), offset=np.repeat(one.offset, count))
        self.stored = 0  # portions so far
        pieces = staging.parts[0][2]
        self.external = [[w.external.room(staging.bytes_of(piece)) for piece in pieces] for _ in range(COPIES)]
        self.constants = self._constants(pieces)

    def rows(self) -> Iterator[int]:
        """Make all of the output; yields how many rows of it are complete, now and then."""
        w, parts = self.w, self.staging.parts
        if self.staging.zeros[0]:
            value, _ = repeated(-self.staging.zeros[0])
            w.program.append(Fill(value=value, local=self._zeros, size=w.engine.rows))
        scales = load_scales(w, self.node, self.scale)
        self._stage(0)
        for number, (_, _, pieces) in enumerate(parts):
            if number + 1 < len(parts):
                self._stage(number + 1)
            once = len(pieces) == 1 and not self.constants
            weights = self._load(pieces[0], self.external[number % COPIES][0]) if once else 0
            most = w.engine.sums // 2
            size = min(w.tiling.share * w.engine.rows if once else most, most, largest(Multiply, "x_count"))
            for start, count in shares(self.staging.rows, -(-self.staging.rows // size)):
                sums = w.sums(count)
                self._multiply(number, start, count, sums, weights if once else None)
                self._drain(number, start, count, sums, scales)
                if number == len(parts) - 1:
                    yield start + count

    def _rows(self) -> tuple[int, int]:
        """Of each operand."""
        return self.staging.rows, self.staging.outputs if self.node.transposed else self.node.depth

    def _stage(self, number: int) -> None:
        """Bring a part of the second operand into external memory, as weights."""
        w, engine = self.w, self.w.engine
        group, first, pieces = self.staging.parts[number]
        share, beat = engine.entries_of(Place.WEIGHTS), engine.beats_of(Place.WEIGHTS) * engine.bus
        for piece, external in zip(pieces, self.external[number % COPIES], strict=True):
            start = self.address + self.stored % COPIES * self.staging.copy
            self.stored += 1
            entries, size = self.staging.entries(piece), self.staging.bytes_of(piece)

            def entry(k: int, start: int = start) -> int:
                return start + k // share * beat + k % share * engine.columns

            for k in range(min(share, entries)):
                w.program += self._copies(group, first, piece, k, -(-(entries - k) // share), entry(k))
            if entries < len(piece.weights):
                w.program.append(Fill(local=entry(entries), size=start + size - entry(entries)))
            w.program.append(Store(external=external, local=start, size=size))

    def _copies(self, group: int, first: int, piece: Part, entry: int, count: int, target: int) -> Iterator[Pool]:
        """Copy ``count`` entries from the first one on, each as many behind the last one as share a beat."""
        engine = self.w.engine
        share, beat = engine.entries_of(Place.WEIGHTS), engine.beats_of(Place.WEIGHTS) * engine.bus
        most = largest(Pool, "x_count" if self.node.transposed else "y_count")
        for start in range(0, count, most):
            k, there, here = piece.ahead + entry + start * share, target + start * beat, min(most, count - start)
            if self.node.transposed:  # an element at a time
                yield Pool(
                    source=self.second.at(first, group, k), target=there, channels=1, x_count=here, x_step=share,
                    y_count=piece.count, y_step=self.second.step, target_x_step=beat, target_y_step=1,
                )  # fmt: skip
            else:
                yield Pool(
                    source=self.second.at(k, group, first), target=there, channels=piece.count, y_count=here,
                    y_step=share * self.second.step, target_y_step=beat,
                )  # fmt: skip

    @property
    def _zeros(self) -> int:
        """Address of the first operand's zero points."""
        return self.address + COPIES * self.staging.copy

    def _constants(self, pieces: list[Part]) -> list[int]:
        """Addresses of each portion with the second operand's zero point in its place; empty where that is 0."""
        if not self.staging.zeros[1]:
            return []
        value, _ = repeated(-self.staging.zeros[1])
        addresses = []
        for piece in pieces:
            words = np.zeros_like(piece.weights)
            words[: self.staging.entries(piece)] = value
            addresses.append(self.w.external.put(self.w.engine.laid_out(Place.WEIGHTS, words.view(np.uint8))))
        return addresses

    def _load(self, piece: Part, external: int) -> int:
        """Bring a portion into the memory of weights; the first entry."""
        first = self.w.entries(self.node, Place.WEIGHTS, len(piece.weights))
        size = self.staging.bytes_of(piece)
        self.w.program.append(Load(place=Place.WEIGHTS, external=external, local=first, size=size))
        return first

    def _multiply(self, number: int, start: int, count: int, sums: int, weights: int | None) -> None:
        """Sums of a part at some rows; ``weights``: the first entry, None where portions are to be loaded."""
        group, _, pieces = self.staging.parts[number]
        zeros, fresh = self.staging.zeros, True
        for k, piece in enumerate(pieces):
            at = self._load(piece, self.external[number % COPIES][k]) if weights is None else weights
            products = replace(
                piece.loops.multiply(), source=self.first.at(start, group, piece.ahead), x_count=count, x_step=self.first.step,
                weights=at, sums=sums, first=int(fresh),
            )  # fmt: skip
            fresh = False
            self.w.program.append(products)
            if zeros[0]:
                less = replace(products, source=self._zeros, x_step=0, k0_step=0, first=0)
                self.w.program += [less] * repeated(-zeros[0])[1]
            if zeros[1]:
                constants = self._load(piece, self.constants[k])
                self.w.program += [replace(products, weights=constants, first=0)] * repeated(-zeros[1])[1]

    def _drain(self, number: int, start: int, count: int, sums: int, scales: int) -> None:
        """Outputs of the sums."""
        group, first, pieces = self.staging.parts[number]
        target = self.w.here[self.node.output]
        self.w.program.append(
            Drain(
                sums=sums, target=target.at(start, group, first), x_count=count, x_step=target.row, channels=pieces[0].count,
                scales=scales, steps=self.scale.steps, shift=self.scale.shift, zero=self.sums.zero, lo=self.sums.lo,
                hi=self.sums.hi,
            )
        )  # fmt: skip
