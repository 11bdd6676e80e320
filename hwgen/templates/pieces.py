"""Pieces that several templates share: checks of parameters, pipeline registers."""

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Mux, Signal, Value

from ..arith import IntType

__all__ = ["check_counts", "check_rounding", "clamp_luts", "delay", "offer"]


def check_counts(params: Any, *names: str) -> None:
    """``ValueError`` unless the attributes of these names are positive."""
    for name in names:
        if getattr(params, name) < 1:
            raise ValueError(f"{name} must be positive, not {getattr(params, name)!r}")


def check_rounding(params: Any, most: int) -> None:
    """``ValueError`` unless ``shift`` (up to ``most``), ``window``, ``odd``, ``lo``, ``hi`` and ``fixes`` fit together.

    They are those of :func:`hwgen.arith.round_half_even` and the limits of ``output`` behind it.
    """
    if not 0 <= params.shift <= most:
        raise ValueError(f"shift must be in 0..{most}, not {params.shift}")
    if not -1 <= params.window < max(params.shift, 0):
        raise ValueError(f"window must be in -1..{params.shift - 1}, not {params.window}")
    if params.odd not in (0, 1):
        raise ValueError(f"odd must be 0 or 1, not {params.odd}")
    if not params.output.min <= params.lo <= params.hi <= params.output.max:
        raise ValueError(f"lo and hi must be an interval of {params.output}, not {params.lo} and {params.hi}")
    if params.fixes < 0:
        raise ValueError(f"fixes must not be negative, not {params.fixes}")


def clamp_luts(bits: int, output: IntType, lo: int, hi: int) -> int:
    """LUT4 of the clamp of a signed number of ``bits`` bits to ``lo..hi``: comparisons and a LUT for each bit that comes out.

    The bits beyond the output's are compared with its sign, up to about 15 LUTs; a limit within its range takes a few more.
    """
    beyond, limits = max(0, bits - output.bits), (lo > output.min) + (hi < output.max)
    return min(15, 4 * beyond) + 6 * limits + output.bits if beyond or limits else 0


def offer(m: Module, o: Any, results: Sequence[Signal], arrives: Value) -> Signal:
    """Offer the results of a pipeline on stream ``o``; the register that says whether the pipeline moves.

    It stands still while one word is offered and the next one is there: behind it is a spare place, so that none of its
    registers waits for ``o.ready`` in the same cycle.

    Parameters
    ----------
    results
        Its last registers, an element each.
    arrives
        Whether its next move brings a word there.
    """
    move, offered, spare = Signal(init=1), Signal(), Signal()  # offered: by the pipeline; spare: by the spare place
    offers, spares = Signal(), Signal()  # both in the next cycle
    kept = [Signal.like(result, name=f"kept_{n}") for n, result in enumerate(results)]
    m.d.comb += [
        offers.eq(Mux(move, arrives, offered)),
        spares.eq((spare | offered) & ~o.ready),
        o.valid.eq(offered | spare),
        *(element.eq(Mux(spare, k, r)) for element, k, r in zip(o.payload, kept, results, strict=True)),
    ]
    m.d.sync += [offered.eq(offers), spare.eq(spares), move.eq(~(offers & spares))]
    with m.If(~spare):
        m.d.sync += [k.eq(r) for k, r in zip(kept, results, strict=True)]
    return move


def delay(m: Module, move: Value, value: Value, steps: int, name: str) -> Any:
    """``value`` some steps of the pipeline later, which moves where ``move`` is 1."""
    for n in range(steps):
        delayed = Signal(value.shape(), name=f"{name}_{n + 1}", reset_less=True)
        with m.If(move):
            m.d.sync += delayed.eq(value)
        value = delayed
    return value
