"""From what stays for how long to addresses, by simple rules."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .check import check, moved_bytes
from .problem import Gap, Problem, Schedule, Stay

__all__ = ["Run", "divide_and_place", "finish", "runs"]


@dataclass(frozen=True, kw_only=True, order=True)
class Run:
    """``tensor`` stays from the first to the last of ``uses``: consecutive ones of the steps that use it."""

    tensor: int
    uses: tuple[int, ...]

    @property
    def start(self) -> int:
        return self.uses[0]

    @property
    def end(self) -> int:
        """The step after the last use."""
        return self.uses[-1] + 1

    def split(self, cuts: Collection[int]) -> list["Run"]:
        """Parts, none of which has uses both before and from one of ``cuts`` on."""
        parts: list[list[int]] = []
        for step in self.uses:
            if not parts or any(parts[-1][-1] < cut <= step for cut in cuts):
                parts.append([])
            parts[-1].append(step)
        return [Run(tensor=self.tensor, uses=tuple(part)) for part in parts]


def runs(problem: Problem, order: Sequence[int], kept: Collection[Gap]) -> list[Run]:
    """What stays if of all gaps ``kept`` are bridged."""
    cuts: dict[int, set[int]] = {}
    for gap in problem.gaps(order):
        if gap not in kept:
            cuts.setdefault(gap.tensor, set()).add(gap.end)
    whole = [Run(tensor=t, uses=tuple(steps)) for t, steps in enumerate(problem.uses(order)) if steps]
    return [part for run in whole for part in run.split(cuts.get(run.tensor, set()))]


def divide_and_place(problem: Problem, stays: Iterable[Run]) -> list[tuple[Run, int]]:
    """An address for everything that stays: the largest tensor first, each as low as it goes (Pisarchyk and Lee 2020). What
    finds no place is divided at its longest gap; where it has none, what is in its way is divided around it.
    """
    left = list(stays)
    while True:
        placed, failed = _place(problem, sorted(left, key=lambda run: (-problem.tensors[run.tensor].size, run)))
        if failed is None:
            return placed
        left = [part for run in left for part in _divided(run, failed)]


def _place(problem: Problem, stays: Sequence[Run]) -> tuple[list[tuple[Run, int]], Run | None]:
    """Each in turn at the lowest address that is free for all of its time, and the first that finds none."""
    placed: list[tuple[Run, int]] = []
    for run in stays:
        size, address = problem.tensors[run.tensor].size, 0
        there = [(a, problem.tensors[r.tensor].size) for r, a in placed if r.start < run.end and run.start < r.end]
        for other, length in sorted(there):
            if other - address >= size:
                break
            address = max(address, other + length)
        if address + size > problem.budget:
            return placed, run
        placed.append((run, address))
    return placed, None


def _divided(run: Run, failed: Run) -> list[Run]:
    if run == failed and len(run.uses) > 1:
        longest = max(zip(run.uses, run.uses[1:], strict=False), key=lambda pair: pair[1] - pair[0])
        return run.split({longest[1]})
    if run != failed and len(failed.uses) == 1:
        return run.split({failed.start, failed.end})
    return [run]


def finish(problem: Problem, order: Sequence[int], placed: Iterable[tuple[Run, int]], bound: int = 0) -> Schedule:
    """The schedule with each run at its address, checked."""
    stays = sorted(Stay(tensor=run.tensor, start=run.start, end=run.end, address=address) for run, address in placed)
    moved = moved_bytes(problem, stays)
    schedule = Schedule(order=tuple(order), stays=tuple(stays), external_bytes=moved, bound=bound, proven=bound == moved)
    return check(problem, schedule)
