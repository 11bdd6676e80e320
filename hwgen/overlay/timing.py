"""When instructions are carried out, as the hardware does it.

Units work in order and wait for tokens; each has its own time for an instruction. External memory answers requests in order,
those for instructions among those for data: when these are made is known from a reckoning before. Left out: two units at one
memory in the same cycle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .engine import Engine
from .isa import WORD, Combine, Drain, Fill, Instruction, Load, Multiply, Place, Pool, Store, Unit
from .small.timing import spans as sequential_spans

__all__ = ["GAP", "MemoryTiming", "array_cycles", "predict", "spans"]

GAP = 4  #: cycles from an entry of the sums to the next product for the same one, at least
QUEUE = 8  #: instructions that wait for a unit
AHEAD = 4  #: loads whose bytes are asked for before those of the first have come
BURST = 16  #: beats of a request
PASSES = 4
OUTSTANDING = 16  #: requests that the memory takes before it has answered the first
FETCHED = 16  #: instructions fetched ahead
SCRATCHPAD = 6  #: cycles from an address to the bytes; one more for units that share a port, and two for the vector unit
REQUEST = 2  #: cycles from a request to the next one of the same unit
DECODED = 4  #: cycles from an instruction's way into a unit's queue until the unit takes it
BETWEEN = 3  #: cycles from an instruction of a unit to the next one, at least


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """When external memory answers.

    Parameters
    ----------
    latency
        Cycles from a read's address to its first beat, and from a write's last beat to its answer. Then a beat in each cycle,
        and up to 16 requests before the first is answered.
    silent, period
        It is silent in ``silent`` of every ``period`` cycles: the first ones, or at random where ``seed`` is not 0.
    """

    latency: int = 10
    silent: int = 0
    period: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latency < 1:
            raise ValueError(f"latency must be positive, not {self.latency!r}")
        if not 0 <= self.silent < max(self.period, 1):
            raise ValueError(f"silent must be in 0..{max(self.period, 1) - 1} (below the period), not {self.silent!r}")

    def cycles(self, beats: int) -> int:
        """That so many beats take."""
        return -(-beats * self.period // (self.period - self.silent)) if self.period else beats


def array_cycles(i: Multiply, engine: Engine) -> int:
    """That the array is at work: for each tile the positions, the words of its weights, or ``GAP``, whatever is most."""
    across = (i.x_count - 1) * i.stride + engine.taps if i.depthwise else i.x_count
    tile = max(across * i.y_count, engine.taps if i.depthwise else engine.rows, GAP)
    return i.k0_count * i.k1_count * i.k2_count * tile


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
    dispatched: list[int] = []
    found: list[tuple[int, int]] = []
    for _ in range(PASSES):
        clock = _Clock(engine, memory, len(program), dispatched)
        found, dispatched = clock.spans(program), clock.dispatched
    return found


class _Clock:
    """Times of what has been carried out; all that is needed of the past."""

    def __init__(self, engine: Engine, memory: MemoryTiming, instructions: int, before: list[int]):
        self.engine, self.memory, self.instructions = engine, memory, instructions
        self.before = (
            before  # when instructions went to their units in a reckoning before: of those that are not yet reckoned with
        )
        self.beats = max(1, WORD // engine.bus)  # of an instruction
        self.portion = max(1, BURST // self.beats)  # instructions of a request
        self.asked = 0  # when the last ones were asked for
        self.come: list[int] = []  # when each instruction has come
        self.dispatched: list[int] = []  # when each goes to its unit
        self.free = dict.fromkeys(Unit, 0)  # when each unit takes the next instruction
        self.ended = dict.fromkeys(Unit, 0)  # when each unit has done the last one
        self.taken: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self.tokens: dict[tuple[Unit, Unit], list[int]] = {(a, b): [] for a in Unit for b in Unit}
        self.used = dict.fromkeys(self.tokens, 0)
        self.bus = 0  # when the bus has brought what was asked for
        self.put = 0  # when the load unit can put the next bytes
        self.puts: list[int] = []  # when it has begun to
        self.last_tile, self.last_position = 0, 0  # of the array
        self.written, self.drained = 0, True  # the vector unit's last result; whether it was of a Drain

    def spans(self, program: Sequence[Instruction]) -> list[tuple[int, int]]:
        found = []
        for number, i in enumerate(program):
            while len(self.come) <= number:
                self._ask(None)
            queue = self.taken[i.unit]
            room = queue[-QUEUE] + 2 if len(queue) >= QUEUE else 0
            last = self.dispatched[-1] + 2 if number else 0
            self.dispatched.append(max(self.come[number] + 4, room, last))
            before = queue[-1] + BETWEEN if queue else 0
            ready = max([self.dispatched[-1] + DECODED, self.free[i.unit], before, *self._waited(i)])
            taken, begin, end = self._carried_out(i, ready)
            queue.append(taken)
            for unit in Unit:
                if i.signal >> unit & 1:
                    self.tokens[i.unit, unit].append(end)
            found.append((max(begin, self.ended[i.unit]), end))
            self.ended[i.unit] = end
        return found

    def _ask(self, until: int | None) -> bool:
        """Ask for the next instructions, when there is room for them; not after ``until``. Whether that is so."""
        first = len(self.come)
        portion = min(self.portion, self.instructions - first)
        popped = first + self.portion - FETCHED - 1  # the last one that must have gone before
        gone = self.dispatched if popped < len(self.dispatched) else self.before
        if not portion or popped >= len(gone):
            return False
        asked = max(self.asked + REQUEST, gone[popped] + 3 if popped >= 0 else 0)
        if until is not None and asked > until:
            return False
        begin = max(asked + self.memory.latency, self.bus)
        self.come += [begin + self.memory.cycles(self.beats * (k + 1)) - 1 for k in range(portion)]
        self.asked, self.bus = asked, begin + self.memory.cycles(self.beats * portion)
        return True

    def _waited(self, i: Instruction) -> list[int]:
        """When the tokens have come."""
        times = []
        for unit in Unit:
            if i.wait >> unit & 1:
                pair = unit, i.unit
                times.append(self.tokens[pair][self.used[pair]] + 1)
                self.used[pair] += 1
        return times

    def _carried_out(self, i: Instruction, ready: int) -> tuple[int, int, int]:
        """When an instruction is taken, its work begins, and ends."""
        match i:
            case Load() | Fill():
                return self._load(i, ready)
            case Multiply():
                return ready, *self._multiply(i, ready)
            case Drain() | Combine() | Pool():
                taken, end = self._vector(i, ready)
                return taken, taken, end
            case Store():
                beats = -(-i.size // self.engine.bus)
                cycles = i.rows * (self.memory.cycles(beats) + 2 * -(-beats // BURST)) + SCRATCHPAD + self.memory.latency + 6
                self.free[i.unit] = ready + cycles
                return ready, ready, ready + cycles
            case _:
                self.free[i.unit] = ready + 1
                return ready, ready, ready + 1

    def _load(self, i: Load | Fill, ready: int) -> tuple[int, int, int]:
        e = self.engine
        taken = max(ready, self.puts[-AHEAD] if len(self.puts) >= AHEAD else 0)
        begin = max(self.put, taken + 3)
        self.puts.append(begin)
        if isinstance(i, Fill):
            self.free[i.unit] = taken + 1
            first = begin
            last = begin + i.rows * -(-i.size // e.banks) - 1
        else:
            beats = -(-i.size // e.bus)
            requests = i.rows * -(-beats // BURST)
            self.free[i.unit] = taken + REQUEST * requests + 1
            share = 1 if i.place == Place.SCRATCHPAD else e.entries_of(Place(i.place))
            while self._ask(taken):
                pass
            first = max(begin, self.bus, taken + 3 + self.memory.latency)
            last = first + max(self.memory.cycles(i.rows * beats), i.rows * beats * share, REQUEST * requests - 1) - 1
            self.bus = last + 1
            last_request = max(taken + REQUEST * (requests - 1), last - OUTSTANDING * BURST)
            while self._ask(last_request):  # between the requests of a long load
                last += self.memory.cycles(self.beats * self.portion)
            self.bus = last + 1
        self.put = last + 3
        return taken, first, last + 2

    def _multiply(self, i: Multiply, taken: int) -> tuple[int, int]:
        e = self.engine
        across = (i.x_count - 1) * i.stride + e.taps if i.depthwise else i.x_count
        positions, entries = across * i.y_count, e.taps if i.depthwise else e.rows
        tiles, period = i.k0_count * i.k1_count * i.k2_count, max(positions, entries, GAP)
        loaded = max(taken + 2, self.last_tile + 1) + entries - 1
        first = max(loaded, self.last_position + 1, taken + 3, self.last_tile + GAP)
        last = first + (tiles - 1) * period
        self.free[i.unit] = max(last - period + entries + 1 if tiles > 1 else loaded + 1, self.last_position + 1)
        self.last_tile, self.last_position = last, last + positions - 1
        return first, self.last_position + SCRATCHPAD + e.array_latency + 2

    def _vector(self, i: Drain | Combine | Pool, ready: int) -> tuple[int, int]:
        e = self.engine
        drains = isinstance(i, Drain)
        taken = ready if drains and self.drained else max(ready, self.written)
        match i:
            case Drain():
                last = taken + 2 + (i.x_count * i.y_count * -(-i.channels // e.lanes) - 1) * i.steps
                self.free[i.unit], end = last + i.steps, last + i.steps - 1 + e.drain_latency + 1
            case Combine():
                end = taken + _shared(-(-i.x_count // e.lanes) * i.y_count, 1 if i.single else 2, SCRATCHPAD + 10)
                self.free[i.unit] = end
            case Pool():
                windows = -(-i.channels // e.lanes) * i.x_count * i.y_count
                end = taken + _shared(windows, i.kernel_x * i.kernel_y, SCRATCHPAD + 4)
                self.free[i.unit] = end
        self.written, self.drained = end, drains
        return taken, end


def _shared(results: int, reads: int, latency: int) -> int:
    """Cycles of results that take so many reads each, which wait while earlier ones are written."""
    return results * (reads + 1) + latency - min(results, latency // (reads + 1))
