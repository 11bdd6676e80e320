"""Integer requantisation that equals ONNX Runtime's float32 expression for every accumulator that can occur.

The expression, ``clip(rint(float32(acc + bias) * scale) + zero_point, lo, hi)``, is a step function of ``acc`` with at most
``hi - lo`` thresholds. They are found by bisection on the expression itself; then integers are sought such that
``clip(round_half_even(mult * acc + offset, shift, window, odd), lo, hi)`` has the same thresholds. With ``e = shift - window``
fixed, a solution at one shift doubles to one at the next, so the least shift gives the least multipliers.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .arith import round_half_even
from .errors import HwgenError

__all__ = ["Requantisation", "check", "reference", "requantise", "requantise_at"]

_FAR = 1 << 61  # beyond every level; differences of two still fit into int64
_MAX_SHIFT = 48
_MAX_MULT = 30  # bits; beyond that a fix for one accumulator is cheaper than a wider multiplier


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantisation:
    """``y = clip(round_half_even(mult[c] * acc + offset[c], shift, window, odd) + fixes, lo, hi)`` for channels c.

    Parameters
    ----------
    shift, window, odd
        As :func:`hwgen.arith.round_half_even` has them; the same for all channels.
    mult, offset
        (channels,) int64; ``mult`` is not negative, and 0 where the output is constant.
    fixes
        (n, 3) int64: channel, accumulator, what to add there; in ascending order, no two at one place. Hardly ever any.
    """

    shift: int
    window: int
    odd: int
    mult: np.ndarray
    offset: np.ndarray
    fixes: np.ndarray

    def apply(self, channel: np.ndarray, acc: np.ndarray, lo: int, hi: int) -> np.ndarray:
        """Outputs for accumulators ``acc`` of the channels ``channel`` (both of any shape, broadcast)."""
        y = round_half_even(self.mult[channel] * acc + self.offset[channel], self.shift, self.window, self.odd)
        if len(self.fixes):
            keys = (self.fixes[:, 0] << 36) + self.fixes[:, 1]
            key = (np.asarray(channel, np.int64) << 36) + acc
            near = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            y = y + np.where(keys[near] == key, self.fixes[near, 2], 0)
        return np.clip(y, lo, hi)


def reference(acc: np.ndarray, scale: np.ndarray, zero_point: int, lo: int, hi: int, bias: Any = 0) -> np.ndarray:
    """ONNX Runtime's requantisation of integers ``acc + bias``, int64: float32 product, half to even, then the zero point."""
    with np.errstate(over="ignore"):
        product = np.asarray(acc + bias, np.int64).astype(np.float32) * np.asarray(scale, np.float32)
    return np.clip(np.rint(product), lo - zero_point, hi - zero_point).astype(np.int64) + zero_point


@dataclass(frozen=True, eq=False)
class _Channels:
    """The arguments of :func:`requantise`, checked, one row for each channel."""

    scale: np.ndarray
    zero_point: int
    lo: int
    hi: int
    bias: np.ndarray
    acc_lo: np.ndarray
    acc_hi: np.ndarray

    def __post_init__(self) -> None:
        shapes = [a.shape for a in (self.scale, self.bias, self.acc_lo, self.acc_hi)]
        if len(shapes[0]) != 1 or not shapes[0][0] or len(set(shapes)) > 1:
            raise ValueError(f"scale, bias, acc_lo and acc_hi must have one shape (channels,), not {shapes}")
        if not (np.isfinite(self.scale) & (self.scale >= 0)).all():
            raise ValueError("scale must be finite and not negative")
        if self.lo > self.hi:
            raise ValueError(f"lo must be at most hi, not {self.lo} and {self.hi}")
        if max(abs(self.lo), abs(self.hi), abs(self.zero_point)) > 1 << 16:
            raise ValueError(f"lo, hi and zero_point must be within 2**16, not {self.lo}, {self.hi} and {self.zero_point}")
        if (self.acc_lo > self.acc_hi).any():
            raise ValueError("acc_lo must be at most acc_hi in every channel")
        if max(int(np.abs(a).max()) for a in (self.bias, self.acc_lo, self.acc_hi)) > 1 << 33:
            raise ValueError("bias, acc_lo and acc_hi must be within 2**33")

    def output(self, channel: np.ndarray, acc: np.ndarray) -> np.ndarray:
        return reference(acc, self.scale[channel], self.zero_point, self.lo, self.hi, self.bias[channel])

    def thresholds(self) -> np.ndarray:
        """(channels, hi - lo): the least accumulator whose output is ``lo + 1``, ``lo + 2``... or more.

        ``acc_lo`` where none is less, ``acc_hi + 1`` where none is.
        """
        levels = np.arange(self.lo + 1, self.hi + 1)
        shape = len(self.scale), len(levels)
        below = np.repeat(self.acc_lo - 1, len(levels))  # output less than the level, or out of range
        above = np.repeat(self.acc_hi + 1, len(levels))  # output at least the level, or out of range
        channel, level = (a.ravel() for a in np.indices(shape))
        level = levels[level]
        with np.errstate(divide="ignore", over="ignore"):
            guess = (level - self.zero_point - 0.5) / self.scale.astype(np.float64)[channel] - self.bias[channel]
        guess = np.nan_to_num(np.clip(guess, -_FAR, _FAR)).astype(np.int64)
        open_ = np.flatnonzero(above - below > 1)
        step = 0
        while len(open_):
            middle = (below[open_] + above[open_]) >> 1
            if step < 2:  # two accumulators on either side of the guess usually leave little to search
                middle = np.clip(guess[open_] + (-2, 2)[step], below[open_] + 1, above[open_] - 1)
            reached = self.output(channel[open_], middle) >= level[open_]
            above[open_[reached]] = middle[reached]
            below[open_[~reached]] = middle[~reached]
            open_ = open_[above[open_] - below[open_] > 1]
            step += 1
        return above.reshape(shape)


