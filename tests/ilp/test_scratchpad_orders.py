"""Free orders, by joined series, along a chain and by windows, against all orders at once and trying everything."""

import random
from dataclasses import replace

import pytest

from hwgen.ilp.scratchpad import Operator, Problem, Tensor, chain, check, fixed, free, solve
from hwgen.ilp.scratchpad.ordering import best_order
from hwgen.ilp.scratchpad.placing import runs
from hwgen.ilp.scratchpad.precedence import positions
from hwgen.ilp.scratchpad.series import contract
from hwgen.ilp.scratchpad.solving import Limit
from tests.ilp.scratchpads import fewest_bytes, random_problem


def branches(seed, operators):
    """Mostly series, with some forks, joins, weights and outputs."""
    rng = random.Random(seed)
    tensors, ops, ends = [Tensor(size=rng.randint(1, 4), external=True)], [], [0]
    for _ in range(operators):
        inputs = rng.sample(ends, 1 if rng.random() < 0.75 else min(2, len(ends)))
        for t in inputs:
            if rng.random() < 0.7:
                ends.remove(t)
        if rng.random() < 0.3:
            inputs.append(len(tensors))
            tensors.append(Tensor(size=rng.randint(1, 3), external=True))
        ends.append(len(tensors))
        ops.append(Operator(inputs=tuple(inputs), outputs=(len(tensors),)))
        tensors.append(Tensor(size=rng.randint(1, 4), output=rng.random() < 0.07))
    problem = Problem(tensors=tuple(tensors), operators=tuple(ops), budget=1, reorder=True)
    least = max(map(problem.working_set, problem.program_order))
    return replace(problem, budget=min(rng.randrange(least, max(least + 1, *problem.live(range(operators)))) for _ in range(3)))


def over_all_orders(problem):
    """The fewest bytes, addresses aside, by the model that has all orders in it."""
    order, limit = problem.program_order, Limit(60)
    stays = runs(problem, order, fixed.best_gaps(problem, order, limit).kept)
    found = best_order(problem, order, stays, positions(problem, order, range(len(order))), limit, 60)
    assert fixed.best_gaps(problem, found.order, limit).value == found.bound
    return found.bound


def series(*sizes, budget):
    """One operator after the other, each tensor (the first external, the last an output) read by the next operator alone."""
    made = [Tensor(size=s, external=k == 0, output=k == len(sizes) - 1) for k, s in enumerate(sizes)]
    ops = tuple(Operator(inputs=(k,), outputs=(k + 1,)) for k in range(len(sizes) - 1))
    return Problem(tensors=tuple(made), operators=ops, budget=budget, reorder=True)


def test_series_of_one_size_is_one_operator():
    joined = contract(series(3, 3, 3, 3, budget=6))
    assert joined.operators == ((0, 1, 2),)
    assert [joined.problem.working_set(k) for k in joined.problem.program_order] == [6]
    assert joined.expand((0,)) == (0, 1, 2)


def test_what_would_hold_more_stays_apart():
    """x is read again later: the second of the series would run beside it."""
    sizes = (4, 4, 4, 1)  # x -> a -> b, (x, b) -> c
    tensors = tuple(Tensor(size=s, external=k == 0, output=k == 3) for k, s in enumerate(sizes))
    edges = (((0,), (1,)), ((1,), (2,)), ((0, 2), (3,)))
    ops = tuple(Operator(inputs=i, outputs=o) for i, o in edges)
    problem = Problem(tensors=tensors, operators=ops, budget=9, reorder=True)
    assert contract(problem).operators == ((0,), (1,), (2,))
    assert over_all_orders(problem) == over_all_orders(contract(problem).problem) == 4


@pytest.mark.parametrize("make", [branches, random_problem])
def test_joining_keeps_the_fewest_bytes(make):
    joined = moving = 0
    for seed in range(120):
        problem = replace(make(seed, 7), reorder=True)
        fewer = contract(problem)
        assert sorted(fewer.expand(fewer.problem.program_order)) == list(problem.program_order)
        fewest = over_all_orders(problem)
        assert over_all_orders(fewer.problem) == fewest
        joined += len(fewer.operators) < len(problem.operators)
        moving += fewest > 0
    assert joined >= 12
    assert moving >= 10


@pytest.mark.parametrize("make", [branches, random_problem])
def test_along_chain(monkeypatch, make):
    """Proven without the model that has all orders in it."""
    monkeypatch.setattr(free, "WHOLE", 0)
    moving = 0
    for seed in range(90):
        problem = replace(make(seed, 7), reorder=True)
        found, fewest = free.find_order(problem, Limit(20)), over_all_orders(problem)
        assert (found.bound, fixed.best_gaps(problem, found.order, Limit(20)).value) == (fewest, fewest)
        moving += fewest > 0
    assert moving >= 10


def test_along_chain_agrees_with_trying_everything(monkeypatch):
    monkeypatch.setattr(free, "WHOLE", 0)
    moving = 0
    for seed in range(40):
        problem = branches(seed, 5)
        schedule, fewest = solve(problem), fewest_bytes(problem)
        assert (schedule.external_bytes, schedule.proven) == (fewest, True)
        moving += fewest > 0
    assert moving >= 4


def test_slots_become_finer(monkeypatch):
    """Where operators of one slot are in each other's way the first bound is too low; steps of their own raise it."""
    bounds = []

    def watch(*arguments):
        along = chain.best_along_chain(*arguments)
        bounds.append(along.bound)
        return along

    monkeypatch.setattr(free, "WHOLE", 0)
    monkeypatch.setattr(free, "best_along_chain", watch)
    raised = 0
    for seed in range(40):
        bounds.clear()
        problem = random_problem(seed, 9, reorder=True)
        found = free.find_order(problem, Limit(20))
        assert found.bound == over_all_orders(problem)
        raised += len(bounds) > 1 and bounds[-1] > bounds[0]
    assert raised


def test_windows_where_the_chain_takes_too_long(monkeypatch):
    """No bound then, and the gap says so."""
    monkeypatch.setattr(free, "WHOLE", 0)
    monkeypatch.setattr(free, "best_along_chain", lambda *_: None)
    monkeypatch.setattr(free, "WINDOWS", ((4, 0.5), (6, 0.5)))
    better = 0
    for seed in range(20):
        problem = random_problem(seed, 12, reorder=True)
        schedule = check(problem, solve(problem))
        ordered = solve(replace(problem, reorder=False)).external_bytes
        assert schedule.bound == 0
        assert over_all_orders(problem) <= schedule.external_bytes <= ordered
        better += schedule.external_bytes < ordered
    assert better >= 5


def test_held_long_for_a_small_tensor():
    """a reads what is large and makes what is small: joined with the later b, that would stay over the large step between."""
    sizes = (1, 4, 1, 1, 8, 1, 9)  # x -> p, r; a: p -> t; r, weights -> y; b: t, y -> z
    tensors = tuple(Tensor(size=s, external=k in (0, 4), output=k == 6) for k, s in enumerate(sizes))
    edges = (((0,), (1, 2)), ((1,), (3,)), ((2, 4), (5,)), ((3, 5), (6,)))
    ops = tuple(Operator(inputs=i, outputs=o) for i, o in edges)
    problem = Problem(tensors=tensors, operators=ops, budget=11, reorder=True)
    assert all(1 not in joined or 3 not in joined for joined in contract(problem).operators)
    assert over_all_orders(contract(problem).problem) == over_all_orders(problem) == 0
