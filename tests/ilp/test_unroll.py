import itertools
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from hwgen.cost import Resources
from hwgen.errors import HwgenError
from hwgen.ilp import unroll
from hwgen.ilp.unroll import Edge, InfeasibleError, Option, Problem, Swap


def random_problem(seed, objective, interval=None, swaps=False):
    rng = random.Random(seed)
    rows = []
    for _ in range(rng.randint(1, 3 if swaps else 5)):
        each = Resources(lut=rng.randint(2, 9), ff=rng.randint(0, 3), dsp=-1)
        row = []
        for _ in range(rng.randint(1, 4)):
            resources = Resources(lut=rng.randint(0, 30), ff=rng.randint(0, 30), dsp=rng.randint(0, 4), bram=rng.randint(0, 4))
            swap = Swap(each=each, once=Resources(ff=rng.randint(0, 9))) if swaps and rng.random() < 0.8 else None
            row.append(Option(cycles=rng.randint(1, 40), resources=resources, swap=swap))
        rows.append(tuple(row))
    options = tuple(rows)
    edges = tuple(
        Edge(source=n, sink=n + 1, head=Fraction(rng.randint(0, 8), 8), tail=Fraction(rng.randint(0, 8), 8))
        for n in range(len(options) - 1)
    )
    if len(options) > 3:
        edges += (Edge(source=0, sink=3, head=Fraction(1, 3), tail=Fraction(1, 7)),)
    budget = Resources(lut=60, ff=70, dsp=8, bram=8)
    return Problem(options=options, edges=edges, budget=budget, objective=objective, interval=interval)


