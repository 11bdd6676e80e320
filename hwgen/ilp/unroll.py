"""Choose one implementation for every node of a pipeline under a resource budget.

Nodes work at the same time, each on another part of the data (or another frame). The initiation interval of the pipeline is
that of its slowest node; the latency of a frame follows from how much of its input a node needs before it can start, and how
much it still has to do once its last input is there.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Literal

from ortools.sat.python import cp_model

from ..cost import Resources
from ..errors import HwgenError

__all__ = [
    "Edge",
    "InfeasibleError",
    "Objective",
    "Option",
    "Problem",
    "Shortage",
    "Solution",
    "Swap",
    "check",
    "latency",
    "solve",
]

Objective = Literal["throughput", "latency", "area"]
RESOURCES = tuple(f.name for f in fields(Resources))
UNIT = 1000  #: latencies are computed in thousandths of a cycle
SECONDS = 20  #: deterministic time limit of one solver call
REFINING = 0.01  #: share of it for each objective after the first


@dataclass(frozen=True, kw_only=True)
class Swap:
    """What it takes to make multipliers of an option of LUTs instead of DSPs; any of its DSPs.

    Parameters
    ----------
    each
        What each of them adds to the option's resources: LUTs, and a DSP less. The same for all options of a node.
    once
        What is added where there is one at all.
    """

    each: Resources
    once: Resources = field(default_factory=Resources)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to implement a node: its initiation interval in cycles, its resources, and what can be swapped in these."""

    cycles: int
    resources: Resources
    swap: Swap | None = None

    @property
    def swappable(self) -> int:
        """Multipliers that can be made of LUTs."""
        return self.resources.dsp if self.swap else 0

    def total(self, soft: int) -> Resources:
        """The resources with ``soft`` multipliers made of LUTs."""
        if not soft:
            return self.resources
        if self.swap is None or soft > self.swappable:
            raise ValueError(f"soft must be at most {self.swappable}, not {soft}")
        each, once = self.swap.each, self.swap.once
        values = {r: getattr(self.resources, r) + soft * getattr(each, r) + getattr(once, r) for r in RESOURCES}
        return Resources(**values)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Data flows from node ``source`` to node ``sink`` (indices).

    Parameters
    ----------
    head
        Share of the source's frame that the sink needs for its first output.
    tail
        Share of the sink's frame that it can only make once the source's last output is there.
    """

    source: int
    sink: int
    head: Fraction
    tail: Fraction


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Nodes in topological order with their options, the edges between them, the budget.

    Parameters
    ----------
    interval
        Upper limit of the initiation interval, in cycles; None: no limit.
    """

    options: tuple[tuple[Option, ...], ...]
    edges: tuple[Edge, ...]
    budget: Resources
    objective: Objective = "throughput"
    interval: int | None = None

    def __post_init__(self) -> None:
        for n, row in enumerate(self.options):
            if (kinds := len({o.swap.each for o in row if o.swap})) > 1:
                raise ValueError(f"swap.each must be the same for all options of node {n}, not {kinds} different ones")


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The option chosen for each node.

    Parameters
    ----------
    soft
        For each node the multipliers made of LUTs.
    value, bound
        Of the primary objective: cycles of interval (throughput) or of latency, or millionths of the budget, summed over
        the resources (area).
    proven
        Whether value equals the best possible; else it lies between ``bound`` and ``value``.
    """

    choice: tuple[int, ...]
    soft: tuple[int, ...]
    interval: int
    value: int
    bound: int
    proven: bool


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """Why a problem has no solution: the least of ``resource`` that every choice within ``interval`` takes, and the budget."""

    resource: str
    needed: int
    available: int


class InfeasibleError(Exception):
    """No choice fits the budget and the interval; ``shortages`` lists the resources that cannot be met even alone.

    ``fastest`` is the least interval any choice reaches without a budget. Both may be unremarkable where only the combination
    fails.
    """

    def __init__(self, shortages: tuple[Shortage, ...], fastest: int):
        super().__init__("no choice fits the budget")
        self.shortages = shortages
        self.fastest = fastest


def solve(problem: Problem) -> Solution:
    """Best choice: the primary objective first, then the fewest multipliers, of these the fewest made of LUTs, then the
    smallest share of the budget.

    Deterministic: the same problem gives the same choice on any machine. Raises :class:`InfeasibleError`, and ``HwgenError``
    where the time limit passes before any choice is found.
    """
    found = _least_interval(problem) if problem.objective == "throughput" else _least(problem)
    model, hint = found.model, found.hint
    for secondary in (model.multipliers, model.in_luts, model.area):
        _, best, _, better = _minimise(model, secondary, hint, REFINING)
        if better is not None:
            hint = better
            model.cp.add(secondary <= best)
    choice = tuple(next(k for k, x in row.items() if hint[x.name]) for row in model.picks)
    soft = tuple(hint[y.name] for y in model.soft)
    value = _value(problem, choice, soft)  # not above the solver's, and below where later steps did better in passing
    return Solution(
        choice=choice,
        soft=soft,
        interval=max(o[c].cycles for o, c in zip(problem.options, choice, strict=True)),
        value=value,
        bound=found.bound,
        proven=value == found.bound,
    )


def check(problem: Problem, solution: Solution) -> None:
    """Recompute what ``solution`` claims, without the solver; ``ValueError`` where it is not so."""
    chosen = [o[c] for o, c in zip(problem.options, solution.choice, strict=True)]
    used = sum((o.total(n) for o, n in zip(chosen, solution.soft, strict=True)), Resources())
    for r in RESOURCES:
        if getattr(used, r) > getattr(problem.budget, r):
            raise ValueError(f"{r} must be at most {getattr(problem.budget, r)}, not {getattr(used, r)}")
    interval = max(o.cycles for o in chosen)
    if interval != solution.interval or (problem.interval is not None and interval > problem.interval):
        raise ValueError(f"interval must be {solution.interval}, not {interval}")
    value = _value(problem, solution.choice, solution.soft)
    if value != solution.value or solution.bound > solution.value:
        raise ValueError(f"value must be {value}, not {solution.value} (bound {solution.bound})")


def _value(problem: Problem, choice: tuple[int, ...], soft: tuple[int, ...]) -> int:
    """The objective's value of a choice."""
    chosen = [o[c] for o, c in zip(problem.options, choice, strict=True)]
    match problem.objective:
        case "throughput":
            return max(o.cycles for o in chosen)
        case "latency":
            return latency(problem, choice)
        case "area":
            used = sum((o.total(n) for o, n in zip(chosen, soft, strict=True)), Resources())
            return sum(_area_weight(problem.budget, r) * getattr(used, r) for r in RESOURCES)


