"""When bytes of external memory come, and the load unit puts them into the engine's memories."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .engine import Engine
from .isa import Fill, Load, Place
from .timing import MemoryTiming
from .units.axi import BURST
from .units.load import AHEAD

__all__ = ["REQUEST", "Answer", "Loading", "Reads"]

OUTSTANDING = 16  #: requests that the memory takes before it has answered the first
REQUEST = 2  #: cycles from a request for instructions to the next one
BURST_AFTER = 3  #: from a request of a load to its next one
ASKING = 2  #: from a load to its first request
PUTTING = 3  #: from a load, or the last byte of the one before, to its first byte, at least
DONE = 2  #: from its last byte to its end


class Answer(Protocol):
    """To a request: who asked, and takes its beats."""

    def known(self, first: int) -> int | None:
        """The cycle in which it is certain what becomes of the beats, if the first one can come in cycle ``first``."""

    def come(self, first: int) -> int:
        """They come; the last one's cycle."""


class Reads:
    """Requests to external memory, which are answered in order."""

    def __init__(self, memory: MemoryTiming):
        self.memory = memory
        self.waiting: deque[tuple[int, Answer]] = deque()  # requests and their cycles
        self.asked, self.free = -1, 0  # the last request's cycle; the next beat's, at least
        self.ends: list[int] = []  # the last beat's of each request that has been answered

    def accepted(self, cycle: int) -> int | None:
        """The first cycle from ``cycle`` on in which a request is taken; None where it waits for an answer."""
        room = OUTSTANDING - len(self.waiting)
        if not room:
            return None
        return max(cycle, self.asked + 1, self.ends[-room] + 1 if len(self.ends) >= room else 0)

    def ask(self, cycle: int, answer: Answer) -> None:
        """A request."""
        self.waiting.append((cycle, answer))
        self.asked = cycle

    def _first(self) -> int:
        return max(self.waiting[0][0] + self.memory.latency, self.free)

    def when_answered(self) -> int | None:
        """When it is certain what becomes of the next request's beats."""
        return self.waiting[0][1].known(self._first()) if self.waiting else None

    def answer(self, _cycle: int) -> None:
        """The next request's beats come."""
        first = self._first()
        last = self.waiting.popleft()[1].come(first)
        self.ends.append(last)
        self.free = last + 1


@dataclass
class _Job:
    """A Load or Fill that has been taken; ``ready``: when it can put its first byte; ``begun``: the cycle of that."""

    number: int
    instruction: Load | Fill
    taken: int
    requests: int = 0
    ready: int | None = None
    begun: int | None = None


