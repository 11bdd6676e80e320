"""One or two engines on one chip that share a number of multipliers: their kinds, and when each operator runs on which.

After NASAIC (arXiv 2002.04116), with the makespan as the objective. Kinds are enumerated outside of the solver: for each pair a
bound is known at once (the longest path of a network, and the load of both engines together), and most pairs are ruled out by
it. What is left is solved with CP-SAT, for less than the best so far: optional intervals that do not overlap on an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ortools.sat.python import cp_model

from ..errors import HwgenError
from .scratchpad.solving import Limit, minimise

__all__ = ["Network", "Plan", "Problem", "Task", "check", "equal_engines", "one_engine", "two_engines"]

SHARES = 64  #: weights of the engines' loads that are tried for the bound
CHUNK = 4096  #: pairs whose bounds are computed at once
MOST, LEAST = 2.0, 0.01  #: deterministic seconds of a pair: those that the solver may take, and what all the rest counts as
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Network:
    """Operators in order.

    Parameters
    ----------
    cycles
        Of each operator on each kind of engine.
    before
        Of each operator those that end before it starts.
    """

    cycles: tuple[tuple[int, ...], ...]
    before: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.cycles) != len(self.before):
            raise ValueError(f"before must be {len(self.cycles)}, one for each operator, not {len(self.before)}")
        for number, before in enumerate(self.before):
            if any(other not in range(number) for other in before):
                raise ValueError(f"operator {number}: those before it must be in 0..{number - 1}, not {before}")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Networks that run at once, one frame each; ``multipliers``: of each kind of engine; ``budget``: of all engines."""

    networks: tuple[Network, ...]
    multipliers: tuple[int, ...]
    budget: int

    def __post_init__(self) -> None:
        kinds = len(self.multipliers)
        for network in self.networks:
            if any(len(row) != kinds or min(row) < 1 for row in network.cycles):
                raise ValueError(f"cycles of an operator must be {kinds} positive numbers, one for each kind")
        if min(self.multipliers, default=self.budget + 1) > self.budget:
            raise ValueError(f"budget must suffice for one kind of engine, not be {self.budget}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """An operator of a network on an engine, from cycle ``start`` until before ``end``."""

    network: int
    operator: int
    engine: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Engines and a schedule.

    Parameters
    ----------
    kinds
        Of each engine.
    makespan, bound
        Cycles until all networks are done, and what no plan with as many engines is below.
    proven
        Whether the two are equal.
    """

    kinds: tuple[int, ...]
    tasks: tuple[Task, ...]
    makespan: int
    bound: int
    proven: bool


def one_engine(problem: Problem) -> Plan:
    """The best single engine: all operators one after the other."""
    fit = [k for k, n in enumerate(problem.multipliers) if n <= problem.budget]
    totals = {k: sum(row[k] for network in problem.networks for row in network.cycles) for k in fit}
    kind = min(fit, key=lambda k: (totals[k], problem.multipliers[k], k))
    tasks, now = [], 0
    for n, network in enumerate(problem.networks):
        for number, row in enumerate(network.cycles):
            tasks.append(Task(network=n, operator=number, engine=0, start=now, end=now + row[kind]))
            now += row[kind]
    return check(problem, Plan(kinds=(kind,), tasks=tuple(tasks), makespan=now, bound=now, proven=True))


def equal_engines(problem: Problem, seconds: float = 20) -> Plan:
    """The best two engines of the same kind; ``seconds``: deterministic time limit. ``HwgenError`` where none fit."""
    return _searched(problem, [(k, k) for k, n in enumerate(problem.multipliers) if 2 * n <= problem.budget], seconds)


def two_engines(problem: Problem, seconds: float = 20) -> Plan:
    """The best two engines of any kinds, equal ones too; otherwise as :func:`equal_engines`."""
    kinds = _undominated(problem)
    sizes = problem.multipliers
    return _searched(
        problem, [(a, b) for i, a in enumerate(kinds) for b in kinds[i:] if sizes[a] + sizes[b] <= problem.budget], seconds
    )


def check(problem: Problem, plan: Plan) -> Plan:
    """Returns ``plan``, replayed without a solver; ``ValueError`` unless it is possible and claims what is true."""
    used = sum(problem.multipliers[k] for k in plan.kinds)
    if used > problem.budget:
        raise ValueError(f"multipliers must be at most {problem.budget}, not {used}")
    places = sorted((task.network, task.operator) for task in plan.tasks)
    if places != [(n, k) for n, network in enumerate(problem.networks) for k in range(len(network.cycles))]:
        raise ValueError("tasks must be each operator of each network once")
    ends = {(task.network, task.operator): task.end for task in plan.tasks}
    free = [0] * len(plan.kinds)
    for task in sorted(plan.tasks, key=lambda task: task.start):
        network = problem.networks[task.network]
        name = f"operator {task.operator} of network {task.network}"
        cycles = network.cycles[task.operator][plan.kinds[task.engine]]
        if task.end - task.start != cycles:
            raise ValueError(f"{name} must take {cycles} cycles on engine {task.engine}, not {task.end - task.start}")
        first = max([0, *(ends[task.network, other] for other in network.before[task.operator])])
        if task.start < first:
            raise ValueError(f"{name} must start from cycle {first} on, after those before it, not in {task.start}")
        if task.start < free[task.engine]:
            raise ValueError(f"{name} must start from cycle {free[task.engine]} on, when engine {task.engine} is free")
        free[task.engine] = task.end
    makespan = max([0, *ends.values()])
    if plan.makespan != makespan or plan.bound > makespan or plan.proven != (plan.bound == makespan):
        raise ValueError(f"makespan must be {makespan}, not {plan.makespan} (bound {plan.bound}, proven {plan.proven})")
    return plan


def _undominated(problem: Problem) -> list[int]:
    """Kinds, but those that take no fewer cycles of any operator, nor fewer multipliers, than another one."""
    rows = [row for network in problem.networks for row in network.cycles]
    table = np.array([*rows, problem.multipliers], np.int64).T
    kept: list[int] = []
    for k in np.argsort(table.sum(1), kind="stable").tolist():
        if not (table[kept] <= table[k]).all(1).any():
            kept.append(k)
    return sorted(kept)


def _bounds(problem: Problem, pairs: Sequence[Pair]) -> np.ndarray:
    """(pairs,) cycles that no schedule is below: a network's longest path, or a weighted mean of both engines' loads."""
    found = []
    shares = np.arange(SHARES + 1)[:, None, None]
    for start in range(0, len(pairs), CHUNK):
        first, second = np.array(pairs[start : start + CHUNK]).T
        least = np.zeros(len(first), np.int64)
        mean = np.zeros((SHARES + 1, len(first)), np.int64)
        for network in problem.networks:
            cycles = np.array(network.cycles, np.int64)
            one, other = cycles[:, first], cycles[:, second]
            ends: list[np.ndarray] = []
            for number, before in enumerate(network.before):
                begin = np.max([ends[k] for k in before], axis=0) if before else 0
                ends.append(begin + np.minimum(one[number], other[number]))
            least = np.max([least, *ends], axis=0)
            mean += np.minimum(shares * one, (SHARES - shares) * other).sum(1)
        found.append(np.maximum(least, -(-mean.max(0) // SHARES)))
    return np.concatenate(found)


def _searched(problem: Problem, pairs: Sequence[Pair], seconds: float) -> Plan:
    """The best of ``pairs``: those with the least bounds first, until no other one can be better."""
    if not pairs:
        raise HwgenError(f"no two engines fit {problem.budget} multipliers; choose more")
    bounds = _bounds(problem, pairs)
    order = sorted(range(len(pairs)), key=lambda p: (int(bounds[p]), pairs[p]))
    limit = Limit(seconds)
    best = min((_listed(problem, pairs[p]) for p in order[:SHARES]), key=lambda plan: plan.makespan)
    bound = best.makespan
    for p in order:
        least = int(bounds[p])
        if least >= best.makespan:
            break
        if limit.left <= 0:
            bound = min(bound, least)
            break
        limit.left -= LEAST
        listed = _listed(problem, pairs[p])
        best = listed if listed.makespan < best.makespan else best
        if least < best.makespan:
            found, least = _solved(problem, pairs[p], least, best.makespan - 1, limit)
            best = found or best
            bound = min(bound, least)
    bound = min(bound, best.makespan)
    return check(problem, replace(best, bound=bound, proven=bound == best.makespan))


def _listed(problem: Problem, pair: Pair) -> Plan:
    """A schedule by a rule: of the operators that can start the one with the longest path behind it, where it ends first."""
    behind: list[list[int]] = []
    for network in problem.networks:
        least = [min(row[k] for k in pair) for row in network.cycles]
        for number in reversed(range(len(least))):
            for other in network.before[number]:
                least[other] = max(least[other], min(network.cycles[other][k] for k in pair) + least[number])
        behind.append(least)
    left = {(n, k) for n, network in enumerate(problem.networks) for k in range(len(network.cycles))}
    ends: dict[Pair, int] = {}
    free, tasks = [0, 0], []
    while left:
        ready = [(n, k) for n, k in left if all((n, other) in ends for other in problem.networks[n].before[k])]
        n, k = max(ready, key=lambda place: (behind[place[0]][place[1]], -place[0], -place[1]))
        begin = max([0, *(ends[n, other] for other in problem.networks[n].before[k])])
        cycles = [problem.networks[n].cycles[k][kind] for kind in pair]
        engine = min((0, 1), key=lambda e: (max(begin, free[e]) + cycles[e], e))
        start = max(begin, free[engine])
        ends[n, k] = free[engine] = start + cycles[engine]
        tasks.append(Task(network=n, operator=k, engine=engine, start=start, end=free[engine]))
        left.remove((n, k))
    return Plan(kinds=pair, tasks=tuple(tasks), makespan=max(free), bound=0, proven=False)


def _solved(problem: Problem, pair: Pair, least: int, most: int, limit: Limit) -> tuple[Plan | None, int]:
    """A schedule of ``least`` to ``most`` cycles, if there is one, and what none is below."""
    cp = cp_model.CpModel()
    makespan = cp.new_int_var(least, most, "makespan")
    on: list[list[cp_model.IntervalVar]] = [[], []]
    loads: list[list[cp_model.LinearExprT]] = [[], []]
    starts: dict[Pair, cp_model.IntVar] = {}
    second: dict[Pair, cp_model.IntVar] = {}
    for n, network in enumerate(problem.networks):
        ends: list[cp_model.IntVar] = []
        for k, row in enumerate(network.cycles):
            start, end = cp.new_int_var(0, most, f"start{n}_{k}"), cp.new_int_var(0, most, f"end{n}_{k}")
            which = cp.new_bool_var(f"second{n}_{k}")
            for engine, chosen in enumerate((~which, which)):
                cycles = row[pair[engine]]
                on[engine].append(cp.new_optional_interval_var(start, cycles, end, chosen, f"on{n}_{k}_{engine}"))
                loads[engine].append(chosen * cycles)
            for other in network.before[k]:
                cp.add(start >= ends[other])
            cp.add(makespan >= end)
            ends.append(end)
            starts[n, k], second[n, k] = start, which
    for engine in (0, 1):
        cp.add_no_overlap(on[engine])
        cp.add(cp_model.LinearExpr.sum(loads[engine]) <= makespan)
    answer = minimise(cp, makespan, limit, MOST)
    if answer.impossible:
        return None, most + 1
    if not answer.found:
        return None, least
    tasks = []
    for (n, k), start in starts.items():
        engine, begin = answer[second[n, k]], answer[start]
        tasks.append(
            Task(network=n, operator=k, engine=engine, start=begin, end=begin + problem.networks[n].cycles[k][pair[engine]])
        )
    made = Plan(kinds=pair, tasks=tuple(tasks), makespan=max(task.end for task in tasks), bound=0, proven=False)
    return made, max(least, answer.bound)