def latency(problem: Problem, choice: tuple[int, ...]) -> int:
    """Cycles from the first input to the last output of a frame as the model sees it (fill times of pipelines left out)."""
    cycles = [o[c].cycles for o, c in zip(problem.options, choice, strict=True)]
    start, end = [0] * len(cycles), [0] * len(cycles)
    for node, own in enumerate(cycles):
        into = [e for e in problem.edges if e.sink == node]
        start[node] = max((start[e.source] + int(e.head * UNIT) * cycles[e.source] for e in into), default=0)
        end[node] = max([start[node] + UNIT * own, *(end[e.source] + int(e.tail * UNIT) * own for e in into)])
    return -(-max(end, default=0) // UNIT)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """A problem's variables (``picks``: of each node, by option; ``soft``: each node's multipliers of LUTs) and sums."""

    cp: cp_model.CpModel
    picks: list[dict[int, cp_model.IntVar]]
    soft: list[cp_model.IntVar]
    latency: cp_model.IntVar
    multipliers: cp_model.LinearExprT
    in_luts: cp_model.LinearExprT
    area: cp_model.LinearExprT

    @property
    def variables(self) -> list[cp_model.IntVar]:
        return [*itertools.chain(*(row.values() for row in self.picks)), *self.soft]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """A model whose primary objective is settled, values of its variables by name, and the bound."""

    model: _Model
    hint: dict[str, int]
    bound: int


def _least_interval(problem: Problem) -> _Found:
    """By bisection: whether there is a choice within an interval is soon told, since few options are left of each node."""
    lowest = max(min(o.cycles for o in row) for row in problem.options)
    limit = problem.interval if problem.interval is not None else max(o.cycles for row in problem.options for o in row)
    times = sorted({o.cycles for row in problem.options for o in row if lowest <= o.cycles <= limit})
    if not times:
        raise _explain(problem)
    low, high, first = 0, len(times) - 1, len(times) - 1
    least = 0  # the first that is not proven to be out of reach
    best: _Found | None = None
    while best is None or low < high:
        middle = first if best is None else (low + high) // 2
        model = _model(problem, [_needed(options, times[middle]) for options in problem.options])
        status, _, _, hint = _minimise(model, 0, best.hint if best else None)
        if hint is not None:
            best = _Found(model=model, hint=hint, bound=0)
            high = middle
        elif status == cp_model.INFEASIBLE:
            if best is None:
                raise _explain(problem)
            least = low = middle + 1
        elif best is None:
            raise _out_of_time()
        else:
            low = middle + 1
    return replace(best, bound=times[least])


def _least(problem: Problem) -> _Found:
    """Of latency or area, by the solver's own search."""
    limit = problem.interval
    model = _model(problem, [[k for k, o in enumerate(row) if limit is None or o.cycles <= limit] for row in problem.options])
    latency = problem.objective == "latency"
    primary, scale = (model.latency, UNIT) if latency else (model.area, 1)
    status, value, bound, hint = _minimise(model, primary, None)
    if status == cp_model.INFEASIBLE:
        raise _explain(problem)
    if hint is None:
        raise _out_of_time()
    model.cp.add(primary <= -(-value // scale) * scale)
    return _Found(model=model, hint=hint, bound=-(-bound // scale))


def _out_of_time() -> HwgenError:
    return HwgenError("the solver found no choice within its time limit; choose a larger board or a smaller network")


def _model(problem: Problem, kept: list[list[int]]) -> _Model:
    """The model of ``problem`` with the options ``kept`` of each node."""
    model = cp_model.CpModel()
    picks = [{k: model.new_bool_var(f"x{n}_{k}") for k in row} for n, row in enumerate(kept)]
    pairs = [[(x, problem.options[n][k]) for k, x in row.items()] for n, row in enumerate(picks)]
    for row in picks:
        model.add_exactly_one(row.values())
    soft, swaps = [], []
    for n, pair in enumerate(pairs):
        count, added = _swapped(model, n, pair)
        soft.append(count)
        swaps.append(added)

    def total(resource: str) -> cp_model.LinearExprT:
        amounts = [(x, getattr(o.resources, resource)) for x, o in itertools.chain(*pairs)]
        return _sum([*(x * amount for x, amount in amounts if amount), *(added[resource] for added in swaps)])

    totals = {r: total(r) for r in RESOURCES}
    for r in RESOURCES:
        model.add(totals[r] <= getattr(problem.budget, r))
    horizon = UNIT * sum(max(o.cycles for o in row) for row in problem.options) * 2
    finish = model.new_int_var(0, horizon, "latency")
    if problem.objective == "latency":
        cycles = [sum(x * o.cycles for x, o in pair) for pair in pairs]
        start = [model.new_int_var(0, horizon, f"start{n}") for n in range(len(picks))]
        end = [model.new_int_var(0, horizon, f"end{n}") for n in range(len(picks))]
        for n, own in enumerate(cycles):
            model.add(end[n] >= start[n] + UNIT * own)
            model.add(finish >= end[n])
        for e in problem.edges:
            model.add(start[e.sink] >= start[e.source] + int(e.head * UNIT) * cycles[e.source])
            model.add(end[e.sink] >= end[e.source] + int(e.tail * UNIT) * cycles[e.sink])
    in_luts = _sum(soft)
    return _Model(
        cp=model,
        picks=picks,
        soft=soft,
        latency=finish,
        multipliers=_sum([totals["dsp"], in_luts]),
        in_luts=in_luts,
        area=_sum([totals[r] * _area_weight(problem.budget, r) for r in RESOURCES]),
    )


def _swapped(
    model: cp_model.CpModel, node: int, row: list[tuple[cp_model.IntVar, Option]]
) -> tuple[cp_model.IntVar, dict[str, cp_model.LinearExprT]]:
    """How many multipliers of a node are made of LUTs, and what that adds of each resource."""
    most = max((o.swappable for _, o in row), default=0)
    count = model.new_int_var(0, most, f"soft{node}")
    kinds = {o.swap.each for _, o in row if o.swap}
    if not kinds:
        return count, dict.fromkeys(RESOURCES, 0)
    (each,) = kinds
    model.add(count <= _sum([x * o.swappable for x, o in row]))
    some = model.new_bool_var(f"some{node}")
    model.add(count <= most * some)
    added: dict[str, cp_model.LinearExprT] = {}
    for r in RESOURCES:
        added[r] = count * getattr(each, r)
        once = [getattr(o.swap.once, r) if o.swap else 0 for _, o in row]
        if any(once):
            extra = model.new_int_var(0, max(once), f"once{node}_{r}")
            model.add(extra >= sum(x * n for (x, _), n in zip(row, once, strict=True)) - max(once) * (1 - some))
            added[r] = _sum([added[r], extra])
    return count, added


def _sum(terms: Sequence[cp_model.LinearExprT]) -> cp_model.LinearExprT:
    return cp_model.LinearExpr.sum(terms)


def _needed(options: tuple[Option, ...], interval: int) -> list[int]:
    """Options that are fast enough, without those that take no less of any resource than another of these."""
    rows = {k: _figures(o) for k, o in enumerate(options) if o.cycles <= interval}
    kept: list[int] = []
    for k in sorted(rows, key=lambda k: (sum(rows[k]), k)):
        if not any(all(a <= b for a, b in zip(rows[other], rows[k], strict=True)) for other in kept):
            kept.append(k)
    return sorted(kept)


def _figures(option: Option) -> tuple[int, ...]:
    """What an option takes, and what once more where multipliers are swapped: less is better in each."""
    once = option.swap.once if option.swap else Resources()
    return tuple(getattr(resources, r) for resources in (option.resources, once) for r in RESOURCES)


def _area_weight(budget: Resources, resource: str) -> int:
    """Millionths of the budget that one unit of ``resource`` takes."""
    return 1_000_000 // max(1, getattr(budget, resource))


def _minimise(
    model: _Model, term: cp_model.LinearExprT, hint: dict[str, int] | None, share: float = 1
) -> tuple[cp_model.CpSolverStatus, int, int, dict[str, int] | None]:
    """Minimise ``term``: status, value, bound, and the variables' values by name (None where nothing was found).

    ``share``: of the time limit.
    """
    model.cp.minimize(term)
    model.cp.clear_hints()
    if hint is not None:
        for x in model.variables:
            model.cp.add_hint(x, hint.get(x.name, 0))
    solver = cp_model.CpSolver()
    solver.parameters.random_seed = 0
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = SECONDS * share
    solver.parameters.catch_sigint_signal = False  # it would end by taking Python's own handler away
    status = solver.solve(model.cp)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return status, 0, 0, None
    found = {x.name: solver.value(x) for x in model.variables}
    return status, round(solver.objective_value), round(solver.best_objective_bound), found


def _explain(problem: Problem) -> InfeasibleError:
    allowed = [[o for o in row if problem.interval is None or o.cycles <= problem.interval] for row in problem.options]
    fastest = max(min(o.cycles for o in row) for row in problem.options)
    shortages = []
    if all(allowed):
        for r in RESOURCES:
            needed = sum(min(min(getattr(t, r) for t in _extremes(o)) for o in row) for row in allowed)
            if needed > getattr(problem.budget, r):
                shortages.append(Shortage(resource=r, needed=needed, available=getattr(problem.budget, r)))
    return InfeasibleError(tuple(shortages), fastest)


def _extremes(option: Option) -> tuple[Resources, ...]:
    """The resources without and with as many multipliers of LUTs as can be."""
    return option.resources, option.total(option.swappable)
