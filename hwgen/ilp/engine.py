"""Choose the shape of a programmable engine for one or several networks: multipliers, bus and scratchpad, under a budget.

A network runs layer by layer. While the array works on a layer the bus brings constants, so a layer takes the longer of the
two; both together where the memories hold no more than what is being worked with. What a scratchpad is too small for moves over
the bus besides. As all of this is known for each shape and bus, the maxima are numbers of the model, not constraints.
"""

from collections.abc import Sequence

import numpy as np
from ortools.sat.python import cp_model

from ..errors import HwgenError
from .engine_problem import (
    RESOURCES,
    InfeasibleError,
    Layer,
    Network,
    Problem,
    Room,
    Shape,
    Solution,
    check,
    time_of,
    without_bus,
)
from .scratchpad.solving import Limit, minimise
from .unroll import Shortage

__all__ = [
    "InfeasibleError",
    "Layer",
    "Network",
    "Problem",
    "Room",
    "Shape",
    "Solution",
    "best",
    "check",
    "solve",
    "time_of",
    "without_bus",
]

SECONDS = 10.0  #: deterministic time limit of one choice
NONE = (1 << 40, 1)  #: spills, and whether there is too little room, where there is no room at all
Choice = tuple[int, int, int]  #: shape, bus and scratchpad


def solve(problem: Problem) -> Solution:
    """The best choice; of equal ones the fewest multipliers, the fewest of LUTs, least block RAM, then look-up tables.

    Deterministic. Raises :class:`InfeasibleError`, and ``HwgenError`` where the time limit passes before any choice is found.
    """
    return best(problem, 1)[0]


def best(problem: Problem, count: int) -> list[Solution]:
    """The best choices in order, no two with the same array and bus; at most ``count``, none a tenth above the first.

    The first is :func:`solve`'s. What is dominated by another shape is not among them.
    """
    busy, more = _tables(problem)
    cycles = _choices(problem, _undominated(problem, busy, more), busy, more)
    found: list[Solution] = []
    for _ in range(count):
        solution = _best(problem, cycles, {(problem.shapes[s.shape].array, s.bus) for s in found})
        if solution is None:
            break
        if not found:
            cycles = {c: each for c, each in cycles.items() if 10 * problem.value(each) <= 11 * solution.value}
        found.append(solution)
    if not found:
        raise InfeasibleError(_shortages(problem))
    return found


