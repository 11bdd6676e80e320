"""Schedules against trying everything, against the paper's program, and at time limits."""

from dataclasses import replace

import pytest

from hwgen.ilp import scratchpad
from hwgen.ilp.scratchpad import InfeasibleError, Operator, Problem, Tensor, check, fixed, free, milp, solve
from hwgen.ilp.scratchpad.precedence import parts
from tests.ilp.scratchpads import fewest_bytes, full_problem, least_peak, random_problem


@pytest.mark.parametrize(
    ("operators", "largest", "reorder", "budget", "seeds"),
    [(4, 3, False, 8, 30), (5, 2, False, 6, 40), (6, 2, False, 5, 60), (4, 3, True, 8, 30), (5, 2, True, 5, 50)],
)
def test_agrees_with_trying_everything(operators, largest, reorder, budget, seeds):
    compared = moving = 0
    for seed in range(seeds):
        problem = random_problem(seed, operators, largest=largest, reorder=reorder)
        if problem.budget > budget:
            continue
        schedule = solve(problem)
        fewest = fewest_bytes(problem)
        assert schedule.proven
        assert schedule.external_bytes == fewest
        compared += 1
        moving += fewest > 0
    assert compared >= 8
    assert moving >= 2


def test_agrees_with_trying_everything_where_addresses_are_hard_to_find():
    harder = 0
    for seed in (1, 2, 77, 85, 117):
        problem = full_problem(seed)
        schedule = solve(problem)
        assert schedule.proven
        assert schedule.external_bytes == fewest_bytes(problem)
        harder += schedule.external_bytes > fixed.best_gaps(problem, problem.program_order, fixed.Limit(1)).value
    assert harder == 3


@pytest.mark.parametrize("seed", range(8))
def test_many_tensors_without_room_to_spare(seed):
    problem = full_problem(seed, tensors=100, steps=50, largest=6, reach=5, budget=16)
    schedule = solve(problem)
    assert schedule.proven
    assert schedule.external_bytes < scratchpad.best_fit(problem).external_bytes


@pytest.mark.parametrize("reorder", [False, True])
def test_agrees_with_the_program_of_the_paper(reorder):
    moving = 0
    for seed in range(100, 110):
        problem = random_problem(seed, 5 if reorder else 8, largest=9, reorder=reorder)
        schedule = solve(problem)
        assert schedule.proven
        assert schedule.external_bytes == milp.least_bytes(problem)
        moving += schedule.external_bytes > 0
    assert moving >= 3


def test_program_of_the_paper_says_when_time_is_up():
    with pytest.raises(TimeoutError, match=r"^not settled within 0\.001 s$"):
        milp.least_bytes(random_problem(3, 14), seconds=0.001)


def test_order_pays():
    """Two branches that end in little: one after the other they fit, side by side they don't."""
    sizes = (1, 6, 6, 1, 1, 1)
    tensors = tuple(Tensor(size=s, external=t == 0, output=t == 5) for t, s in enumerate(sizes))
    edges = (((0,), (1,)), ((0,), (2,)), ((1,), (3,)), ((2,), (4,)), ((3, 4), (5,)))
    ops = tuple(Operator(inputs=i, outputs=o) for i, o in edges)
    problem = Problem(tensors=tensors, operators=ops, budget=9)
    assert solve(problem).external_bytes == 24
    schedule = solve(replace(problem, reorder=True))
    assert (schedule.external_bytes, schedule.proven) == (0, True)
    assert schedule.order in ((0, 2, 1, 3, 4), (1, 3, 0, 2, 4))


@pytest.mark.parametrize("seed", range(20))
def test_least_peak(seed):
    problem = random_problem(seed, 6, largest=9)
    peak = scratchpad.least_peak(problem)
    assert peak.proven
    assert peak.bytes == max(problem.live(peak.order)) == least_peak(problem)


def chain(*, stages, budget):
    """Stages of one operator, two branches and an addition, the first one's output live over the branches."""
    tensors, ops = [Tensor(size=4, external=True)], []

    def op(inputs, size):
        tensors.append(Tensor(size=size))
        ops.append(Operator(inputs=inputs, outputs=(len(tensors) - 1,)))
        return len(tensors) - 1

    x = 0
    for _ in range(stages):
        x = op((x,), 4)
        a, b = op((x,), 9), op((x,), 8)
        x = op((op((a,), 2), op((b,), 3)), 4)
    return Problem(tensors=tuple(tensors), operators=tuple(ops), budget=budget, reorder=True)