def requantise(
    scale: np.ndarray, zero_point: int, lo: int, hi: int, bias: np.ndarray, acc_lo: np.ndarray, acc_hi: np.ndarray
) -> Requantisation:
    """The cheapest integers that equal :func:`reference` for every ``acc`` in ``acc_lo..acc_hi`` of each channel.

    Parameters
    ----------
    scale
        (channels,) float32, not negative.
    bias
        (channels,) integers added to the accumulator in the reference; the result has them in ``offset``.
    acc_lo, acc_hi
        (channels,) integers: range of the accumulator without bias.

    Least multiplier bits first, then least offset bits. Proven by :func:`check` before it is returned. Raises HwgenError
    where more than 16384 fixes are needed: scales some 2**24 apart in one layer, both with a varying output.
    """
    channels = _checked(scale, zero_point, lo, hi, bias, acc_lo, acc_hi)
    search = _Search(channels)
    tries = (search.cheapest(allowed) for allowed in (0, 1, 2, 4, 32))
    return _proven(next((r for r in tries if r is not None), None) or search.by_fixes(), channels)


def requantise_at(
    scale: np.ndarray,
    zero_point: int,
    lo: int,
    hi: int,
    bias: np.ndarray,
    acc_lo: np.ndarray,
    acc_hi: np.ndarray,
    *,
    shift: int,
    window: int,
    fixes: int,
) -> Requantisation | None:
    """As :func:`requantise`, but with this ``shift`` and ``window`` and at most so many ``fixes``; None where there is none."""
    channels = _checked(scale, zero_point, lo, hi, bias, acc_lo, acc_hi)
    search = _Search(channels)
    found = search.solution(shift, window, search.levels(np.array([shift]), np.array([window])), fixes)
    return None if found is None else _proven(found, channels)


def _checked(scale: Any, zero_point: int, lo: int, hi: int, bias: Any, acc_lo: Any, acc_hi: Any) -> _Channels:
    return _Channels(
        np.asarray(scale, np.float32), int(zero_point), int(lo), int(hi),
        *(np.asarray(a, np.int64) for a in (bias, acc_lo, acc_hi)),
    )  # fmt: skip


def _proven(result: Requantisation, channels: _Channels) -> Requantisation:
    """``result``, equal to the reference everywhere."""
    wrong = check(result, *(getattr(channels, n) for n in ("scale", "zero_point", "lo", "hi", "bias", "acc_lo", "acc_hi")))
    if len(wrong):
        raise RuntimeError(f"requantisation differs at (channel, accumulator) {wrong[:8].tolist()}")
    return result


def check(
    result: Requantisation,
    scale: np.ndarray,
    zero_point: int,
    lo: int,
    hi: int,
    bias: np.ndarray,
    acc_lo: np.ndarray,
    acc_hi: np.ndarray,
) -> np.ndarray:
    """(n, 2) channel and accumulator where ``result`` differs from :func:`reference`; empty: equal on the whole ranges.

    Both functions are monotone, but for the fixes: equal on both sides of every threshold of the reference, at both ends
    of the range and around every fix, they are equal everywhere.
    """
    c = _checked(scale, zero_point, lo, hi, bias, acc_lo, acc_hi)
    t = c.thresholds()
    acc = np.concatenate([c.acc_lo[:, None], c.acc_hi[:, None], t, t - 1], axis=1)
    channel = np.repeat(np.arange(len(t)), acc.shape[1])
    fixes = result.fixes[:, :1].repeat(3, 1).ravel(), (result.fixes[:, 1:2] + (-1, 0, 1)).ravel()
    channel, acc = np.concatenate([channel, fixes[0]]), np.concatenate([acc.ravel(), fixes[1]])
    inside = (acc >= c.acc_lo[channel]) & (acc <= c.acc_hi[channel])
    channel, acc = channel[inside], acc[inside]
    wrong = result.apply(channel, acc, lo, hi) != c.output(channel, acc)
    return np.unique(np.stack([channel[wrong], acc[wrong]], axis=1), axis=0)