def brute_force(problem):
    """The least (objective, multipliers, of these in LUTs) over all choices that fit; None where none does."""
    best = None
    for choice in itertools.product(*(range(len(row)) for row in problem.options)):
        chosen = [row[c] for row, c in zip(problem.options, choice, strict=True)]
        interval = max(o.cycles for o in chosen)
        if problem.interval is not None and interval > problem.interval:
            continue
        for soft in itertools.product(*(range(o.resources.dsp + 1 if o.swap else 1) for o in chosen)):
            used = sum((o.total(n) for o, n in zip(chosen, soft, strict=True)), Resources())
            if any(getattr(used, r) > getattr(problem.budget, r) for r in ("lut", "ff", "dsp", "bram")):
                continue
            area = sum(1_000_000 // getattr(problem.budget, r) * getattr(used, r) for r in ("lut", "ff", "dsp", "bram"))
            value = {"throughput": interval, "latency": unroll.latency(problem, choice), "area": area}[problem.objective]
            key = (value, used.dsp + sum(soft), sum(soft), area)
            best = key if best is None else min(best, key)
    return best


@pytest.mark.parametrize("objective", ["throughput", "latency", "area"])
@pytest.mark.parametrize("interval", [None, 25])
@pytest.mark.parametrize("swaps", [False, True])
def test_agrees_with_brute_force(objective, interval, swaps):
    feasible = in_luts = 0
    for seed in range(40):
        problem = random_problem(seed, objective, interval, swaps)
        if swaps:
            problem = replace(problem, budget=replace(problem.budget, dsp=3))
        best = brute_force(problem)
        if best is None:
            with pytest.raises(InfeasibleError):
                unroll.solve(problem)
            continue
        feasible += 1
        solution = unroll.solve(problem)
        unroll.check(problem, solution)
        assert solution.proven
        assert solution.bound == solution.value == best[0]
        chosen = [row[c] for row, c in zip(problem.options, solution.choice, strict=True)]
        used = sum((o.total(n) for o, n in zip(chosen, solution.soft, strict=True)), Resources())
        area = sum(1_000_000 // getattr(problem.budget, r) * getattr(used, r) for r in ("lut", "ff", "dsp", "bram"))
        assert (used.dsp + sum(solution.soft), sum(solution.soft), area) == best[1:]
        in_luts += sum(solution.soft)
    assert feasible > 10
    assert bool(in_luts) == swaps


def test_swaps_of_a_node_must_be_equal():
    options = tuple(Option(cycles=1, resources=Resources(dsp=2), swap=Swap(each=Resources(lut=n, dsp=-1))) for n in (5, 6))
    with pytest.raises(ValueError, match=r"^swap\.each must be the same for all options of node 0, not 2 different ones$"):
        Problem(options=(options,), edges=(), budget=Resources(lut=10, ff=10, dsp=8, bram=1))


def test_more_than_can_be_swapped():
    option = Option(cycles=1, resources=Resources(dsp=2), swap=Swap(each=Resources(lut=5, dsp=-1), once=Resources(ff=7)))
    assert option.total(0) == Resources(dsp=2)
    assert option.total(2) == Resources(lut=10, ff=7)
    for wrong, soft, most in ((option, 3, 2), (replace(option, swap=None), 1, 0)):
        with pytest.raises(ValueError, match=rf"^soft must be at most {most}, not {soft}$"):
            wrong.total(soft)


def large_problem(seed, objective):
    """25 nodes of 25 options: more than the solver settles in a moment."""
    rng = random.Random(seed)
    options = tuple(
        tuple(
            Option(
                cycles=rng.randint(500, 1500) // unrolled,
                resources=Resources(
                    lut=rng.randint(1, 30) * unrolled, ff=rng.randint(0, 30), dsp=unrolled, bram=rng.randint(0, 4)
                ),
            )
            for unrolled in (rng.randint(1, 20) for _ in range(25))
        )
        for _ in range(25)
    )
    edges = tuple(
        Edge(source=n, sink=n + 1, head=Fraction(rng.randint(0, 8), 8), tail=Fraction(rng.randint(0, 8), 8)) for n in range(24)
    )
    budget = Resources(lut=3500, ff=600, dsp=160, bram=50)
    return Problem(options=options, edges=edges, budget=budget, objective=objective)


@pytest.mark.parametrize(("objective", "seed", "limit"), [("throughput", 5, 0.004), ("latency", 10, 0.05), ("latency", 0, 0.3)])
def test_out_of_time_the_claim_is_still_true(objective, seed, limit, monkeypatch):
    """Later steps improve the objective in passing."""
    monkeypatch.setattr(unroll, "SECONDS", limit)
    problem = large_problem(seed, objective)
    solution = unroll.solve(problem)
    unroll.check(problem, solution)
    assert not solution.proven
    assert solution.bound < solution.value


def test_out_of_time_without_a_choice(monkeypatch):
    monkeypatch.setattr(unroll, "SECONDS", 1e-6)
    with pytest.raises(
        HwgenError, match=r"^the solver found no choice within its time limit; choose a larger board or a smaller"
    ):
        unroll.solve(large_problem(0, "latency"))


def test_infeasible_names_the_resource():
    option = Option(cycles=5, resources=Resources(dsp=9, lut=1))
    problem = Problem(options=((option,),), edges=(), budget=Resources(lut=10, ff=10, dsp=8, bram=1))
    with pytest.raises(InfeasibleError) as caught:
        unroll.solve(problem)
    assert [(s.resource, s.needed, s.available) for s in caught.value.shortages] == [("dsp", 9, 8)]
    assert caught.value.fastest == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 1}, r"^interval must be 1, not \d+$"),
        ({"value": 1}, r"^value must be \d+, not 1 \(bound \d+\)$"),
    ],
)
def test_checker_sees_a_false_claim(change, message):
    problem = random_problem(2, "throughput")
    with pytest.raises(ValueError, match=message):
        unroll.check(problem, replace(unroll.solve(problem), **change))


def test_checker_sees_an_overrun():
    problem = random_problem(2, "throughput")
    solution = unroll.solve(problem)
    with pytest.raises(ValueError, match=r"^lut must be at most 0, not \d+$"):
        unroll.check(replace(problem, budget=Resources(lut=0, ff=99, dsp=99, bram=99)), solution)
