"""Operators of the vector unit: some rows of any of them."""

from ...graph import Add, Concat, MaxPool, Node, Pad, Softmax, Table
from ..writer import Writer
from .combine import combined, tables
from .pool import concatenated, padded, pooled
from .softmax import shares, shares_tables

__all__ = ["VECTOR", "vector_rows"]

VECTOR = Add | Table | MaxPool | Concat | Pad | Softmax  #: what they are


def vector_rows(w: Writer, node: Node, start: int, stop: int) -> None:
    """Rows from ``start`` until before ``stop``; the first ones come first."""
    match node:
        case Add() | Table():
            if start == 0:
                tables(w, node)
            combined(w, node, start, stop)
        case MaxPool():
            pooled(w, node, start, stop)
        case Concat():
            concatenated(w, node, start, stop)
        case Pad():
            padded(w, node, start, stop)
        case Softmax():
            if start == 0:
                shares_tables(w, node)
            shares(w, node, start, stop)
