"""Which of many places each block gets: a linear assignment, the least of all sums of distances."""

import numpy as np
from ortools.graph.python import linear_sum_assignment

__all__ = ["nearest_sites"]

STEPS = 10  #: to a unit of distance: the solver counts in whole numbers


def nearest_sites(wanted: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A place for each wanted position, no place twice, the sum of the distances |Δx| + |Δy| being the least.

    Parameters
    ----------
    wanted : (n, 2), n ≤ m
    places : (m, 2)

    Returns
    -------
    (n,) rows of ``places``.
    """
    count = len(places)
    costs = np.zeros((count, count), np.int64)  # positions beyond the last one: any place will do
    costs[: len(wanted)] = np.rint(STEPS * np.abs(wanted[:, None] - places).sum(2))
    rows, columns = np.indices(costs.shape)
    solver = linear_sum_assignment.SimpleLinearSumAssignment()
    solver.add_arcs_with_cost(rows.ravel(), columns.ravel(), costs.ravel())
    if solver.solve() != solver.OPTIMAL:
        raise AssertionError("any position can have any place")
    return np.array([solver.right_mate(k) for k in range(len(wanted))], np.int64)
