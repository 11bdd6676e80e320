"""Choose the hardware for a network: by the solver, or as an earlier build did."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .board import Board
from .cost import Resources
from .errors import HwgenError
from .graph import Graph, Linear, Node
from .ilp.unroll import InfeasibleError, Objective, Problem, Solution, solve
from .ilp.unroll import check as check_solution
from .mapping.candidates import Candidate, candidate, candidates, edges, operators, swapped
from .mapping.design import Design
from .mapping.operators import Formats, Operator, Unrolling
from .mapping.plan import plan
from .timing import Timing, predict

__all__ = ["Choice", "Progress", "choose", "choose_again", "silent"]

Progress = Callable[[str, float], None]  #: told the name of a step and the share of it that is done
LONGEST = 1 << 26  #: words of a stream in a frame: what prediction can hold in memory
SOFT_LUTS = 90  #: of a multiplier with its share of an adder tree, at least: bounds how many are considered
ROUNDS = 4  #: times the budget is lowered for what FIFOs and converters take


def silent(step: str, share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A design and how it was chosen.

    Parameters
    ----------
    resources
        Of all stages, in LUT4 and the board's block RAMs.
    """

    design: Design
    operators: tuple[Operator, ...]
    candidates: tuple[Candidate, ...]
    solution: Solution
    timing: Timing
    resources: Resources

    def to_manifest(self) -> dict[str, Any]:
        """What :func:`choose_again` wants to know of it."""
        picked = zip(self.operators, self.candidates, strict=True)
        described = {
            op.node.name: {"is": _description(op.node, self.design.graph), "unrolling": asdict(c.unrolling)} for op, c in picked
        }
        return {"operators": described, "solution": asdict(self.solution)}


def _description(node: Node, graph: Graph) -> str:
    """What hardware depends on in any case: all but weights, scales and zero points."""
    parts = [type(node).__name__, *(str(graph.tensors[name].shape) for name in (*node.inputs, node.output))]
    parts += [
        f"{name} {getattr(node, name)}" for name in ("kernel", "strides", "dilations", "pads", "groups") if hasattr(node, name)
    ]
    parts += [f"weights {node.weights.shape}"] if isinstance(node, Linear) else []
    return ", ".join([*parts, *(str(graph.tensors[name].type.integer) for name in (*node.inputs, node.output))])