class Loading:
    """The load unit: one half asks for bytes, the other puts what comes into memories, in order."""

    def __init__(self, engine: Engine, reads: Reads, end: Callable[[int, int, int], None]):
        self.engine, self.reads, self.end = engine, reads, end
        self.jobs: deque[_Job] = deque()
        self.begins: list[int] = []  # of each Load and Fill, when the second half took it
        self.count = 0  # of those that have been taken
        self.bursts: list[int] = []  # beats of the requests to come, the last one first
        self.asked, self.free = 0, 0  # the last request; when the next instruction is taken
        self.put = 0  # when the next byte can be put
        self.busy: deque[tuple[int, int, float]] = deque()  # the vector unit's accesses: from, until, share of the port

    def room(self) -> int | None:
        """When another instruction can be taken; None where that is not known yet."""
        first = self.count - AHEAD
        if self.bursts or first >= len(self.begins):
            return None
        return max(self.free, self.begins[first] if first >= 0 else 0)

    def take(self, number: int, i: Load | Fill, cycle: int) -> None:
        """An instruction is taken."""
        job = _Job(number, i, cycle)
        self.free, self.asked = cycle + 1, cycle + ASKING - BURST_AFTER
        if isinstance(i, Load):
            for row in range(i.rows):
                first, beats = (i.external + row * i.external_step) // self.engine.bus, -(-i.size // self.engine.bus)
                while beats:
                    self.bursts.append(min(beats, BURST - first % BURST))
                    first, beats = first + self.bursts[-1], beats - self.bursts[-1]
            self.bursts.reverse()
            job.requests = len(self.bursts)
        self.jobs.append(job)
        self.count += 1
        if len(self.jobs) == 1:
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        job.ready = max(self.put, job.taken + PUTTING)
        self.begins.append(job.ready)

    def when_asked(self) -> int | None:
        """When the next request is made."""
        return self.asked + BURST_AFTER if self.bursts else None

    def ask(self, cycle: int) -> None:
        """The next request is made."""
        self.reads.ask(cycle, _Burst(self, self.jobs[-1], self.bursts.pop()))
        self.asked, self.free = cycle, cycle + 2

    def when_filled(self) -> int | None:
        """When the last byte of the Fill whose turn it is has been put."""
        if not self.jobs or not isinstance(i := self.jobs[0].instruction, Fill):
            return None
        assert self.jobs[0].ready is not None
        return self.last(self.jobs[0].ready, i.rows * -(-i.size // self.engine.banks), 1.0)

    def fill(self, cycle: int) -> None:
        """It has."""
        self.jobs[0].begun = self.jobs[0].ready
        self.done(cycle)

    def done(self, last: int) -> None:
        """The first job's last byte has been put."""
        job = self.jobs.popleft()
        assert job.begun is not None
        self.put = last + PUTTING
        self.end(job.number, job.begun, last + DONE)
        if self.jobs:
            self._begin(self.jobs[0])

    def disturb(self, begin: int, end: int, accesses: int, since: int) -> None:
        """The vector unit has so many accesses of the scratchpad from ``begin`` until ``end``, and goes first.

        What was before ``since`` no longer matters to others than the load unit.
        """
        while self.busy and self.busy[0][1] < (min(since, self.put) if self.jobs else since):
            self.busy.popleft()
        self.busy.append((begin, end, min(1.0, accesses / (end - begin))))

    def last(self, begin: int, steps: int, share: float) -> int:
        """The last of so many steps that take a cycle, and a share of the scratchpad's port, each."""
        at, left = float(begin), float(steps)
        for start, end, taken in self.busy:
            if end <= at:
                continue
            if start - at >= left:
                break
            left, at = left - max(0.0, start - at), max(at, start)
            speed = min(1.0, (1.0 - taken) / share)
            if (end - at) * speed >= left:
                return math.ceil(at + left / speed) - 1
            left, at = left - (end - at) * speed, end
        return math.ceil(at + left) - 1


@dataclass
class _Burst:
    """A request for bytes of a Load."""

    loading: Loading
    job: _Job
    beats: int

    @property
    def share(self) -> int:
        """Cycles that a beat takes at least."""
        i = self.job.instruction
        assert isinstance(i, Load)
        return 1 if i.place == Place.SCRATCHPAD else self.loading.engine.entries_of(Place(i.place))

    def _span(self, first: int) -> tuple[int, int]:
        """When the first beat is put, and the last."""
        loading, i, e = self.loading, self.job.instruction, self.loading.engine
        assert isinstance(i, Load)
        assert self.job.ready is not None
        begin = max(first + 1, self.job.ready if self.job.begun is None else loading.put)
        come = first + loading.reads.memory.cycles(self.beats)
        if i.place == Place.SCRATCHPAD:
            return begin, max(come, loading.last(begin, self.beats, e.bus / e.banks))
        return begin, max(come, begin + (self.beats - 1) * self.share)

    def known(self, first: int) -> int | None:
        return self._span(first)[1] if self.job is self.loading.jobs[0] else None

    def come(self, first: int) -> int:
        begin, last = self._span(first)
        loading = self.loading
        loading.put = last + self.share
        if self.job.begun is None:
            self.job.begun = begin
        self.job.requests -= 1
        if not self.job.requests:
            loading.done(last + self.share - 1)
        return last - 1
