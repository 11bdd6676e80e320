"""Random engines to choose from, and the best choice by trying all."""

import itertools
import random

from hwgen.cost import Resources
from hwgen.ilp.engine import Layer, Network, Problem, Room, Shape

BUSES = (4, 8)


def random_problem(seed: int, *, networks: int = 1, worst: bool = False) -> Problem:
    """A handful of shapes, two buses, up to three scratchpads; seldom infeasible."""
    rng = random.Random(seed)
    count = rng.randint(1, 6)
    longest = rng.choice((2, 50))  # ties, or none

    def resources(most: int) -> Resources:
        return Resources(lut=rng.randint(0, most), ff=rng.randint(0, most), bram=rng.randint(0, most // 3))

    def room() -> Room:
        return Room(spills=rng.choice((0, rng.randint(0, 4 * longest))), together=rng.random() < 0.7)

    shapes = tuple(
        Shape(
            array=number // 2,
            multipliers=rng.randint(1, 12),
            banks=tuple(rng.choice((4, 8)) for _ in BUSES),
            resources=tuple(resources(20) for _ in BUSES),
        )
        for number in range(count)
    )
    pads = rng.randint(1, 3)
    made = tuple(
        Network(
            layers=tuple(
                Layer(
                    cycles=tuple(rng.randint(1, longest) for _ in shapes),
                    beats=tuple(tuple(rng.randint(1, longest) for _ in BUSES) for _ in shapes),
                    apart=tuple(rng.random() < 0.3 for _ in shapes),
                    more=tuple(rng.randint(0, longest) for _ in shapes),
                )
                for _ in range(rng.randint(1, 2 if longest == 2 else 4))
            ),
            rooms=tuple({w: room() for w in (4, 8) if rng.random() < 0.9} for _ in range(pads)),
        )
        for _ in range(networks)
    )
    return Problem(
        networks=made, shapes=shapes, buses=BUSES, worst=worst,
        scratchpads=tuple({w: resources(15) for w in (4, 8)} for _ in range(pads)),
        soft=Resources(lut=rng.randint(1, 5), ff=rng.randint(0, 3)),
        budget=Resources(lut=35, ff=40, dsp=rng.randint(2, 8), bram=10),
    )  # fmt: skip


def time(layer: Layer, shape: int, bus: int) -> int:
    ours, theirs = layer.cycles[shape], layer.beats[shape][bus]
    return ours + theirs if layer.apart[shape] else ours if ours > theirs else theirs


def tried(problem: Problem) -> list[tuple[int, int, int, int, int]]:
    """(objective, multipliers, of these of LUTs, block RAM, look-up tables) of every choice that fits, the best first."""
    found = []
    for a, b, k in itertools.product(range(len(problem.shapes)), range(len(problem.buses)), range(len(problem.scratchpads))):
        shape, banks = problem.shapes[a], problem.shapes[a].banks[b]
        if any(banks not in network.rooms[k] for network in problem.networks):
            continue
        cycles = []
        for network in problem.networks:
            room = network.rooms[k][banks]
            more = 0 if room.together else sum(layer.more[a] for layer in network.layers)
            cycles.append(more + sum(time(layer, a, b) for layer in network.layers) + -(-room.spills // problem.buses[b]))
        own, pad = shape.resources[b], problem.scratchpads[k][banks]
        for soft in range(shape.multipliers + 1):
            used = {
                r: getattr(own, r) + getattr(pad, r) + soft * getattr(problem.soft, r) for r in ("lut", "ff", "dsp", "bram")
            }
            used["dsp"] += shape.multipliers - soft
            if all(n <= getattr(problem.budget, r) for r, n in used.items()):
                value = max(cycles) if problem.worst else sum(cycles)
                found.append((value, shape.multipliers, soft, used["bram"], used["lut"]))
    return sorted(found)
