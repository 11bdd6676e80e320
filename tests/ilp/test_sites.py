"""Assignment of sites, against every other assignment."""

import itertools

import numpy as np
import pytest

from hwgen.ilp.sites import nearest_sites


def length(wanted, there):
    return np.abs(wanted - there).sum()


@pytest.mark.parametrize("seed", range(10))
def test_no_other_assignment_is_shorter(seed):
    rng = np.random.default_rng(seed)
    wanted, places = rng.integers(0, 8, (4, 2)), rng.integers(0, 8, (6, 2))
    chosen = nearest_sites(wanted, places)
    assert len(set(chosen)) == len(wanted)
    best = min(length(wanted, places[list(others)]) for others in itertools.permutations(range(len(places)), len(wanted)))
    assert length(wanted, places[chosen]) == best
