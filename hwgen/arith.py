"""Integer arithmetic, written once for Python ints, NumPy integer arrays and Amaranth values.

Amaranth expressions grow instead of overflowing, so ``+ - * >> &`` mean the same on all three.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Mux, Shape, Value

__all__ = ["IntType", "clamp", "gives_way", "round_half_even"]


@dataclass(frozen=True)
class IntType:
    """A two's complement (``signed``) or natural binary integer of ``bits`` bits."""

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 63:
            raise ValueError(f"bits must be in 1..63, not {self.bits!r}")

    @property
    def min(self) -> int:
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << self.bits - self.signed) - 1

    @property
    def shape(self) -> Shape:
        """The Amaranth shape."""
        return Shape(self.bits, self.signed)

    @classmethod
    def holding(cls, lo: int, hi: int) -> "IntType":
        """The narrowest type that holds ``lo..hi``; unsigned where ``lo`` is not negative."""
        if lo >= 0:
            return cls(max(1, int(hi).bit_length()), False)
        return cls(max(int(-lo - 1).bit_length(), int(hi).bit_length() if hi > 0 else 0) + 1, True)

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}"


def clamp(x: Any, lo: int, hi: int) -> Any:
    """Limit ``x`` to ``lo..hi``."""
    if isinstance(x, Value):
        return Mux(x < lo, lo, Mux(x > hi, hi, x))
    return np.clip(x, lo, hi)


def round_half_even(x: Any, shift: int, window: int, odd: int) -> Any:
    """``x`` divided by ``2**shift``, rounded down, but for a window above each integer that belongs to an even neighbour.

    Where the quotient's parity differs from that of ``odd ^ 1`` and the remainder is below ``2**window``, the result is
    one less. With half a unit added to ``x`` beforehand this rounds half to even, where every ``x`` whose remainder
    lies in the window counts as a tie; ``window`` = -1 means no ties: plain rounding down. ``odd`` is the parity of a
    quotient that must give way (1, or 0 if an odd zero point has been added to ``x`` already).
    """
    return (x >> shift) - gives_way(x, shift, window, odd)


def gives_way(x: Any, shift: int, window: int, odd: int) -> Any:
    """1 where :func:`round_half_even` is one less than ``x >> shift``, else 0."""
    if window < 0:
        return 0
    tie = ((x >> window) & ((1 << shift - window) - 1)) == 0
    if isinstance(x, Value):
        return tie & (x[shift] == odd)
    return tie & ((x >> shift & 1) == odd)
