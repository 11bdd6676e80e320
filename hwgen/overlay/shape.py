"""The engine for networks: chosen by integer programming, the last choice among the best few by compiling for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cost import Memories, Resources
from ..errors import HwgenError
from ..graph import Graph
from ..ilp.engine import InfeasibleError, Problem, Solution, best, time_of, without_bus
from .candidates import BUSES, Candidates, Limits, candidates
from .clock import predict
from .engine import Engine
from .lower import compile_graph
from .timing import MemoryTiming
from .work import LANES

__all__ = ["Choice", "Wish", "engine_for"]

BEST, FREE = 8, 2  #: choices for which the networks are compiled, and of these as if the bus took no time
COMPILED = 1 << 21  #: activations of all networks; beyond it the solver's choice is taken as it is: compiling takes long
NEAR = 100  #: of predictions that differ by one part in so many, the one with fewer resources is taken
NAMES = {"lut": "look-up tables", "ff": "flip-flops", "dsp": "multipliers", "bram": "block RAMs"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is given of an engine; None: to be chosen.

    Parameters
    ----------
    array
        (rows, columns).
    multipliers
        At most so many.
    lanes
        One of :data:`~hwgen.overlay.work.LANES`.
    scratchpad
        Bytes.
    bus
        Bytes of the data bus.
    on_chip
        Weights, program and all else that external memory holds in block RAM.
    """

    array: tuple[int, int] | None = None
    multipliers: int | None = None
    lanes: int | None = None
    scratchpad: int | None = None
    bus: int | None = None
    on_chip: bool = False

    def __post_init__(self) -> None:
        if self.lanes is not None and self.lanes not in LANES:
            raise ValueError(f"lanes must be one of {', '.join(map(str, LANES))}, not {self.lanes!r}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine, and what the solver says of it.

    Parameters
    ----------
    modelled
        Cycles on it in the solver's model: of all networks, or the slowest one.
    objective, bound
        The least that the solver found there, which another one of the best few may have, and what no engine is below.
    proven
        Whether these two are equal.
    """

    engine: Engine
    modelled: int
    objective: int
    bound: int
    proven: bool


def engine_for(
    graphs: Graph | Sequence[Graph],
    wish: Wish,
    budget: Resources,
    memories: Memories,
    *,
    memory: MemoryTiming,
    buses: tuple[int, ...] = BUSES,
    worst: bool = False,
) -> Choice:
    """An engine for a network, or one for several: the array, lanes, memories, bus and scratchpad with the fewest cycles.

    As many multipliers as the budget has DSPs, or as ``wish`` says: those beyond the DSPs are made of LUTs. Of choices that the
    solver finds best the one that is best as compiled; of those within a hundredth the one with the fewest resources.

    Parameters
    ----------
    budget
        What it may take, all of it together.
    memory
        For which programs are predicted.
    buses
        Bytes of the data buses to choose from, where ``wish`` says none.
    worst
        Of several networks the slowest one counts, instead of the sum.

    Raises
    ------
    HwgenError
        Nothing fits the budget; says what is needed at least. Operators that the engine lacks.
    """
    several = (graphs,) if isinstance(graphs, Graph) else tuple(graphs)
    limits = Limits(
        multipliers=wish.multipliers or max(1, budget.dsp), array=wish.array, lanes=(wish.lanes,) if wish.lanes else LANES,
        scratchpad=wish.scratchpad, buses=(wish.bus,) if wish.bus else buses, on_chip=wish.on_chip,
    )  # fmt: skip
    try:
        made = candidates(several, limits, budget, memories, worst=worst)
        found = best(made.problem, BEST)
    except (HwgenError, InfeasibleError):  # then with memories that do not hold tensors and weights as a whole
        try:
            made = candidates(several, replace(limits, bands=True), budget, memories, worst=worst)
            found = best(made.problem, BEST)
        except InfeasibleError as error:
            raise HwgenError(_why(error)) from None
    first, chosen = found[0], found[0]
    if sum(t.elements for graph in several for t in graph.tensors.values()) <= COMPILED:
        found += [replace(s, bus=first.bus) for s in best(without_bus(made.problem, first.bus), FREE)]
        chosen = _compiled(several, made, found, memory)
    modelled = made.problem.value(time_of(made.problem, chosen.shape, chosen.bus, chosen.scratchpad))
    return Choice(engine=made.engine(chosen), modelled=modelled, objective=first.value, bound=first.bound, proven=first.proven)


def _compiled(graphs: Sequence[Graph], made: Candidates, found: Sequence[Solution], memory: MemoryTiming) -> Solution:
    """The best one as compiled."""
    each = [[_cycles(graph, made.engine(s), memory) for graph in graphs] for s in found]
    cycles = list(map(made.problem.value, each))
    near = [k for k, n in enumerate(cycles) if n * NEAR <= min(cycles) * (NEAR + 1)]
    return found[min(near, key=lambda k: (*_taken(made.problem, found[k]), cycles[k], k))]


def _cycles(graph: Graph, engine: Engine, memory: MemoryTiming) -> int:
    return predict(compile_graph(graph, engine, memory=memory).program, engine, memory)[-1]


def _taken(problem: Problem, solution: Solution) -> tuple[int, int, int]:
    """Multipliers, block RAMs and look-up tables."""
    shape = problem.shapes[solution.shape]
    whole = shape.resources[solution.bus] + problem.scratchpads[solution.scratchpad][shape.banks[solution.bus]]
    return shape.multipliers, whole.bram, whole.lut + solution.soft * problem.soft.lut


def _why(error: InfeasibleError) -> str:
    advice = "choose a larger board, smaller --array, --multipliers, --lanes or --scratchpad, or --style dataflow"
    if not error.shortages:
        return f"no engine fits the board: none stays within all of its resources at once; {advice}"
    lacking = ", ".join(f"{s.needed:,} {NAMES[s.resource]} of {s.available:,}" for s in error.shortages)
    return f"no engine fits the board: each takes at least {lacking}; {advice}"
