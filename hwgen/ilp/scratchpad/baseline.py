"""What one gets without a solver: the program's order, Belady's rule for evictions, simple rules for addresses."""

from collections.abc import Collection, Iterable, Sequence

from .placing import Run, divide_and_place, finish
from .problem import Problem, Schedule

__all__ = ["best_fit", "largest_first"]


def best_fit(problem: Problem, order: Sequence[int] | None = None) -> Schedule:
    """Step by step: what is missing goes into the smallest hole that takes it; while there is none, the tensor whose next use
    is farthest away leaves (Belady 1966). Where a step's own tensors are in each other's way, they come anew.
    """
    order = tuple(problem.program_order if order is None else order)
    problem.check_working_sets()
    uses = problem.uses(order)
    there: dict[int, tuple[int, int]] = {}  # what lies in the scratchpad: since which step, at which address
    placed: list[tuple[Run, int]] = []

    def leave(tensors: Iterable[int], step: int) -> None:
        for t in tensors:
            start, address = there.pop(t)
            placed.append((Run(tensor=t, uses=tuple(s for s in uses[t] if start <= s < step)), address))

    for step, number in enumerate(order):
        leave([t for t in there if uses[t][-1] < step], step)
        own = problem.operators[number].tensors
        while (holes := _holes(problem, there, [t for t in own if t not in there])) is None:
            others = [(next(s for s in uses[t] if s > step), problem.tensors[t].size, t) for t in there if t not in own]
            leave([max(others)[2]] if others else list(there), step)
        there.update((t, (step, address)) for t, address in holes.items())
    leave(list(there), len(order))
    return finish(problem, order, placed)


def _holes(problem: Problem, there: dict[int, tuple[int, int]], missing: Sequence[int]) -> dict[int, int] | None:
    """Addresses for ``missing`` beside what is there, each in the smallest hole; None where one finds none."""
    taken = [(address, problem.tensors[t].size) for t, (_, address) in there.items()]
    found = {}
    for t in sorted(missing, key=lambda t: (-problem.tensors[t].size, t)):
        size = problem.tensors[t].size
        ends = sorted([*taken, (problem.budget, 0)])
        starts = [0, *(address + length for address, length in ends)]
        holes = [(end - start, start) for (end, _), start in zip(ends, starts, strict=False) if end - start >= size]
        if not holes:
            return None
        found[t] = min(holes)[1]
        taken.append((found[t], size))
    return found


def largest_first(problem: Problem, order: Sequence[int] | None = None) -> Schedule:
    """Belady's rule on bytes alone, then addresses for everything at once (:func:`.placing.divide_and_place`)."""
    order = tuple(problem.program_order if order is None else order)
    problem.check_working_sets()
    return finish(problem, order, divide_and_place(problem, _belady(problem, order)))


def _belady(problem: Problem, order: Sequence[int]) -> list[Run]:
    """What stays for how long, if holes didn't matter."""
    uses = problem.uses(order)
    there: dict[int, int] = {}  # since which step
    runs = []

    def leave(tensors: Iterable[int], step: int) -> None:
        for t in tensors:
            start = there.pop(t)
            runs.append(Run(tensor=t, uses=tuple(s for s in uses[t] if start <= s < step)))

    for step, number in enumerate(order):
        leave([t for t in there if uses[t][-1] < step], step)
        own: Collection[int] = problem.operators[number].tensors
        missing = [t for t in own if t not in there]
        while problem.total([*there, *missing]) > problem.budget:
            leave(
                [max((next(s for s in uses[t] if s > step), problem.tensors[t].size, t) for t in there if t not in own)[2]],
                step,
            )
        there.update(dict.fromkeys(missing, step))
    leave(list(there), len(order))
    return runs
