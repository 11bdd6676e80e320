"""The whole problem as one mixed-integer linear program, after COSMA (arXiv 2311.18246), to check the other models with.

Of tensor a in step t, binary: P, it stays from the step before; R, it is retrieved (or, if external, loaded); S, it is
spilled; and L, its address. X of operator o in step t: it runs, and so makes its outputs. To the published equations are
added: one operator a step, nothing there before the first, and that what is spilled may come back in the same step. Steps ×
tensors² in size: for a dozen operators.
"""

from itertools import combinations

from ortools.linear_solver import pywraplp

from .fixed import unit_of
from .problem import Problem

__all__ = ["least_bytes"]

Variables = dict[tuple[int, int], pywraplp.Variable]


def least_bytes(problem: Problem, seconds: float = 60) -> int:
    """The fewest bytes that a schedule moves beyond the compulsory ones. ``TimeoutError``: not settled within ``seconds``."""
    problem.check_working_sets()
    solver = pywraplp.Solver.CreateSolver("SCIP")
    solver.SetTimeLimit(round(seconds * 1000))
    count, unit = len(problem.operators), unit_of(problem)
    steps = range(count)
    used = [t for t, users in enumerate(problem.users) if users]
    sizes = {t: problem.tensors[t].size // unit for t in used}

    def binary(number: int, step: int) -> pywraplp.Variable:
        return solver.BoolVar(f"{number},{step}")

    X = {(o, t): binary(o, t) for o in steps for t in steps}
    P, R, S = ({(a, t): binary(a, t) for a in used for t in steps} for _ in range(3))
    C = {(a, t): X[problem.makers[a], t] if a in problem.makers else 0 for a in used for t in steps}
    there = {key: C[key] + P[key] + R[key] for key in P}
    for k in steps:
        solver.Add(sum(X[k, t] for t in steps) == 1)
        solver.Add(sum(X[o, k] for o in steps) == 1)
        if not problem.reorder:
            solver.Add(X[k, k] == 1)
    for (o, t), runs in X.items():
        for a in problem.operators[o].inputs:
            solver.Add(runs <= P[a, t] + R[a, t])
    for a, t in P:
        earlier = there[a, t - 1] if t else 0
        solver.Add(there[a, t] <= 1)
        solver.Add(P[a, t] <= earlier)
        solver.Add(S[a, t] <= earlier)
        if a in problem.makers:
            copied = C if problem.has_copy(a) else S
            solver.Add(R[a, t] <= sum(copied[a, k] for k in range(t + 1)))
    _separate(solver, there, P, sizes, problem.budget // unit)
    loads = sum(sizes[a] for a in used if a not in problem.makers)
    spills = sum(S[a, t] * sizes[a] for a, t in S if not problem.has_copy(a))
    solver.Minimize(spills + sum(R[a, t] * sizes[a] for a, t in R) - loads)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        raise TimeoutError(f"not settled within {seconds} s")
    return round(solver.Objective().Value()) * unit


def _separate(
    solver: pywraplp.Solver,
    there: dict[tuple[int, int], pywraplp.LinearExpr],
    P: Variables,
    sizes: dict[int, int],
    budget: int,
) -> None:
    """Addresses: within the budget, the same while a tensor stays, and one of two that are there above the other."""
    L = {(a, t): solver.NumVar(0, budget - sizes[a], f"L{a},{t}") for a, t in P}
    for (a, t), stays in P.items():
        if t:
            slack = budget * (1 - stays)
            solver.Add(L[a, t] - L[a, t - 1] <= slack)
            solver.Add(L[a, t - 1] - L[a, t] <= slack)
    for t in {t for _, t in P}:
        for a, b in combinations(sizes, 2):
            u, d = solver.BoolVar(""), solver.BoolVar("")
            solver.Add(L[a, t] >= L[b, t] + sizes[b] - budget * (1 - u))
            solver.Add(L[b, t] >= L[a, t] + sizes[a] - budget * (1 - d))
            solver.Add(u + d >= there[a, t] + there[b, t] - 1)