def choose(
    graph: Graph,
    board: Board,
    objective: Objective,
    target_fps: float | None,
    progress: Progress = silent,
    *,
    dsp_only: bool = False,
    retrainable: bool = False,
) -> Choice:
    """The best design for ``graph`` on ``board``; ``HwgenError`` where none fits.

    Parameters
    ----------
    dsp_only
        Make no multipliers of LUTs.
    retrainable
        Hardware that takes other weights, scales and zero points, all of them in block memories.
    """
    ops = operators(graph, lambda share: progress("exact arithmetic", share), Formats() if retrainable else None)
    budget = board.for_layers
    multipliers = budget.dsp + (0 if dsp_only else budget.lut // SOFT_LUTS)
    options = candidates(ops, multipliers, soft=not dsp_only, memories=board.memories)
    if not all(options):
        raise HwgenError(f"the network needs more than the {multipliers} multipliers of {board.name}; choose a larger board")
    problem = Problem(
        options=tuple(tuple(c.option for c in row) for row in options),
        edges=edges(graph, ops),
        budget=budget,
        objective="area" if target_fps is not None else objective,
        interval=None if target_fps is None else int(board.clock_mhz * 1e6 / target_fps),
    )
    bound = None
    for _ in range(ROUNDS):
        progress("choosing unrollings", 0.0)
        try:
            solution = solve(problem)
        except InfeasibleError as error:
            raise HwgenError(explain_infeasible(error, problem, board, target_fps, retrainable=retrainable)) from None
        check_solution(problem, solution)
        if bound is None:
            bound = solution.bound  # a lower budget's would not be one for the board
        solution = replace(solution, bound=bound, proven=solution.value == bound)
        picked = zip(ops, options, solution.choice, solution.soft, strict=True)
        chosen = tuple(swapped(op, row[k], soft) for op, row, k, soft in picked)
        _check_length(ops, chosen, board)
        design = plan(graph, tuple(c.blocks for c in chosen))
        resources = design.resources(board.memories)
        over = _over(resources, board.limits)
        if not any(over.values()):
            return Choice(
                design=design, operators=ops, candidates=chosen, solution=solution, timing=predict(design), resources=resources
            )
        lower = {name: getattr(problem.budget, name) - amount for name, amount in over.items()}
        problem = replace(problem, budget=Resources(**lower))
    raise HwgenError(f"the network does not fit {board.name}: {_shortage(over, board.limits)}; choose a larger board")


def choose_again(graph: Graph, board: Board, earlier: Mapping[str, Any], progress: Progress = silent) -> Choice:
    """The hardware of an earlier retrainable build, whose manifest is given, for other weights and scales of the same network.

    Raises
    ------
    HwgenError
        If the earlier build is of another network, or its number formats do not do.
    """
    there, other = earlier["operators"], "build another network with --board instead of --like"
    names = [node.name for node in graph.nodes]
    if names != list(there):
        raise HwgenError(
            f"the network must have the operators of {earlier['name']}: {', '.join(there)}; not {', '.join(names)}; {other}"
        )
    for node in graph.nodes:
        if (here := _description(node, graph)) != there[node.name]["is"]:
            raise HwgenError(f"{node.name} must be as in {earlier['name']}: {there[node.name]['is']}; not {here}; {other}")
    formats = Formats({stage["name"]: stage["params"] for stage in earlier["stages"]})
    ops = operators(graph, lambda share: progress("exact arithmetic", share), formats)
    unrollings = [Unrolling(**o["unrolling"]) for o in there.values()]
    chosen = tuple(
        swapped(op, candidate(op, replace(u, soft=0), True, board.memories), u.soft)
        for op, u in zip(ops, unrollings, strict=True)
    )
    design = plan(graph, tuple(c.blocks for c in chosen))
    return Choice(
        design=design,
        operators=ops,
        candidates=chosen,
        solution=Solution(**earlier["solution"]),
        timing=predict(design),
        resources=design.resources(board.memories),
    )


def _check_length(ops: tuple[Operator, ...], chosen: tuple[Candidate, ...], board: Board) -> None:
    """``HwgenError`` where a frame would take so long that nobody could predict or simulate it."""
    for op, picked in zip(ops, chosen, strict=True):
        words = max(s.words for b in picked.blocks for s in (*b.params.inputs, *b.params.outputs))
        if words > LONGEST:
            raise HwgenError(
                f"the network is too large for {board.name}: {op.node.name} would take {words} cycles a frame or more, "
                f"and {LONGEST} are the limit; choose a larger board or a smaller network"
            )


def _over(used: Resources, budget: Resources) -> dict[str, int]:
    return {name: max(0, getattr(used, name) - getattr(budget, name)) for name in ("lut", "ff", "dsp", "bram")}


def _shortage(over: dict[str, int], budget: Resources) -> str:
    return ", ".join(
        f"{n} needs {getattr(budget, n) + more}, available {getattr(budget, n)}" for n, more in over.items() if more
    )


def explain_infeasible(
    error: InfeasibleError, problem: Problem, board: Board, target_fps: float | None, *, retrainable: bool = False
) -> str:
    """Which resource, needed, available, what would help."""
    if target_fps is not None and problem.interval is not None and error.fastest > problem.interval:
        reachable = board.clock_mhz * 1e6 / error.fastest
        return (
            f"{target_fps:g} frames per second are out of reach on {board.name}: the slowest layer allows {reachable:.1f} "
            f"({error.fastest} cycles at {board.clock_mhz:g} MHz); lower --target-fps or choose a board with more multipliers"
        )
    if not error.shortages:
        return f"the network does not fit {board.name}: no combination of unrollings meets all budgets; choose a larger board"
    taken = {
        s.resource: getattr(board.for_layers, s.resource) - s.available for s in error.shortages
    }  # by FIFOs and converters
    needs = "; ".join(
        f"{s.resource}: at least {s.needed + taken[s.resource]} needed, {s.available + taken[s.resource]} available"
        for s in error.shortages
    )
    helps = ["choose a larger board", "a smaller network"]
    helps += ["a lower --target-fps"] if target_fps is not None else []
    helps += ["a build without --retrainable"] if retrainable else []
    return f"the network does not fit {board.name}: {needs}; {', '.join(helps[:-1])} or {helps[-1]}"
