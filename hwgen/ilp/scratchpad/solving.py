"""How CP-SAT is called here: one worker, fixed seed, deterministic time; the same problem gives the same answer anywhere."""

from dataclasses import dataclass

from ortools.sat.python import cp_model

__all__ = ["Answer", "Limit", "minimise"]


@dataclass
class Limit:
    """Deterministic seconds that are left for all calls together."""

    left: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a call found.

    Parameters
    ----------
    found
        Whether there are values; else all but ``impossible`` and ``bound`` is void.
    impossible
        Whether it is proven that there are none.
    """

    solver: cp_model.CpSolver
    found: bool
    impossible: bool
    value: int
    bound: int

    def __getitem__(self, variable: cp_model.LiteralT) -> int:
        return int(self.solver.value(variable))


def minimise(cp: cp_model.CpModel, cost: cp_model.LinearExprT, limit: Limit, most: float, *, linear: bool = False) -> Answer:
    """Minimise ``cost``, in at most ``most`` deterministic seconds, which ``limit`` loses.

    ``linear``: all of the model in the linear relaxation; the bounds of orders stall without.
    """
    cp.minimize(cost)
    solver = cp_model.CpSolver()
    solver.parameters.random_seed = 0
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = max(0.0, min(most, limit.left))
    solver.parameters.linearization_level = 2 if linear else 1
    solver.parameters.catch_sigint_signal = False  # it would end by taking Python's own handler away
    status = solver.solve(cp)
    limit.left -= solver.response_proto.deterministic_time
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return Answer(
        solver=solver,
        found=found,
        impossible=status == cp_model.INFEASIBLE,
        value=round(solver.objective_value) if found else 0,
        bound=max(0, round(solver.best_objective_bound)) if found else 0,
    )
