"""Pieces that several templates share: checks of parameters, pipeline registers."""

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from ..arith import IntType
from ..cost import Memories, Resources

__all__ = ["check_counts", "check_rounding", "clamp_luts", "collect", "collected", "delay"]


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


def collect(m: Module, o: Any, results: Sequence[Value], arrives: Value, begins: Value, depth: int) -> Signal:
    """Offer what a pipeline that never stands still makes on stream ``o``; the register that says whether a word has room.

    Up to ``depth`` words are on their way through the pipeline or wait behind it, in look-up tables, until they are taken.

    Parameters
    ----------
    results
        Its last registers, an element each.
    arrives
        Whether they hold a word.
    begins
        Whether one begins its way, where there is room.
    """
    word = Signal.like(o.payload)
    m.submodules.results = queue = Memory(shape=unsigned(len(Value.cast(word))), depth=_rounded(depth), init=[])
    put, get = queue.write_port(), queue.read_port(domain="comb")
    under_way, waiting = Signal(range(depth + 1)), Signal(range(depth + 1))
    full, some, taken = Signal(), Signal(), Signal()
    m.d.comb += [
        taken.eq(some & o.ready),
        put.en.eq(arrives & ~(some & (put.addr == get.addr))),  # always room; so what is offered stays, whatever arrives
        *(element.eq(result) for element, result in zip(word, results, strict=True)),
        put.data.eq(word),
        o.valid.eq(some),
        Value.cast(o.payload).eq(get.data),
    ]
    m.d.sync += [
        under_way.eq(under_way + begins - taken),
        full.eq(~taken & (full | (begins & (under_way == depth - 1)))),
        waiting.eq(waiting + arrives - taken),
        some.eq(arrives | (waiting > 1) | (some & ~taken)),
    ]
    for port, moves in ((put, arrives), (get, taken)):
        with m.If(moves):
            m.d.sync += port.addr.eq(port.addr + 1)
    room = Signal()
    m.d.comb += room.eq(~full)
    return room


def collected(bits: int, depth: int, memories: Memories) -> Resources:
    """Of :func:`collect`, for words of so many bits: look-up tables that are read at once, two counts, two addresses."""
    memory, address, count = memories.small(_rounded(depth), bits), (depth - 1).bit_length(), depth.bit_length()
    return Resources(lut=memory.lut + 3 * address + 6 * count + 6, ff=memory.ff - bits + 2 * address + 2 * count + 2)


def _rounded(depth: int) -> int:
    """The next power of two, so that addresses go round by themselves."""
    return 1 << (depth - 1).bit_length()


def delay(m: Module, value: Value, steps: int, name: str) -> Any:
    """``value`` some cycles later."""
    for n in range(steps):
        delayed = Signal(value.shape(), name=f"{name}_{n + 1}", reset_less=True)
        m.d.sync += delayed.eq(value)
        value = delayed
    return value