def _tables(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """(networks, shapes, buses) cycles without spills; (networks, shapes) cycles more where there is less room."""
    busy = np.zeros((len(problem.networks), len(problem.shapes), len(problem.buses)), np.int64)
    more = np.zeros(busy.shape[:2], np.int64)
    for n, network in enumerate(problem.networks):
        for layer in network.layers:
            ours, theirs = np.array(layer.cycles)[:, None], np.array(layer.beats)
            busy[n] += np.where(np.array(layer.apart)[:, None], ours + theirs, np.maximum(ours, theirs))
            more[n] += layer.more
    return busy, more


def _undominated(problem: Problem, busy: np.ndarray, more: np.ndarray) -> list[int]:
    """Shapes, but those that are in nothing better than another one."""
    rows = []
    for a, shape in enumerate(problem.shapes):
        figures = [shape.multipliers, *more[:, a].tolist(), *busy[:, a].ravel().tolist()]
        for own, banks in zip(shape.resources, shape.banks, strict=True):
            figures += [getattr(own, r) for r in RESOURCES]
            for k, pad in enumerate(problem.scratchpads):
                rooms = [network.rooms[k].get(banks) for network in problem.networks]
                figures += [getattr(pad[banks], r) for r in RESOURCES]
                figures += [number for room in rooms for number in ((room.spills, 1 - room.together) if room else NONE)]
        rows.append(figures)
    table = np.array(rows, np.int64)
    kept: list[int] = []
    for a in np.argsort(table.astype(np.float64).sum(1), kind="stable").tolist():
        if not (table[kept] <= table[a]).all(1).any():
            kept.append(a)
    return sorted(kept)


def _choices(problem: Problem, kept: list[int], busy: np.ndarray, more: np.ndarray) -> dict[Choice, tuple[int, ...]]:
    """Each network's cycles, of all that the networks fit."""
    found = {}
    for a in kept:
        for b, banks in enumerate(problem.shapes[a].banks):
            for k in range(len(problem.scratchpads)):
                rooms = [network.rooms[k].get(banks) for network in problem.networks]
                cycles = [
                    int(busy[n, a, b]) + (0 if room.together else int(more[n, a])) + -(-room.spills // problem.buses[b])
                    for n, room in enumerate(rooms)
                    if room
                ]
                if len(cycles) == len(rooms):
                    found[a, b, k] = tuple(cycles)
    return found


def _best(problem: Problem, cycles: dict[Choice, tuple[int, ...]], without: set[tuple[int, int]]) -> Solution | None:
    """The best choice but for the pairs of array and bus ``without``; None where there is none."""
    cp = cp_model.CpModel()
    chosen = {c: cp.new_bool_var(f"choice{c}") for c in cycles if (problem.shapes[c[0]].array, c[1]) not in without}
    if not chosen:
        return None
    cp.add_exactly_one(chosen.values())
    shapes, pads = problem.shapes, problem.scratchpads
    soft = cp.new_int_var(0, max(shape.multipliers for shape in shapes), "soft")
    multipliers = _sum([x * shapes[a].multipliers for (a, _, _), x in chosen.items()])
    cp.add(soft <= multipliers)
    used = {}
    for r in RESOURCES:
        taken = [getattr(shapes[a].resources[b], r) + getattr(pads[k][shapes[a].banks[b]], r) for a, b, k in chosen]
        terms = [x * n for x, n in zip(chosen.values(), taken, strict=True)]
        used[r] = _sum([*terms, soft * getattr(problem.soft, r), *([multipliers, -soft] if r == "dsp" else [])])
        cp.add(used[r] <= getattr(problem.budget, r))
    limit = Limit(SECONDS)
    answer = first = minimise(cp, _sum([x * problem.value(cycles[c]) for c, x in chosen.items()]), limit, SECONDS)
    if first.impossible:
        return None
    if not first.found:
        raise HwgenError("the solver found no engine within its time limit; choose a larger board or --array")
    cp.add(_sum([x * problem.value(cycles[c]) for c, x in chosen.items()]) <= first.value)
    for secondary in (multipliers, soft, used["bram"], used["lut"]):
        better = minimise(cp, secondary, limit, SECONDS)
        if not better.found:
            break
        answer = better
        cp.add(secondary <= better.value)
    choice = next(c for c, x in chosen.items() if answer[x])
    value = problem.value(cycles[choice])
    shape, bus, scratchpad = choice
    solution = Solution(
        shape=shape, bus=bus, scratchpad=scratchpad, soft=answer[soft], cycles=cycles[choice],
        value=value, bound=first.bound, proven=first.bound == value,
    )  # fmt: skip
    return check(problem, solution)


def _shortages(problem: Problem) -> tuple[Shortage, ...]:
    """Resources of which every choice takes too much; as many multipliers as can be are DSPs."""
    least: dict[str, int] = {}
    for shape in problem.shapes:
        for own, banks in zip(shape.resources, shape.banks, strict=True):
            soft = max(0, shape.multipliers + own.dsp - problem.budget.dsp)
            for pad in problem.scratchpads:
                for r in RESOURCES if banks in pad else ():
                    needed = getattr(own, r) + getattr(pad[banks], r) + soft * getattr(problem.soft, r)
                    least[r] = min(needed, least.get(r, needed))
    found = ((r, needed, getattr(problem.budget, r)) for r, needed in least.items() if r != "dsp")
    return tuple(Shortage(resource=r, needed=n, available=there) for r, n, there in found if n > there)


def _sum(terms: Sequence[cp_model.LinearExprT]) -> cp_model.LinearExprT:
    return cp_model.LinearExpr.sum(terms)
