"""The requantiser of a chain, and its number formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arith import IntType
from ...errors import HwgenError
from ...requantise import Requantisation, requantise, requantise_at
from ...templates.requant import RequantParams, Scales
from ...templates.settings import FIXES, WINDOWS, Rounding
from .base import Block, Unrolling

__all__ = ["Formats", "Requantiser", "requantiser"]

LEAST_BITS = 25  #: of a programmable multiplier for the largest scale: a float32's mantissa and one more
FINEST = 20  #: bits of a quotient's fraction that count in a tie, at most; ``WINDOWS`` fewer at least


@dataclass(frozen=True)
class Formats:
    """Number formats of hardware that takes other contents: none depends on weights or scales, or there is headroom.

    Parameters
    ----------
    earlier
        Parameters of the stages of an earlier build, by name, that must do; empty: they are chosen.
    """

    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, stage: str) -> Mapping[str, Any]:
        """The earlier parameters of ``stage``; ``HwgenError`` where it had no such stage."""
        if stage not in self.earlier:
            raise HwgenError(f"the earlier build has no {stage}: the network must have the same operators in the same order")
        return self.earlier[stage]


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantiser:
    """Exact arithmetic, and the formats ``mult`` and ``offset`` of its hardware. ``lo`` and ``hi``: limits of the output."""

    exact: Requantisation
    mult: IntType
    offset: IntType
    lo: int
    hi: int
    programmable: bool

    def block(self, accumulator: IntType, output: IntType, *, vectors: int, groups: int, channels: int, u: Unrolling) -> Block:
        """``channels`` for each of ``groups``."""
        exact, loaded = self.exact, self.programmable
        params = RequantParams(
            accumulator=accumulator,
            output=output,
            vectors=vectors,
            groups=groups,
            channels=channels,
            pe=u.pe,
            lanes=u.out_lanes,
            steps=u.steps,
            mult=self.mult,
            offset=self.offset,
            shift=exact.shift,
            window=_least_window(exact.shift) if loaded else exact.window,
            odd=0 if loaded else exact.odd,
            lo=output.min if loaded else self.lo,
            hi=output.max if loaded else self.hi,
            fixes=FIXES if loaded else len(exact.fixes),
            uniform=not loaded and len(set(exact.mult.tolist())) == len(set(exact.offset.tolist())) == 1,
            programmable=loaded,
        )
        return Block(suffix="requant", params=params, contents=self.scales)

    def scales(self) -> Scales:
        """What the hardware holds."""
        exact, fixes = self.exact, self.exact.fixes
        if not self.programmable:
            return Scales(mult=exact.mult, offset=exact.offset, fixes=fixes)
        fixes = np.concatenate([fixes, np.zeros((FIXES - len(fixes), 3), np.int64)])
        return Scales(
            mult=exact.mult,
            offset=exact.offset,
            fixes=fixes,
            rounding=Rounding(window=exact.window, odd=exact.odd, lo=self.lo, hi=self.hi),
        )


def requantiser(
    node: str,
    formats: Formats | None,
    scale: np.ndarray,
    zero_point: int,
    lo: int,
    hi: int,
    bias: np.ndarray,
    acc_lo: np.ndarray,
    acc_hi: np.ndarray,
) -> Requantiser:
    """The cheapest one; with ``formats`` one that takes other scales too. See :func:`hwgen.requantise.requantise`."""
    arguments = scale, zero_point, lo, hi, bias, acc_lo, acc_hi
    if formats is None:
        exact = requantise(*arguments)
        mult, offset = _types(exact)
    elif formats.earlier:
        earlier = formats.of(f"{node}_requant")
        mult, offset = (IntType(**earlier[name]) for name in ("mult", "offset"))
        found = _at(earlier["shift"], arguments)
        if found is None or found.mult.max() > mult.max or not _within(found.offset, offset):
            raise HwgenError(f"{node}: its scales are out of reach of the earlier build's requantiser; build it anew")
        exact = found
    else:
        exact = _roomy(node, arguments)
        mult, offset = _types(exact)
        mult, offset = IntType(mult.bits + 1, False), IntType(max(offset.bits + 2, exact.shift + 11))
    return Requantiser(exact=exact, mult=mult, offset=offset, lo=lo, hi=hi, programmable=formats is not None)


def _types(exact: Requantisation) -> tuple[IntType, IntType]:
    """The narrowest types of ``mult`` and ``offset``."""
    mult = IntType(max(1, int(exact.mult.max()).bit_length()), False)
    return mult, IntType(max(2, IntType.holding(min(-1, int(exact.offset.min())), int(exact.offset.max())).bits))


def _within(values: np.ndarray, element: IntType) -> bool:
    return bool(element.min <= values.min() and values.max() <= element.max)


def _least_window(shift: int) -> int:
    return max(0, shift - FINEST)


def _at(shift: int, arguments: tuple[Any, ...]) -> Requantisation | None:
    """With the fewest fixes of all windows; None where there are too many."""
    least = _least_window(shift)
    best = None
    for window in (-1, *range(least, min(least + WINDOWS, shift - 1) + 1)):
        found = requantise_at(*arguments, shift=shift, window=window, fixes=FIXES)
        if found is not None and not len(found.fixes):
            return found
        if found is not None and (best is None or len(found.fixes) < len(best.fixes)):
            best = found
    return best


def _roomy(node: str, arguments: tuple[Any, ...]) -> Requantisation:
    """With two bits more in the multipliers than these scales need, and at least those of any scale."""
    least = requantise(*arguments)
    largest = float(np.max(arguments[0], initial=0, where=least.mult > 0))
    shift = least.shift + 2
    if largest:
        shift = max(shift, LEAST_BITS - int(np.ceil(np.log2(largest))))
    for lower in range(3):
        found = _at(shift - lower, arguments)
        if found is not None:
            return found
    raise HwgenError(f"{node}: its scales need more than {FIXES} corrections; build it without --retrainable")
