"""A program as the sequential engine reads it: writes to its registers, the last one of an instruction starts it.

Every instruction is nested loops around one access, with up to three addresses that go along. What is added to an address when
a loop goes on, less what the loops within have added since, is reckoned here: the hardware has one adder for each address, and
no fields to find in instructions. Each kind of instruction has registers of its own, which keep what they hold; what is in
them already is not written again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from typing import Any

import numpy as np
from amaranth import signed
from amaranth.lib import data

from ...errors import HwgenError
from ..compiled import Region
from ..engine import SINGLE_PORT, Engine
from ..isa import SHIFTS, Combine, Drain, End, Fill, Instruction, Load, Multiply, Place, Pool, Store

__all__ = [
    "BASE",
    "BITS",
    "BOOT",
    "HELD",
    "LEVELS",
    "RULES",
    "SLOTS",
    "WORD",
    "Job",
    "Kind",
    "Loop",
    "Way",
    "frame",
    "image",
    "job",
    "words",
]

BITS = 16  #: of a register, and of an address
LEVELS = (2, 16, 12, 12, 12, 12)  #: bits of the counts of loops, less one; the innermost first
HELD, BASE = 6, 7  #: in place of the loop that goes on: none does; all begin
SLOTS = 4  #: cycles of an element of a Combine or a Pool, whose reads and writes share the scratchpad's port

#: A write: which register of which kind of instruction; whether it starts one.
WORD = data.StructLayout({"value": BITS, "level": 3, "kind": 4, "way": 3, "go": 1, "unused": 5})
_GO = 1 << WORD["go"].offset
#: What holds for a whole instruction, from register 0 on.
RULES = data.StructLayout(
    {
        "lo": signed(8), "hi": signed(8),
        "zero": signed(8), "place": 2, "unused1": 6,
        "least": signed(9), "unused2": 7,
        "most": signed(9), "unused3": 7,
        "mask": 22, "shift": 2, "tie": 1, "odd": 1, "single": 1, "unused5": 5,
        "value": 8, "memory": 2, "first": 1, "together": 1, "apart": 1, "unused6": 3,
    }
)  # fmt: skip


class Kind(IntEnum):
    """Of instructions: opcodes, and what brings frames in and out, and first the image."""

    LOAD = 0
    FILL = 1
    MULTIPLY = 2
    DRAIN = 3
    COMBINE = 4
    POOL = 5
    STORE = 6
    END = 7
    INPUT = 8
    OUTPUT = 9
    BOOT = 10


class Way(IntEnum):
    """Groups of registers: bases and steps of three addresses, counts, rules."""

    A = 0
    B = 1
    T = 2
    COUNT = 3
    RULES = 4


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Rounds, and how far each address moves from one to the next."""

    count: int
    a: int = 0
    b: int = 0
    t: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """An instruction as loops around an access.

    Parameters
    ----------
    a, b, t
        Addresses in the first round: what is read, in one or two places, and where results go.
    loops
        The innermost first, as in ``LEVELS``.
    rules
        Fields of ``RULES``.
    """

    kind: Kind
    a: int = 0
    b: int = 0
    t: int = 0
    loops: tuple[Loop, ...] = ()
    rules: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for bits, loop in zip(LEVELS, self.loops, strict=False):
            if not 1 <= loop.count <= 1 << bits:
                raise ValueError(f"{self.kind.name}: a count must be in 1..{1 << bits}, not {loop.count!r}")

    @property
    def rounds(self) -> int:
        """Of the innermost loop, all of them."""
        return prod(loop.count for loop in self.loops)

    def registers(self) -> dict[tuple[Way, int], int]:
        """What they must hold, by way and level."""
        found = {}
        for way, base in ((Way.A, self.a), (Way.B, self.b), (Way.T, self.t)):
            found[way, BASE] = base
            within = 0  # what the loops within have added
            for level, loop in enumerate(self.loops):
                step = getattr(loop, way.name.lower())
                if loop.count > 1:
                    found[way, level] = step - within
                within += (loop.count - 1) * step
        for level in range(len(LEVELS)):
            found[Way.COUNT, level] = self.loops[level].count - 1 if level < len(self.loops) else 0
        packed = RULES.const(self.rules).as_value().value
        for number in sorted({RULES[name].offset // BITS for name in self.rules}):
            found[Way.RULES, number] = packed >> BITS * number
        return {register: value % (1 << BITS) for register, value in found.items()}


def job(i: Instruction, engine: Engine) -> Job:
    """An instruction's."""
    match i:
        case Load() if i.place == Place.SCRATCHPAD:
            loops = _each(Loop(count=i.size, a=1, t=1), Loop(count=i.rows, a=i.external_step, t=i.local_step))
            return Job(kind=Kind.LOAD, a=i.external, t=i.local, loops=loops, rules={"memory": i.place})
        case Load():
            beats = i.size // engine.bus
            loops = _each(Loop(count=beats, a=engine.bus, t=1), Loop(count=i.rows, a=i.external_step, t=beats))
            start = i.local * engine.beats_of(Place(i.place))
            return Job(kind=Kind.LOAD, a=i.external, t=start, loops=loops, rules={"memory": i.place})
        case Fill():
            loops = _each(Loop(count=i.size, t=1), Loop(count=i.rows, t=i.local_step))
            return Job(kind=Kind.FILL, t=i.local, loops=loops, rules={"value": i.value % 256, "memory": Place.SCRATCHPAD})
        case Multiply():
            return _multiply(i, engine)
        case Drain():
            across, place = i.x_count * engine.columns, engine.place(i.shift, i.steps)
            loops = (
                Loop(count=i.steps),
                Loop(count=i.channels, a=1, b=1, t=1),
                Loop(count=i.x_count, a=engine.columns, t=i.x_step),
                Loop(count=i.y_count, a=across, t=i.y_step),
            )
            rules = {"lo": i.lo, "hi": i.hi, "zero": i.zero, "place": place, "least": i.lo - i.zero, "most": i.hi - i.zero}
            return Job(kind=Kind.DRAIN, a=i.sums * engine.columns, b=i.scales, t=i.target, loops=loops, rules=rules)
        case Combine():
            above = max(i.window - 1, 0)
            mask = (1 << i.shift) - (1 << min(above, i.shift))
            loops = (
                Loop(count=SLOTS),
                Loop(count=i.x_count, a=1, b=1, t=1),
                Loop(count=i.y_count, a=i.y_step0, b=i.y_step1, t=i.y_step),
            )
            rules = {"lo": i.lo, "hi": i.hi, "mask": mask, "shift": SHIFTS.index(i.shift)}
            rules |= {"tie": int(i.window > 0), "odd": i.odd, "single": i.single}
            return Job(kind=Kind.COMBINE, a=i.source0, b=i.source1, t=i.target, loops=loops, rules=rules)
        case Pool():
            loops = (
                Loop(count=SLOTS),
                Loop(count=i.kernel_x, a=i.kernel_x_step),
                Loop(count=i.kernel_y, a=i.kernel_y_step),
                Loop(count=i.channels, a=1, t=1),
                Loop(count=i.x_count, a=i.x_step, t=i.target_x_step),
                Loop(count=i.y_count, a=i.y_step, t=i.target_y_step),
            )
            return Job(kind=Kind.POOL, a=i.source, t=i.target, loops=loops, rules={"lo": -128, "hi": 127})
        case Store():
            loops = _each(Loop(count=i.size, a=1, t=1), Loop(count=i.rows, a=i.local_step, t=i.external_step))
            return Job(kind=Kind.STORE, a=i.local, t=i.external, loops=loops)
        case End():
            return Job(kind=Kind.END)
    raise TypeError(f"instruction must be one of the overlay's, not {i!r}")


def _each(*loops: Loop) -> tuple[Loop, ...]:
    """A cycle in the innermost round."""
    return (Loop(count=1), *loops)


def _multiply(i: Multiply, engine: Engine) -> Job:
    """Depthwise, the innermost loop reads a byte for each column, or all of a position together where they are in one word."""
    stride = i.stride if i.depthwise else 1
    steps = ((i.k0_count, i.k0_step), (i.k1_count, i.k1_step), (i.k2_count, i.k2_step), (i.x_count, i.x_step * stride))
    places = [i.source, *(step for count, step in (*steps, (i.y_count, i.y_step)) if count > 1)]
    together = i.depthwise and not any(place % engine.columns for place in places)
    loops = (
        Loop(count=engine.columns if i.depthwise and not together else 1, a=1),
        Loop(count=i.k0_count, a=i.k0_step, b=1),
        Loop(count=i.k1_count, a=i.k1_step, b=i.k0_count),
        Loop(count=i.k2_count, a=i.k2_step, b=i.k0_count * i.k1_count),
        Loop(count=i.x_count, a=i.x_step * stride, t=1),
        Loop(count=i.y_count, a=i.y_step, t=i.x_count),
    )
    rules = {"first": i.first, "together": int(together), "apart": int(bool(i.depthwise) and not together)}
    return Job(kind=Kind.MULTIPLY, a=i.source, b=i.weights, t=i.sums, loops=loops, rules=rules)


def frame(kind: Kind, region: Region) -> Job:
    """What brings a frame into its region of external memory, or out of it, in the network's order."""
    height, width, channels = region.shape
    if region.transposed:
        steps = (channels, 1), (width, region.row), (height, channels)
    else:
        steps = (width * channels, 1), (height, region.row), (1, 0)
    if kind == Kind.INPUT:
        return Job(kind=kind, t=region.address, loops=_each(*(Loop(count=count, t=step) for count, step in steps)))
    return Job(kind=kind, a=region.address, loops=_each(*(Loop(count=count, a=step) for count, step in steps)))


#: What brings the image in after a reset: all of external memory, whose last word leads to the program.
BOOT = Job(kind=Kind.BOOT, loops=_each(Loop(count=SINGLE_PORT, t=1)))


def words(jobs: Sequence[Job], start: int) -> Iterator[list[int]]:
    """The words of each job; those from word ``start`` of external memory on, so that an End goes back there.

    A program runs again and again: of what was in the registers before its first word nothing is known.
    """
    held: dict[tuple[Kind | None, Way, int], int] = {}
    # In the round in which sums come from their memory, addresses stay where they are.
    prologue = [_word(Kind.MULTIPLY, way, HELD, 0) for way in (Way.A, Way.B, Way.T)]
    for j in jobs:
        writes = []
        for (way, level), value in j.registers().items():
            key = (None if way == Way.RULES else j.kind, way, level)  # all kinds share the rules
            if held.get(key) != value:
                held[key] = value
                writes.append(_word(j.kind, way, level, value))
        if j.kind == Kind.END:
            yield [*prologue, _to(start)]
        else:
            *first, last = writes or [_word(j.kind, Way.A, BASE, j.a)]
            yield [*prologue, *first, last | _GO]
        prologue = []


def _to(start: int) -> int:
    """The word that leads to another one."""
    return _word(Kind.END, Way.A, BASE, start) | _GO


def _word(kind: Kind, way: Way, level: int, value: int) -> int:
    fields: dict[str, Any] = {"value": value % (1 << BITS), "level": level, "kind": kind, "way": way}
    return WORD.const(fields).as_value().value


def image(jobs: Sequence[Job], external: np.ndarray) -> bytes:
    """All of external memory: what it holds at first, the program behind that; ``HwgenError`` where there is no room for it."""
    start = -(-len(external) // 4)
    program = [word for part in words(jobs, start) for word in part]
    size = 4 * (start + len(program) + 1)
    if size > SINGLE_PORT:
        raise HwgenError(
            f"constants and tensors take {len(external)} bytes of external memory and the program {4 * len(program) + 4}, "
            f"and there are {SINGLE_PORT}; choose a larger board"
        )
    content = external.tobytes().ljust(4 * start, b"\0") + np.array(program, "<u4").tobytes()
    return content.ljust(SINGLE_PORT - 4, b"\0") + np.array([_to(start)], "<u4").tobytes()
