"""When the engine carries out the instructions of a program: what its parts do, in the order of time.

Units carry out their instructions in order, wait for tokens, and each has its own time for an instruction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from .engine import Engine
from .isa import WORD, Combine, Drain, Fill, Instruction, Load, Multiply, Pool, Softmax, Store, Unit
from .loading import REQUEST, Loading, Reads
from .small.timing import spans as sequential_spans
from .timing import GAP, MemoryTiming
from .units.axi import BURST
from .units.fetch import BURSTS, DEPTH, QUEUE
from .units.scratchpad import LATENCY
from .units.softmax import cycles as softmax_cycles

__all__ = ["predict", "spans"]

CAME = 3  #: from a request's last beat to the next request that waits for it
ROOM = 3  #: from an instruction that leaves the program's queue to a request for the next ones
SENT = 4  #: from an instruction's last beat to its way into a unit's queue
DECODED = 4  #: from there until the unit takes it
BETWEEN = 4  #: from an instruction of a unit to the next one, at least
ACCESS = 2  #: from an access of the store unit until it is offered to the scratchpad


def predict(program: Sequence[Instruction], engine: Engine, memory: MemoryTiming) -> list[int]:
    """The cycle since the start in which each instruction ends."""
    return [end for _, end in spans(program, engine, memory)]


def spans(program: Sequence[Instruction], engine: Engine, memory: MemoryTiming) -> list[tuple[int, int]]:
    """The cycles since the start in which a unit begins with each instruction's work, and in which that ends.

    A load begins with its first byte. What a unit does while the instruction before has not ended counts for that one, so
    spans of a unit do not overlap.
    """
    if engine.sequential:
        return sequential_spans(program, engine)
    clock = _Clock(program, engine, memory)
    clock.run()
    return clock.found


class _Clock:
    """Carries out a program, once. ``found`` is what :func:`spans` tells."""

    def __init__(self, program: Sequence[Instruction], engine: Engine, memory: MemoryTiming):
        self.program, self.engine, self.memory = program, engine, memory
        self.beats = max(1, WORD // engine.bus)  # of an instruction
        self.fetched, self.asked = 0, 0  # beats of the program that have been asked for; when the last ones were
        self.requests, self.answered = 0, list[int]()  # of the program; when each one's last beat has come
        self.come: list[int] = []  # when each instruction has come
        self.dispatched: list[int] = []  # when each goes to its unit
        self.order = {unit: [n for n, i in enumerate(program) if i.unit == unit] for unit in Unit}
        self.sent = dict.fromkeys(Unit, 0)  # instructions that have gone to each unit
        self.taken: dict[Unit, list[int]] = {unit: [] for unit in Unit}  # when each unit took each of its instructions
        self.free = dict.fromkeys(Unit, 0)  # when each unit takes the next instruction
        self.ended = dict.fromkeys(Unit, 0)  # when each unit has done the last one
        self.tokens: dict[tuple[Unit, Unit], list[int]] = {(a, b): [] for a in Unit for b in Unit}
        self.used = dict.fromkeys(self.tokens, 0)
        self.reads = Reads(memory)
        self.loading = Loading(engine, self.reads, self._end)
        self.storing: tuple[int, int] | None = None  # a Store, and when it was taken
        self.last_tile, self.last_position = 0, 0  # of the array
        self.written, self.drained = 0, True  # the vector unit's last result; whether it was of a Drain
        self.found: list[tuple[int, int]] = [(0, 0)] * len(program)

    def run(self) -> None:
        """Whatever comes first, until nothing comes."""
        reads, loading = self.reads, self.loading
        requests: list[tuple[Callable[[], int | None], Callable[[int], None]]] = [
            (self._when_fetch, self._fetch),
            (loading.when_asked, loading.ask),
        ]
        others: list[tuple[Callable[[], int | None], Callable[[int], None]]] = [
            (reads.when_answered, reads.answer),
            (loading.when_filled, loading.fill),
            (self._when_stored, self._store),
            (self._when_dispatch, self._dispatch),
            *((partial(self._when_taken, unit), partial(self._take, unit)) for unit in Unit),
        ]
        parts = requests + others
        while True:
            times = [(cycle, cycle, k) for k, (when, _) in enumerate(others, 2) if (cycle := when()) is not None]
            for k, (when, _) in enumerate(requests):  # of two the one that has waited longer
                if (cycle := when()) is not None and (accepted := reads.accepted(cycle)) is not None:
                    times.append((accepted, cycle, k))
            if not times:
                break
            cycle, _, first = min(times)
            parts[first][1](cycle)
        for unit in Unit:
            if len(self.taken[unit]) < len(self.order[unit]):
                number = self.order[unit][len(self.taken[unit])]
                raise ValueError(f"instruction {number} waits for a token that no unit gives: {self.program[number]}")

    def _when_fetch(self) -> int | None:
        """As soon as there is room for a request's beats."""
        if self.fetched == self.beats * len(self.program):
            return None
        gone = -(-(self.fetched + BURST - DEPTH * self.beats) // self.beats)  # instructions that must have left
        if gone > len(self.dispatched):
            return None
        earlier = self.requests - BURSTS  # the request that must have come
        if earlier >= len(self.answered):
            return None
        come = self.answered[earlier] + CAME if earlier >= 0 else 0
        return max(self.asked + REQUEST, come, self.dispatched[gone - 1] + ROOM if gone > 0 else 0)

    def _fetch(self, cycle: int) -> None:
        """Ask for the next instructions."""
        count = min(BURST, self.beats * len(self.program) - self.fetched)
        self.reads.ask(cycle, _Words(self, self.fetched, count))
        self.fetched, self.asked, self.requests = self.fetched + count, cycle, self.requests + 1

    def _when_dispatch(self) -> int | None:
        """When the next instruction has come and its unit's queue has room."""
        number = len(self.dispatched)
        if number >= len(self.come):
            return None
        unit = self.program[number].unit
        waiting = self.sent[unit] - QUEUE
        if waiting >= len(self.taken[unit]):
            return None
        room = self.taken[unit][waiting] + 3 if waiting >= 0 else 0
        return max(self.come[number] + SENT, room, self.dispatched[-1] + 2 if number else 0)

    def _dispatch(self, cycle: int) -> None:
        self.sent[self.program[len(self.dispatched)].unit] += 1
        self.dispatched.append(cycle)

    def _when_taken(self, unit: Unit) -> int | None:
        """When a unit takes its next instruction: it has gone there, its tokens have come, and the unit is free."""
        taken = self.taken[unit]
        if len(taken) >= self.sent[unit] or (unit == Unit.STORE and self.storing):
            return None
        number = self.order[unit][len(taken)]
        i = self.program[number]
        ready = max(self.dispatched[number] + DECODED, self.free[unit], taken[-1] + BETWEEN if taken else 0)
        for giver in Unit:
            if i.wait >> giver & 1:
                pair = giver, unit
                if self.used[pair] >= len(self.tokens[pair]):
                    return None
                ready = max(ready, self.tokens[pair][self.used[pair]] + 1)
        if unit == Unit.LOAD:
            room = self.loading.room()
            return None if room is None else max(ready, room)
        if unit == Unit.VECTOR and not (isinstance(i, Drain) and self.drained):
            return max(ready, self.written)
        return ready

    def _take(self, unit: Unit, cycle: int) -> None:
        number = self.order[unit][len(self.taken[unit])]
        i = self.program[number]
        self.taken[unit].append(cycle)
        for giver in Unit:
            if i.wait >> giver & 1:
                self.used[giver, unit] += 1
        match i:
            case Load() | Fill():
                self.loading.take(number, i, cycle)
            case Multiply():
                self._end(number, *self._multiply(i, cycle))
            case Drain() | Combine() | Pool() | Softmax():
                self._end(number, cycle, self._vector(i, cycle))
            case Store():
                self.storing = number, cycle
            case _:
                self.free[unit] = cycle + 1
                self._end(number, cycle, cycle)

    def _when_stored(self) -> int | None:
        """When external memory has answered to all of a Store: the scratchpad's port is others' first."""
        if self.storing is None:
            return None
        number, taken = self.storing
        i = self.program[number]
        assert isinstance(i, Store)
        beats = -(-i.size // self.engine.bus)
        cycles = i.rows * (self.memory.cycles(beats) + 2 * -(-beats // BURST))
        return self.loading.last(taken, cycles, 1.0) + 1 + ACCESS + LATENCY + self.memory.latency + 6

    def _store(self, cycle: int) -> None:
        assert self.storing is not None
        number, taken = self.storing
        self.storing, self.free[Unit.STORE] = None, cycle
        self._end(number, taken, cycle)

    def _end(self, number: int, begin: int, end: int) -> None:
        """Of an instruction; its tokens are given."""
        i = self.program[number]
        for unit in Unit:
            if i.signal >> unit & 1:
                self.tokens[i.unit, unit].append(end + 1)
        self.found[number] = max(begin, self.ended[i.unit]), end
        self.ended[i.unit] = end

    def _multiply(self, i: Multiply, taken: int) -> tuple[int, int]:
        """The first position's cycle, and that in which all sums are there."""
        e = self.engine
        across = (i.x_count - 1) * i.stride + e.taps if i.depthwise else i.x_count
        positions, entries = across * i.y_count, e.taps if i.depthwise else e.rows
        tiles, period = i.k0_count * i.k1_count * i.k2_count, max(positions, entries, GAP)
        loaded = max(taken + 2, self.last_tile + 1) + entries - 1
        first = max(loaded, self.last_position + 1, taken + 3, self.last_tile + GAP)
        last = first + (tiles - 1) * period
        self.free[i.unit] = max(last - period + entries + 1 if tiles > 1 else loaded + 1, self.last_position + 1)
        self.last_tile, self.last_position = last, last + positions - 1
        return first, self.last_position + LATENCY + e.array_latency + 2

    def _vector(self, i: Drain | Combine | Pool | Softmax, taken: int) -> int:
        """When tokens are given: a cycle after the last result."""
        e = self.engine
        since = self.storing[1] if self.storing else taken
        match i:
            case Drain():
                lots = i.x_count * i.y_count * -(-i.channels // e.lanes)
                begin, end = taken + 2 + e.drain_latency + i.steps, taken + 2 + e.drain_latency + lots * i.steps
                self.free[i.unit] = taken + 2 + lots * i.steps
                self.loading.disturb(begin, begin + lots * i.steps, lots, since)
            case Combine():
                results, reads = -(-i.x_count // e.lanes) * i.y_count, 1 if i.single else 2
                self.free[i.unit] = end = taken + _shared(results, reads, LATENCY + 10)
                self.loading.disturb(taken, end, results * (reads + 1), since)
            case Pool():
                results, reads = -(-i.channels // e.lanes) * i.x_count * i.y_count, i.kernel_x * i.kernel_y
                self.free[i.unit] = end = taken + _shared(results, reads, LATENCY + 5)
                self.loading.disturb(taken, end, results * (reads + 1), since)
            case Softmax():
                words = -(-i.channels // e.lanes)
                groups = -(-i.x_count // e.lanes) * i.y_count
                self.free[i.unit] = end = taken + 1 + groups * softmax_cycles(i.channels, e.lanes)
                self.loading.disturb(taken, end, 4 * groups * words * e.lanes, since)
        self.written, self.drained = end, isinstance(i, Drain)
        return end


@dataclass
class _Words:
    """A request for beats of the program: the first one's number, how many."""

    clock: _Clock
    begin: int
    count: int

    def known(self, first: int) -> int:
        return first

    def come(self, first: int) -> int:
        clock = self.clock
        for beat in range(self.count):
            if (self.begin + beat + 1) % clock.beats == 0:
                clock.come.append(first + clock.memory.cycles(beat + 1) - 1)
        clock.answered.append(first + clock.memory.cycles(self.count) - 1)
        return clock.answered[-1]


def _shared(results: int, reads: int, latency: int) -> int:
    """Cycles of results that take so many reads each, which wait while earlier ones are written."""
    return results * (reads + 1) + latency - min(results, latency // (reads + 1))