def test_parts_add_up():
    problem = chain(stages=4, budget=14)
    found = parts(problem)
    assert [n for part in found for n in part.operators if n >= 0] == list(range(24))
    assert len(found) == 8
    assert len({part.problem for part in found}) == 3  # the first, and two that repeat
    schedule, one = solve(problem), solve(chain(stages=1, budget=14))
    assert schedule.proven
    assert schedule.external_bytes == 4 * one.external_bytes > 0
    assert one.external_bytes == milp.least_bytes(chain(stages=1, budget=14))


def test_windows_find_orders_of_large_parts(monkeypatch):
    problem = chain(stages=4, budget=14)
    whole = solve(problem)
    monkeypatch.setattr(free, "WHOLE", 0)
    monkeypatch.setattr(free, "best_along_chain", lambda *_: None)
    monkeypatch.setattr(free, "WINDOWS", ((4, 0.5), (6, 0.5)))
    schedule = solve(problem)
    assert schedule.external_bytes == whole.external_bytes < solve(replace(problem, reorder=False)).external_bytes
    assert schedule.bound <= whole.bound


@pytest.mark.parametrize("reorder", [False, True])
@pytest.mark.parametrize("seconds", [1e-9, 0.002, 0.02])
def test_out_of_time(seconds, reorder):
    """Whatever is found until then is a schedule, and the bound is honest."""
    problem = replace(full_problem(8, tensors=100, steps=50, largest=6, reach=5, budget=16), reorder=reorder)
    schedule = solve(problem, seconds)
    assert schedule.bound <= schedule.external_bytes <= scratchpad.best_fit(problem).external_bytes
    assert schedule.proven == (schedule.bound == schedule.external_bytes)
    if seconds < 1e-6:
        assert not schedule.proven


def test_same_problem_same_schedule():
    problem = random_problem(5, 30, largest=50, reorder=True)
    assert solve(problem) == solve(problem)


def test_operator_that_does_not_fit():
    problem = random_problem(0, 5)
    needed = max(problem.working_set(o) for o in range(5))
    with pytest.raises(InfeasibleError) as caught:
        solve(replace(problem, budget=needed - 1))
    assert caught.value.needed == needed
    assert problem.working_set(caught.value.operator) == needed


def test_nothing_to_do():
    assert solve(Problem(tensors=(), operators=(), budget=1)).proven
    one = Problem(
        tensors=(Tensor(size=2, output=True),), operators=(Operator(inputs=(), outputs=(0,)),), budget=2, reorder=True
    )
    assert (solve(one).external_bytes, one.compulsory_bytes) == (0, 2)


def test_a_copy_outside_costs_no_spill():
    """The same network three times: the tensor that has to leave is made, an output, or external."""
    ops = [Operator(inputs=(), outputs=(0,)), Operator(inputs=(), outputs=(1,)), Operator(inputs=(0,), outputs=(2,))]
    sizes = (3, 4, 1)
    for first, bytes_moved in ((Tensor(size=3), 6), (Tensor(size=3, output=True), 3), (Tensor(size=3, external=True), 3)):
        tensors = (first, *(Tensor(size=s) for s in sizes[1:]))
        made = ops if not first.external else [Operator(inputs=(0,), outputs=()), *ops[1:]]
        problem = Problem(tensors=tensors, operators=tuple(made), budget=6)
        assert solve(problem).external_bytes == bytes_moved
        assert problem.compulsory_bytes == (3 if first.external or first.output else 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget must be positive, not 0"),
        ({"tensors": (Tensor(size=1),)}, r"operator 0: inputs \[0\] must be external or made before"),
        ({"operators": (Operator(inputs=(5,), outputs=()),)}, r"operator 0: tensors must be below 1, not \(5,\)"),
        ({"operators": (Operator(inputs=(), outputs=(0,)),)}, r"operator 0: outputs \[0\] must be made once, and not external"),
        ({"tensors": (Tensor(size=1, external=True), Tensor(size=1))}, "each tensor must be external or made by an operator"),
    ],
)
def test_bad_problems(change, message):
    problem = Problem(tensors=(Tensor(size=1, external=True),), operators=(Operator(inputs=(0,), outputs=()),), budget=1)
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(problem, **change)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"^size must be positive, not 0$"):
        Tensor(size=0)
    with pytest.raises(ValueError, match=r"^inputs must be different tensors, not \(1, 1\)$"):
        Operator(inputs=(1, 1), outputs=())
    with pytest.raises(ValueError, match=r"^seconds must be positive, not 0$"):
        solve(random_problem(0, 3), 0)


@pytest.mark.parametrize("seed", range(30))
def test_baselines_are_schedules(seed):
    problem = random_problem(seed, 30, largest=50, reach=10)
    best = solve(problem)
    for baseline in (scratchpad.best_fit(problem), scratchpad.largest_first(problem)):
        check(problem, baseline)
        assert baseline.external_bytes >= best.external_bytes
        assert baseline.order == problem.program_order
