"""One engine or two: against trying all, and the checker that replays a schedule."""

import itertools
import random
from dataclasses import replace

import pytest

from hwgen.errors import HwgenError
from hwgen.ilp import heterogeneous
from hwgen.ilp.heterogeneous import Network, Plan, Problem, Task, check, equal_engines, one_engine, two_engines


def random_problem(seed: int) -> Problem:
    """Up to three kinds of engines, up to four networks of up to five operators in all."""
    rng = random.Random(seed)
    kinds = rng.randint(1, 3)
    longest = rng.choice((3, 20))
    networks = []
    for count in rng.choice(((4,), (1, 3), (3, 2), (1, 2, 2), (2, 2), (1, 1, 1, 1))):
        cycles = tuple(tuple(rng.randint(1, longest) for _ in range(kinds)) for _ in range(count))
        before = tuple(tuple(k for k in range(number) if rng.random() < 0.6) for number in range(count))
        networks.append(Network(cycles=cycles, before=before))
    multipliers = tuple(rng.randint(1, 6) for _ in range(kinds))
    return Problem(networks=tuple(networks), multipliers=multipliers, budget=max(*multipliers, rng.randint(2, 10)))


def tried(problem: Problem, pairs) -> int | None:
    """The least makespan of all pairs of kinds, orders of operators, and engines for them: each as early as it can."""
    places = [(n, k) for n, network in enumerate(problem.networks) for k in range(len(network.cycles))]
    least = None
    for order in itertools.permutations(places):
        where = {place: number for number, place in enumerate(order)}
        if any(where[n, other] > where[n, k] for n, k in places for other in problem.networks[n].before[k]):
            continue
        for pair, engines in itertools.product(pairs, itertools.product((0, 1), repeat=len(places))):
            free, ends = [0, 0], {}
            for (n, k), engine in zip(order, engines, strict=True):
                begin = max([free[engine], *(ends[n, other] for other in problem.networks[n].before[k])])
                free[engine] = ends[n, k] = begin + problem.networks[n].cycles[k][pair[engine]]
            least = max(free) if least is None else min(least, max(free))
    return least


def pairs_of(problem, *, equal):
    sizes = problem.multipliers
    pairs = itertools.combinations_with_replacement(range(len(sizes)), 2)
    return [(a, b) for a, b in pairs if sizes[a] + sizes[b] <= problem.budget and (a == b or not equal)]


def one_after_the_other(problem, pair):
    """A schedule by no rule at all: everything on the first engine."""
    tasks, now = [], 0
    for n, network in enumerate(problem.networks):
        for k, row in enumerate(network.cycles):
            tasks.append(Task(network=n, operator=k, engine=0, start=now, end=now + row[pair[0]]))
            now = tasks[-1].end
    return Plan(kinds=pair, tasks=tuple(tasks), makespan=now, bound=0, proven=False)


@pytest.mark.parametrize("rule", [True, False])
@pytest.mark.parametrize(("solve", "equal"), [(two_engines, False), (equal_engines, True)])
def test_agrees_with_trying_all(solve, equal, rule, monkeypatch):
    """With and without the schedules by a rule, which are often the best."""
    if not rule:
        monkeypatch.setattr(heterogeneous, "_listed", one_after_the_other)
    solved = 0
    for seed in range(60):
        problem = random_problem(seed)
        best = tried(problem, pairs_of(problem, equal=equal))
        if best is None:
            with pytest.raises(HwgenError, match=rf"^no two engines fit {problem.budget} multipliers; choose more$"):
                solve(problem)
            continue
        solved += 1
        plan = solve(problem)
        check(problem, plan)
        assert plan.proven
        assert plan.makespan == plan.bound == best
        assert len(plan.kinds) == 2
        assert not equal or plan.kinds[0] == plan.kinds[1]
    assert solved > 25


def test_one_engine():
    for seed in range(30):
        problem = random_problem(seed)
        plan = one_engine(problem)
        check(problem, plan)
        totals = [
            sum(row[k] for network in problem.networks for row in network.cycles) for k in range(len(problem.multipliers))
        ]
        assert plan.makespan == min(totals)  # each kind fits alone


