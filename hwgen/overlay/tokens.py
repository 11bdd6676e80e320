"""Tokens: what each instruction of a program has to wait for, from the memories that it reads and writes.

Two instructions of different units that touch the same bytes, one of them writing, must keep their order. An instruction waits
for the last such one of each unit before it, unless one before it in its own queue has waited for that or a later one: units
work in order, so the rest follows, and every token given is taken, in order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .engine import Engine
from .isa import Combine, Drain, End, Fill, Instruction, Load, Multiply, Place, Pool, Softmax, Store, Unit

__all__ = ["Access", "accesses", "with_tokens"]


@dataclass(frozen=True)
class Access:
    """Part of a memory: bytes or entries from ``low`` until before ``high``."""

    memory: str
    low: int
    high: int
    write: bool

    def conflicts(self, other: "Access") -> bool:
        """Whether both must keep their order."""
        return (self.write or other.write) and self.memory == other.memory and self.low < other.high and other.low < self.high


def accesses(instruction: Instruction, engine: Engine) -> Iterator[Access]:
    """What it reads and writes, gaps between rows included."""

    def span(memory: str, write: bool, start: int, width: int, *loops: tuple[int, int]) -> Access:
        ends = [(count - 1) * step for count, step in loops]
        return Access(memory, start + sum(min(0, e) for e in ends), start + sum(max(0, e) for e in ends) + width, write)

    match instruction:
        case Load() as i:
            place = Place(i.place)
            count = i.size * i.rows // (engine.beats_of(place) * engine.bus) * engine.entries_of(place)
            yield span("external", False, i.external, i.size, (i.rows, i.external_step))
            match place:
                case Place.SCRATCHPAD:
                    yield span("scratchpad", True, i.local, i.size, (i.rows, i.local_step))
                case Place.WEIGHTS:
                    yield span("weights", True, i.local, count)
                case Place.SCALES:
                    yield span("scales", True, i.local, count)
                case Place.TABLES:
                    yield span("tables", True, i.local, count)
        case Fill() as i:
            yield span("scratchpad", True, i.local, i.size, (i.rows, i.local_step))
        case Multiply() as i:
            loops = [(i.y_count, i.y_step), (i.k0_count, i.k0_step), (i.k1_count, i.k1_step), (i.k2_count, i.k2_step)]
            across = (i.x_count - 1) * i.stride + engine.taps if i.depthwise else i.x_count
            width = engine.columns if i.depthwise else engine.rows
            yield span("scratchpad", False, i.source, width, (across, i.x_step), *loops)
            entries = (engine.taps if i.depthwise else engine.rows) * i.k0_count * i.k1_count * i.k2_count
            yield span("weights", False, i.weights, entries)
            yield span("sums", True, i.sums, i.x_count * i.y_count)
        case Drain() as i:
            yield span("sums", False, i.sums, i.x_count * i.y_count)
            yield span("scales", False, i.scales, i.channels)
            yield span("scratchpad", True, i.target, i.channels, (i.x_count, i.x_step), (i.y_count, i.y_step))
        case Combine() as i:
            yield span("tables", False, 0, 512)
            yield span("scratchpad", False, i.source0, i.x_count, (i.y_count, i.y_step0))
            if not i.single:
                yield span("scratchpad", False, i.source1, i.x_count, (i.y_count, i.y_step1))
            yield span("scratchpad", True, i.target, i.x_count, (i.y_count, i.y_step))
        case Pool() as i:
            window = (i.kernel_x, i.kernel_x_step), (i.kernel_y, i.kernel_y_step)
            yield span("scratchpad", False, i.source, i.channels, (i.x_count, i.x_step), (i.y_count, i.y_step), *window)
            places = (i.x_count, i.target_x_step), (i.y_count, i.target_y_step)
            yield span("scratchpad", True, i.target, i.channels, *places)
        case Softmax() as i:
            yield span("tables", False, 0, 512)
            yield span("scratchpad", False, i.source, i.channels, (i.x_count, i.x_step), (i.y_count, i.y_step))
            yield span("scratchpad", True, i.target, i.channels, (i.x_count, i.target_x_step), (i.y_count, i.target_y_step))
        case Store() as i:
            yield span("scratchpad", False, i.local, i.size, (i.rows, i.local_step))
            yield span("external", True, i.external, i.size, (i.rows, i.external_step))


def with_tokens(program: Sequence[Instruction], engine: Engine) -> list[Instruction]:
    """``program``, right if carried out in order, with the tokens that keep it right when each unit goes its own way."""
    done: dict[Unit, list[tuple[int, tuple[Access, ...]]]] = {unit: [] for unit in Unit}
    waits, signals = [0] * len(program), [0] * len(program)
    known = {(a, b): -1 for a in Unit for b in Unit}  # the last instruction of a that b has waited for
    for number, instruction in enumerate(program):
        mine = tuple(accesses(instruction, engine))
        for unit in Unit:
            if unit == instruction.unit:
                continue
            for earlier, theirs in reversed(done[unit]):
                if earlier <= known[unit, instruction.unit]:
                    break
                if isinstance(instruction, End) or any(a.conflicts(b) for a in mine for b in theirs):
                    known[unit, instruction.unit] = earlier
                    waits[number] |= 1 << unit
                    signals[earlier] |= 1 << instruction.unit
                    break
        done[instruction.unit].append((number, mine))
    return [replace(i, wait=w, signal=s) for i, w, s in zip(program, waits, signals, strict=True)]
