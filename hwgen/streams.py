"""Streams between templates: their shape, and when their words arrive."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.lib import data, stream

from .arith import IntType

__all__ = ["Stream", "Words", "serve"]

Words = np.ndarray  #: integers of shape (words, lanes): consecutive words of a stream, whole frames of them


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream of words of ``lanes`` elements, ``words`` of them for each frame.

    A tensor of height H, width W and C channels travels as H·W·C/lanes words in the order row, column, channel (NHWC);
    ``lanes`` divides C.
    """

    element: IntType
    lanes: int
    words: int

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise ValueError(f"lanes must be positive, not {self.lanes!r}")
        if self.words < 1:
            raise ValueError(f"words must be positive, not {self.words!r}")

    @property
    def elements(self) -> int:
        return self.lanes * self.words

    @property
    def bits(self) -> int:
        """Payload bits of one word."""
        return self.lanes * self.element.bits

    @property
    def layout(self) -> data.ArrayLayout:
        return data.ArrayLayout(self.element.shape, self.lanes)

    @property
    def signature(self) -> stream.Signature:
        return stream.Signature(self.layout)


def serve(ready: np.ndarray, gaps: Any = 1) -> np.ndarray:
    """When a server that takes jobs in order starts each of them.

    ``start[k] = max(ready[k], start[k-1] + gaps[k-1])``: job k may start from cycle ``ready[k]`` on, and keeps the server
    busy for ``gaps[k]`` cycles (a number, or one for each job).
    """
    busy = np.zeros(len(ready), np.int64)
    busy[1:] = np.cumsum(np.broadcast_to(np.asarray(gaps, np.int64), (len(ready),))[:-1])
    return np.maximum.accumulate(np.asarray(ready, np.int64) - busy) + busy