def test_bounds_are_below_every_schedule():
    tight = 0
    for seed in range(60):
        problem = random_problem(seed)
        for pair in pairs_of(problem, equal=False):
            (bound,) = heterogeneous._bounds(problem, [pair])
            best = tried(problem, [pair])
            assert bound <= best <= heterogeneous._listed(problem, pair).makespan
            tight += bound == best
    assert tight > 40


def test_out_of_time_the_bound_still_holds():
    """The pairs that have not been looked at are below none of it."""
    rng = random.Random(1)
    networks = tuple(
        Network(
            cycles=tuple(tuple(rng.randint(50, 200) for _ in range(4)) for _ in range(12)),
            before=tuple((k - 1,) if k else () for k in range(12)),
        )
        for _ in range(3)
    )
    problem = Problem(networks=networks, multipliers=(1, 1, 1, 1), budget=2)
    best = two_engines(problem)
    hasty = two_engines(problem, seconds=1e-6)
    assert best.proven
    assert not hasty.proven
    assert hasty.bound <= best.makespan <= hasty.makespan
    assert hasty.bound < hasty.makespan


#: A chain of two, and one operator alone; two kinds.
PROBLEM = Problem(
    networks=(Network(cycles=((4, 6), (5, 2)), before=((), (0,))), Network(cycles=((7, 9),), before=((),))),
    multipliers=(3, 2),
    budget=5,
)
TASKS = (
    Task(network=0, operator=0, engine=1, start=0, end=6),
    Task(network=0, operator=1, engine=1, start=6, end=8),
    Task(network=1, operator=0, engine=0, start=0, end=7),
)
PLAN = Plan(kinds=(0, 1), tasks=TASKS, makespan=8, bound=8, proven=True)


def with_task(number, **change):
    return replace(PLAN, tasks=(*TASKS[:number], replace(TASKS[number], **change), *TASKS[number + 1 :]))


def test_by_hand():
    assert check(PROBLEM, PLAN) is PLAN
    found = two_engines(PROBLEM)
    assert (found.kinds, found.makespan, found.bound, found.proven) == ((0, 1), 8, 8, True)
    assert one_engine(PROBLEM).makespan == 16
    assert (equal_engines(PROBLEM).kinds, equal_engines(PROBLEM).makespan) == ((1, 1), 9)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (replace(PLAN, kinds=(0, 0)), "multipliers must be at most 5, not 6"),
        (replace(PLAN, tasks=TASKS[:2]), "tasks must be each operator of each network once"),
        (replace(PLAN, tasks=(*TASKS, TASKS[0])), "tasks must be each operator of each network once"),
        (with_task(0, end=5), "operator 0 of network 0 must take 6 cycles on engine 1, not 5"),
        (with_task(0, engine=0), "operator 0 of network 0 must take 4 cycles on engine 0, not 6"),
        (
            with_task(1, start=5, end=7),
            "operator 1 of network 0 must start from cycle 6 on, after those before it, not in 5",
        ),
        (with_task(2, start=-1, end=6), "operator 0 of network 1 must start from cycle 0 on, after those before it, not in -1"),
        (
            with_task(2, engine=1, start=2, end=11),
            "operator 0 of network 1 must start from cycle 6 on, when engine 1 is free",
        ),
        (replace(PLAN, makespan=9), r"makespan must be 8, not 9 \(bound 8, proven True\)"),
        (replace(PLAN, bound=9), r"makespan must be 8, not 8 \(bound 9, proven True\)"),
        (replace(PLAN, bound=7), r"makespan must be 8, not 8 \(bound 7, proven True\)"),
    ],
)
def test_checker_sees_what_is_wrong(broken, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(PROBLEM, broken)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network(cycles=((1,),), before=()), "before must be 1, one for each operator, not 0"),
        (
            lambda: Network(cycles=((1,), (2,)), before=((), (1,))),
            r"operator 1: those before it must be in 0\.\.0, not \(1,\)",
        ),
        (lambda: replace(PROBLEM, multipliers=(1,)), "cycles of an operator must be 1 positive numbers, one for each kind"),
        (lambda: replace(PROBLEM, budget=1), "budget must suffice for one kind of engine, not be 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
