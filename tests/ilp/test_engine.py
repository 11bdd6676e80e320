"""The choice of an engine against trying all choices, and its checker."""

from dataclasses import replace

import pytest

from hwgen.cost import Resources
from hwgen.ilp.engine import (
    InfeasibleError,
    Layer,
    Network,
    Problem,
    Room,
    Shape,
    Solution,
    best,
    check,
    solve,
    time_of,
    without_bus,
)
from tests.ilp.engines import random_problem, tried


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("worst", [False, True])
def test_agrees_with_trying_all(networks, worst):
    feasible = soft = 0
    for seed in range(80):
        problem = random_problem(seed, networks=networks, worst=worst)
        choices = tried(problem)
        if not choices:
            with pytest.raises(InfeasibleError):
                solve(problem)
            continue
        feasible += 1
        solution = solve(problem)
        check(problem, solution)
        assert solution.proven
        shape = problem.shapes[solution.shape]
        pad = problem.scratchpads[solution.scratchpad][shape.banks[solution.bus]]
        whole = shape.resources[solution.bus] + pad
        lut = whole.lut + solution.soft * problem.soft.lut
        assert (solution.value, shape.multipliers, solution.soft, whole.bram, lut) == choices[0]
        assert solution.bound == choices[0][0]
        soft += solution.soft
    assert feasible > 30
    assert soft


def test_the_best_few():
    """They get worse, and no two have the same array and bus."""
    several = 0
    for seed in range(30):
        problem = random_problem(seed)
        try:
            found = best(problem, 3)
        except InfeasibleError:
            continue
        assert [s.value for s in found] == sorted(s.value for s in found)
        assert len({(problem.shapes[s.shape].array, s.bus) for s in found}) == len(found)
        assert found[0] == solve(problem)
        several += len(found) > 1
    assert several > 5


ROOM, SPILLING = Room(spills=0, together=True), Room(spills=96, together=False)
#: Two shapes: a small one, and one that is twice as fast but for the bus, whose constants come when nothing else is done.
PROBLEM = Problem(
    networks=(
        Network(
            layers=(
                Layer(cycles=(100, 50), beats=((40, 20), (80, 40)), apart=(False, False), more=(5, 7)),
                Layer(cycles=(60, 30), beats=((10, 5), (10, 5)), apart=(False, True), more=(1, 2)),
            ),
            rooms=(dict.fromkeys((4, 8), SPILLING), dict.fromkeys((4, 8), ROOM)),
        ),
    ),
    shapes=(
        Shape(array=0, multipliers=4, banks=(4, 8), resources=(Resources(lut=10, bram=2), Resources(lut=12, bram=2))),
        Shape(array=1, multipliers=8, banks=(4, 8), resources=(Resources(lut=20, bram=4), Resources(lut=22, bram=4))),
    ),
    buses=(4, 8),
    scratchpads=({4: Resources(bram=4), 8: Resources(bram=8)}, {4: Resources(bram=8), 8: Resources(bram=8)}),
    soft=Resources(lut=3, ff=2),
    budget=Resources(lut=40, ff=40, dsp=6, bram=12),
)
SOLUTION = Solution(shape=1, bus=1, scratchpad=1, soft=2, cycles=(85,), value=85, bound=85, proven=True)


def test_by_hand():
    assert solve(PROBLEM) == SOLUTION
    narrow = solve(replace(PROBLEM, budget=replace(PROBLEM.budget, bram=11)))
    assert narrow == replace(SOLUTION, bus=0, scratchpad=0, cycles=(80 + 40 + 24 + 9,), value=153, bound=153)
    hard = solve(replace(PROBLEM, budget=replace(PROBLEM.budget, lut=25)))
    assert (hard.shape, hard.soft, hard.value) == (0, 0, 160)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"soft": 9}, r"soft must be in 0\.\.8 \(multipliers\), not 9"),
        ({"soft": 1}, "dsp must be at most 6, not 7"),
        ({"soft": 7}, "lut must be at most 40, not 43"),
        ({"cycles": (84,)}, r"cycles must be \(85,\), not \(84,\)"),
        ({"scratchpad": 0}, r"cycles must be \(106,\), not \(85,\)"),
        ({"shape": 0, "soft": 0}, r"cycles must be \(160,\), not \(85,\)"),
        ({"value": 84}, r"value must be 85, not 84 \(bound 85, proven True\)"),
        ({"bound": 86}, r"value must be 85, not 85 \(bound 86, proven True\)"),
        ({"bound": 80}, r"value must be 85, not 85 \(bound 80, proven True\)"),
    ],
)
def test_checker_sees_what_is_wrong(change, message):
    check(PROBLEM, SOLUTION)
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(PROBLEM, replace(SOLUTION, **change))


def test_checker_wants_a_scratchpad_that_suffices():
    network = replace(PROBLEM.networks[0], rooms=(dict.fromkeys((4, 8), SPILLING), {4: ROOM}))
    with pytest.raises(ValueError, match=r"^scratchpad must be one that every network fits, not 1$"):
        check(replace(PROBLEM, networks=(network,)), SOLUTION)


def test_infeasible_names_the_resource():
    problem = replace(PROBLEM, budget=Resources(lut=9, ff=40, dsp=2, bram=5))
    with pytest.raises(InfeasibleError) as caught:
        solve(problem)
    assert [(s.resource, s.needed, s.available) for s in caught.value.shortages] == [("lut", 16, 9), ("bram", 6, 5)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({name: ()}, f"{name} must not be empty") for name in ("networks", "shapes", "buses", "scratchpads")),
        ({"buses": (4,)}, "banks and resources of a shape must be 1, one for each bus"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(PROBLEM, **change)


def test_banks_without_room_make_a_shape_no_better():
    """Of shapes that are equal otherwise."""
    shapes = tuple(replace(PROBLEM.shapes[0], banks=(banks, banks)) for banks in (4, 8))
    layer = Layer(cycles=(100, 100), beats=((40, 20), (40, 20)), apart=(False, False), more=(5, 5))
    network = Network(layers=(layer,), rooms=({8: ROOM},))
    pads = (dict.fromkeys((4, 8), Resources(bram=4)),)
    found = solve(replace(PROBLEM, networks=(network,), shapes=shapes, scratchpads=pads))
    assert (found.shape, found.value) == (1, 100)
    spilling = replace(network, rooms=({4: SPILLING, 8: ROOM},))
    found = solve(replace(PROBLEM, networks=(spilling,), shapes=shapes, scratchpads=pads))
    assert (found.shape, found.value) == (1, 100)


def test_without_bus():
    """The cycles of the layers alone, and what a bus costs still counts."""
    free = without_bus(PROBLEM, 1)
    found = solve(free)
    assert (found.shape, found.bus, found.value) == (1, 0, 80)
    assert (free.buses, free.shapes[1].resources) == ((8,), (Resources(lut=22, bram=4),))
    assert time_of(PROBLEM, 1, 1, 1) == SOLUTION.cycles