class _Search:
    """Lines ``mult * acc + offset`` that are at least the level of each output from its threshold on, and less before.

    The level of output k is ``k << shift``, plus ``1 << window`` where k gives way in a tie.
    """

    def __init__(self, channels: _Channels):
        self.channels = channels
        self.odd = 1 - channels.zero_point % 2
        self.outputs = np.arange(channels.lo + 1, channels.hi + 1)
        t = channels.thresholds()
        self.reached = t <= channels.acc_hi[:, None]  # a bound from below
        self.missed = t > channels.acc_lo[:, None]  # a bound from above, at t - 1
        self.t_reached = np.where(self.reached, t, 0)
        self.t_missed = np.where(self.missed, t - 1, 0)
        largest = max(int(np.abs(self.t_reached).max(initial=1)), int(np.abs(self.t_missed).max(initial=1)))
        self.mult_max = min((1 << _MAX_MULT) - 1, (1 << 60) // largest)

    def levels(self, shift: np.ndarray, window: np.ndarray) -> np.ndarray:
        """(n, outputs) for n pairs of shift and window."""
        gives_way = (self.outputs & 1 == self.odd) & (window >= 0)[:, None]
        return (self.outputs << shift[:, None]) + np.where(gives_way, 1 << np.maximum(window, 0)[:, None], 0)

    def lines(self, rows: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each channel in ``rows`` the least ``mult`` and the least and greatest ``offset`` with it; mult -1: none.

        Cutting planes: of the bounds that contradict each other at the present ``mult`` the worst pair says how far it
        must rise. The gap is concave in ``mult``, so a pair that asks for less proves that there is none.
        """
        mult = np.zeros(len(rows), np.int64)
        least, greatest = np.zeros((2, len(rows)), np.int64)
        if not len(self.outputs):
            return mult, least - _FAR, greatest + _FAR
        low = np.where(self.reached[rows], levels, -_FAR)
        high = np.where(self.missed[rows], levels - 1, _FAR)
        t_low, t_high = self.t_reached[rows], self.t_missed[rows]
        open_ = np.arange(len(rows))
        while len(open_):
            m = mult[open_]
            every = np.arange(len(open_))
            bound = low - m[:, None] * t_low
            i = bound.argmax(1)
            least[open_] = lowest = bound[every, i]
            bound = high - m[:, None] * t_high
            j = bound.argmin(1)
            greatest[open_] = highest = bound[every, j]
            apart = t_low[every, i] - t_high[every, j]
            lacking = low[every, i] - high[every, j]
            m = np.where(apart > 0, -(-lacking // np.maximum(apart, 1)), self.mult_max + 1)
            more = lowest > highest
            mult[open_[more]] = np.where(m <= self.mult_max, m, -1)[more]
            more &= m <= self.mult_max
            if not more.all():
                open_, low, high, t_low, t_high = open_[more], low[more], high[more], t_low[more], t_high[more]
        return mult, least, greatest

    def cheapest(self, allowed: int) -> Requantisation | None:
        """The cheapest with at most ``allowed`` fixes; where these are needed, float32's 24 bits make the window small."""
        suspects: dict[int, np.ndarray] = {}  # e = shift - window (0: no window) -> all channels, those that failed first
        channels = np.arange(len(self.channels.scale))
        for shift in range(_MAX_SHIFT):
            es = np.arange(shift + 1)
            windows = np.where(es > 0, shift - es, -1)
            levels = self.levels(np.full(shift + 1, shift), windows)
            first = np.array([suspects.get(int(e), channels)[0] for e in es])
            hopeful = self.lines(first, levels)[0] >= 0
            found = []
            for e in es[(es == 0) | (abs(es - 16) <= 4)] if allowed else np.flatnonzero(hopeful):
                order, start, size, failed = suspects.get(int(e), channels), 0, 4, 0
                while start < len(order) and failed <= allowed:
                    some = order[start : start + size]
                    fails = self.lines(some, levels[e : e + 1])[0] < 0
                    order = np.concatenate([some[fails], order[:start], some[~fails], order[start + size :]])
                    failed += int(fails.sum())
                    start, size = start + size, 4 * size
                suspects[int(e)] = order
                if failed <= allowed:
                    result = self.solution(shift, int(windows[e]), levels[e : e + 1], allowed)
                    if result is not None:
                        found.append(result)
            if found:
                return min(found, key=_price)
        return None

    def by_fixes(self) -> Requantisation:
        """With any number of fixes, for what no line comes near: accumulators beyond 2**24, or scales far apart."""
        best, allowed = None, 1 << 14
        for shift in range(8, _MAX_SHIFT, 4):
            for window in (-1, *range(max(shift - 24, 0), shift - 12, 4)):
                levels = self.levels(np.array([shift]), np.array([window]))
                result = self.solution(shift, window, levels, allowed)
                if result is not None:
                    best, allowed = result, len(result.fixes) - 1
        if best is None:
            scale = self.channels.scale
            raise HwgenError(
                f"scales {scale.min()} to {scale.max()} are too far apart to requantise with one shift: quantise by tensor"
            )
        return best

    def solution(self, shift: int, window: int, levels: np.ndarray, allowed: int) -> Requantisation | None:
        """The lines of all channels, and at most ``allowed`` fixes where there is none."""
        mult, least, greatest = self.lines(np.arange(len(self.channels.scale)), levels)
        offset = np.clip(0, least, greatest)
        result = Requantisation(
            shift=shift, window=window, odd=self.odd, mult=mult, offset=offset, fixes=np.zeros((0, 3), np.int64)
        )
        for c in np.flatnonzero(mult < 0).tolist():
            mult[c], offset[c] = self.nearest(c, shift, levels[0])
            fixes = self.fixes(c, result, levels[0], allowed - len(result.fixes))
            if fixes is None:
                return None
            result = replace(result, fixes=np.concatenate([result.fixes, fixes]))
        return result

    def nearest(self, c: int, shift: int, levels: np.ndarray) -> tuple[int, int]:
        """A line for channel ``c`` with few thresholds missed: ``mult`` near the real slope, then the best ``offset``."""
        low, t_low = levels[self.reached[c]], self.t_reached[c][self.reached[c]]
        high, t_high = levels[self.missed[c]] - 1, self.t_missed[c][self.missed[c]]
        slope = min(float(self.channels.scale[c]) * 2.0**shift, float(self.mult_max))
        reach = slope / max(1, int(t_low.max() - t_high.min()))  # turns the line by one accumulator
        mults = np.unique(np.clip(np.rint(slope + reach * np.linspace(-1, 1, 17)), 1, self.mult_max).astype(np.int64))
        best: tuple[int, int, int] | None = None
        for mult in mults.tolist():
            least, greatest = np.sort(low - mult * t_low), np.sort(high - mult * t_high)
            missed = np.arange(len(least))[::-1] + np.searchsorted(greatest, least)  # with offset = least[i]
            i = int(missed.argmin())
            if best is None or missed[i] < best[0]:
                best = int(missed[i]), mult, int(least[i])
        assert best is not None  # mults is never empty
        return best[1:]

    def fixes(self, c: int, result: Requantisation, levels: np.ndarray, allowed: int) -> np.ndarray | None:
        """(n, 3): what the line of channel ``c`` gets wrong; None where that is more than ``allowed``."""
        first, last = int(self.channels.acc_lo[c]), int(self.channels.acc_hi[c])
        mine = np.clip(-((result.offset[c] - levels) // result.mult[c]), first, last + 1)
        true = np.where(self.reached[c], np.where(self.missed[c], self.t_reached[c], first), last + 1)
        if np.abs(mine - true).max() > allowed:
            return None
        spans = [np.arange(min(a, b), max(a, b)) for a, b in zip(mine.tolist(), true.tolist(), strict=True)]
        acc = np.unique(np.concatenate(spans))
        if len(acc) > allowed:
            return None
        channel = np.full(len(acc), c)
        y = round_half_even(result.mult[c] * acc + result.offset[c], result.shift, result.window, result.odd)
        delta = self.channels.output(channel, acc) - y
        return np.stack([channel, acc, delta], axis=1)


def _price(r: Requantisation) -> tuple[int, ...]:
    """Bits of multiplier, bits of offset, whether ties cost a comparison, and of how many bits."""
    bits = max(int(b).bit_length() for b in np.where(r.offset < 0, ~r.offset, r.offset))
    return int(r.mult.max()).bit_length(), bits, r.window >= 0, r.shift - r.window
