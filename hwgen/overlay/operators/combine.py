"""Sums of two tensors, and functions of one: tables of the vector unit."""

import numpy as np

from ...graph import Add, Table
from ..exact import tables_of
from ..isa import Combine, Load, Place
from ..writer import Writer

__all__ = ["combined", "load_tables", "tables"]


def tables(w: Writer, node: Add | Table) -> None:
    """Bring its tables."""
    made = tables_of(node, w.graph)
    load_tables(w, np.concatenate([made.a, made.b]))


def load_tables(w: Writer, entries: np.ndarray) -> None:
    """Bring 512 entries of 32 bits."""
    content = w.engine.laid_out(Place.TABLES, entries.astype("<u4").view(np.uint8).reshape(-1, 4))
    w.program.append(Load(place=Place.TABLES, external=w.external.put(content), size=content.nbytes))


def combined(w: Writer, node: Add | Table, start: int, stop: int) -> None:
    """Rows from ``start`` until before ``stop``."""
    made = tables_of(node, w.graph)
    first, second, target = (w.here[name] for name in (node.inputs[0], node.inputs[-1], node.output))
    _, width, channels = target.shape
    w.program.append(
        Combine(
            source0=first.at(start, 0),
            source1=second.at(start, 0),
            target=target.at(start, 0),
            x_count=width * channels,
            y_count=stop - start,
            y_step0=first.row,
            y_step1=second.row,
            y_step=target.row,
            single=int(isinstance(node, Table)),
            shift=made.shift,
            window=made.window + 1,
            odd=made.odd,
            lo=made.lo,
            hi=made.hi,
        )
    )
