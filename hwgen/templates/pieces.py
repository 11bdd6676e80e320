"""Pieces that several templates share: checks of parameters, pipeline registers."""

from collections.abc import Sequence
from typing import Any

from amaranth import Const, Module, Mux, Signal, Value, unsigned
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


def collect(
    m: Module, o: Any, results: Sequence[Value], arrives: Value, begins: Value, depth: int, *, stay: bool = False
) -> Signal:
    """Offer what a pipeline that never stands still makes on stream ``o``; whether a word has room, from a register.

    Up to ``depth`` words are on their way through the pipeline or wait behind it until they are taken.

    Parameters
    ----------
    results
        Its last registers, an element each.
    arrives
        Whether they hold a word.
    begins
        Whether one begins its way, where there is room.
    stay
        Whether they hold it until another one comes: a place less is needed behind them.
    """
    word, moves, taken = Signal.like(o.payload), Signal(), Signal()
    places = depth - stay
    queue = _registers if _small(places, len(Value.cast(word))) else _tables
    some, fits, offered = queue(m, Value.cast(word), places, moves, taken)
    if stay:
        stays = Signal()
        m.d.comb += moves.eq((arrives | stays) & fits)
        m.d.sync += stays.eq((arrives | stays) & ~moves)
    else:
        m.d.comb += moves.eq(arrives)  # always fits
    under_way, full, room = Signal(range(depth + 1)), Signal(), Signal()
    m.d.comb += [
        *(element.eq(result) for element, result in zip(word, results, strict=True)),
        o.valid.eq(some),
        Value.cast(o.payload).eq(offered),
        taken.eq(some & o.ready),
        room.eq(~full),
    ]
    m.d.sync += [
        under_way.eq(under_way + begins - taken),
        full.eq(~taken & (full | (begins & (under_way == depth - 1)))),
    ]
    return room


def collected(bits: int, depth: int, memories: Memories, *, stay: bool = False) -> Resources:
    """Of :func:`collect`, for words of so many bits."""
    places, count = depth - stay, depth.bit_length()
    if _small(places, bits):
        return Resources(lut=bits * (places - 1), ff=places * (bits + 1) + count + 2)
    address, memory = (places - 1).bit_length(), memories.small(1 << (places - 1).bit_length(), bits)
    return Resources(lut=memory.lut, ff=memory.ff - bits + 2 * address + 2 * count + 2)


def _small(places: int, bits: int) -> bool:
    """Whether a queue is made of registers: look-up tables need addresses."""
    return places <= 2 and bits <= 64


def _registers(m: Module, word: Value, places: int, moves: Value, taken: Value) -> tuple[Value, Value, Value]:
    """A queue of one or two words, into which ``word`` moves: whether it has one, whether one more fits, and the first."""
    some, two = Signal(), Signal()
    first, second = (Signal(len(word), name=name, reset_less=True) for name in ("first", "second"))
    m.d.sync += some.eq(moves | two | (some & ~taken))
    with m.If(~some | taken):
        m.d.sync += first.eq(Mux(two, second, word))
    if places == 2:
        m.d.sync += two.eq((two & (~taken | moves)) | (moves & some & ~taken))
        with m.If(moves):
            m.d.sync += second.eq(word)
    return some, ~two if places == 2 else ~some, first


def _tables(m: Module, word: Value, places: int, moves: Value, taken: Value) -> tuple[Value, Value, Value]:
    """The same for more words, in look-up tables that are read at once.

    Their number is rounded up to a power of two, so that addresses go round by themselves. What is offered stays whatever
    moves in, which needs no proof that there is room.
    """
    m.submodules.queue = queue = Memory(shape=unsigned(len(word)), depth=1 << (places - 1).bit_length(), init=[])
    put, get = queue.write_port(), queue.read_port(domain="comb")
    waiting, some = Signal(range(places + 1)), Signal()
    m.d.comb += [put.data.eq(word), put.en.eq(moves & ~(some & (put.addr == get.addr)))]
    more = waiting > 1 if places > 1 else Const(0)
    m.d.sync += [waiting.eq(waiting + moves - taken), some.eq(moves | more | (some & ~taken))]
    for port, used in ((put, moves), (get, taken)):
        with m.If(used):
            m.d.sync += port.addr.eq(port.addr + 1)
    return some, waiting != places, get.data


def delay(m: Module, value: Value, steps: int, name: str) -> Any:
    """``value`` some cycles later."""
    for n in range(steps):
        delayed = Signal(value.shape(), name=f"{name}_{n + 1}", reset_less=True)
        m.d.sync += delayed.eq(value)
        value = delayed
    return value
