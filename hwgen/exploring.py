"""One engine or two for some networks, with the same multipliers: equal ones, or of different shapes and dataflows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import HwgenError
from .frontend import import_model, load_onnx
from .graph import Graph
from .ilp.heterogeneous import Network, Plan, Problem, equal_engines, one_engine, two_engines
from .overlay.dataflows import DATAFLOWS, Dataflow, operators
from .overlay_flow import engine_part
from .results import ExploredEngine, ExploredTask, ExploreResult, ExploreRow

__all__ = ["explore", "explore_graphs"]

MOST = 255  #: rows or columns
SECONDS = 5  #: deterministic time limit of the solver, for each row of the table; takes up to half a minute


def explore(models: Sequence[Path], multipliers: int, dataflows: Sequence[Dataflow] = DATAFLOWS) -> ExploreResult:
    """What one engine, two equal ones and two of any kind with ``multipliers`` in all take for ``models``, run at once.

    ``dataflows``: of the engines.

    Raises
    ------
    HwgenError
        Not an ONNX file, or one with what the overlay lacks; fewer than two multipliers.
    """
    graphs = [engine_part(import_model(load_onnx(Path(path))))[0] for path in models]
    return explore_graphs(graphs, multipliers, dataflows, [Path(path).stem for path in models])


def explore_graphs(
    graphs: Sequence[Graph], multipliers: int, dataflows: Sequence[Dataflow], names: Sequence[str]
) -> ExploreResult:
    """As :func:`explore`, of graphs with ``names``."""
    if multipliers < 2:
        raise HwgenError(f"two engines need two multipliers at least, not {multipliers}")
    table = _tabulated(graphs, multipliers, dataflows)
    ways: tuple[tuple[str, Callable[[], Plan]], ...] = (
        ("one engine", lambda: one_engine(table.problem)),
        ("two equal", lambda: equal_engines(table.problem, SECONDS)),
        ("two of any kind", lambda: two_engines(table.problem, SECONDS)),
    )
    rows = []
    for name, solve in ways:
        start = time.monotonic()
        rows.append(_row(name, solve(), table, multipliers, start))
    return ExploreResult(networks=tuple(names), multipliers=multipliers, macs=table.macs, rows=tuple(rows))


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A problem, what its kinds of engines are, and its operators' names."""

    problem: Problem
    kinds: list[ExploredEngine]
    names: list[list[str]]
    macs: int


def _tabulated(graphs: Sequence[Graph], multipliers: int, dataflows: Sequence[Dataflow]) -> _Table:
    """All arrays of both dataflows that are better for some operator than those with a row or a column less."""
    rows, columns = (grid.ravel() + 1 for grid in np.indices((min(MOST, multipliers),) * 2))
    rows, columns = rows[rows * columns <= multipliers], columns[rows * columns <= multipliers]
    networks = [operators(graph, rows, columns) for graph in graphs]
    kept = [(flow, a) for flow in dataflows for a in _better([[o.cycles[flow] for o in n] for n in networks], rows, columns)]
    problem = Problem(
        networks=tuple(
            Network(
                cycles=tuple(tuple(int(o.cycles[flow][a]) for flow, a in kept) for o in network),
                before=tuple(o.before for o in network),
            )
            for network in networks
        ),
        multipliers=tuple(int(rows[a] * columns[a]) for _, a in kept),
        budget=multipliers,
    )
    kinds = [ExploredEngine(dataflow=flow, rows=int(rows[a]), columns=int(columns[a])) for flow, a in kept]
    macs = sum(o.macs for network in networks for o in network)
    return _Table(problem=problem, kinds=kinds, names=[[o.name for o in network] for network in networks], macs=macs)


def _better(cycles: Sequence[Sequence[np.ndarray]], rows: np.ndarray, columns: np.ndarray) -> list[int]:
    """Numbers of arrays that are better for some operator than with a row less, and for some than with a column less."""
    number = np.full((rows.max() + 1, columns.max() + 1), -1)
    number[rows, columns] = np.arange(len(rows))
    kept = np.ones(len(rows), bool)
    for less in (number[rows - 1, columns], number[rows, columns - 1]):
        kept &= ~((less >= 0) & np.all([each[less] <= each for network in cycles for each in network], axis=0))
    return np.flatnonzero(kept).tolist()


def _row(name: str, plan: Plan, table: _Table, multipliers: int, start: float) -> ExploreRow:
    tasks = tuple(
        ExploredTask(network=t.network, operator=table.names[t.network][t.operator], engine=t.engine, start=t.start, end=t.end)
        for t in sorted(plan.tasks, key=lambda t: (t.start, t.engine))
    )
    return ExploreRow(
        name=name, engines=tuple(table.kinds[k] for k in plan.kinds), makespan_cycles=plan.makespan,
        utilisation=table.macs / (multipliers * plan.makespan), bound=plan.bound, proven=plan.proven,
        seconds=time.monotonic() - start, tasks=tasks,
    )  # fmt: skip
