"""What ``hwgen check``, ``build``, ``simulate`` and ``run`` found out."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .cost import Resources

__all__ = [
    "AsicResult",
    "BitstreamResult",
    "BuildResult",
    "CheckResult",
    "DroppedTensor",
    "LayerRow",
    "OperatorRow",
    "OverlayBuildResult",
    "OverlayLayer",
    "OverlaySimulateResult",
    "PathPart",
    "ProjectResult",
    "RunResult",
    "ScheduleResult",
    "SimulateResult",
]


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """What becomes of one ONNX operator.

    Parameters
    ----------
    status
        ``supported``, ``rewritten`` or ``unsupported``.
    detail
        Into what it is rewritten, or why it isn't supported.
    advice
        What the user can do; empty where there is nothing to do.
    """

    name: str
    op_type: str
    status: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Parameters
    ----------
    clock_mhz
        Of the board, what ``predicted_fps`` refers to.
    reason
        Why the network does not fit: resource, needed, available, what to change; empty where it does.
    predicted_fps
        Frames per second at the steady state; None where it isn't supported or doesn't fit.
    """

    board: str
    clock_mhz: float
    nodes: tuple[OperatorRow, ...]
    supported: bool
    fits: bool
    reason: str = ""
    predicted_fps: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "supported": self.supported,
            "nodes": [asdict(n) for n in self.nodes],
            "fits": self.fits,
            "predicted_fps": self.predicted_fps,
        }


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a built accelerator.

    Parameters
    ----------
    templates
        The chain that serves it: ``Window + MatrixVector + Requant``.
    unrolling
        For the reader: ``8 × 4``; empty where there is nothing to unroll.
    cycles
        Interval of the layer alone; its share of the accelerator's interval is how busy it is.
    """

    name: str
    templates: str
    unrolling: str
    macs: int
    cycles: int
    multipliers: int
    resources: Resources


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """Parameters
    ----------
    macs
        Multiplications of one frame.
    multipliers
        Hardware multipliers; ``macs / multipliers`` is the least interval that they allow.
    limits
        What the board has, in the units of ``resources``.
    objective, bound
        Value of what was minimised or maximised, and the best that the solver could not exclude.
    proven
        Whether the two are equal.
    """

    style: str
    board: str
    clock_mhz: float
    folder: str
    macs: int
    multipliers: int
    interval_cycles: int
    latency_cycles: int
    resources: Resources
    limits: Resources
    objective: float
    bound: float
    proven: bool
    layers: tuple[LayerRow, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second at the board's clock."""
        return self.clock_mhz * 1e6 / self.interval_cycles

    def to_json(self) -> dict[str, Any]:
        names = "style board folder macs multipliers interval_cycles latency_cycles"
        return {
            **{name: getattr(self, name) for name in names.split()},
            "resources": asdict(self.resources),
            "objective": self.objective,
            "bound": self.bound,
            "proven": self.proven,
        }


@dataclass(frozen=True, kw_only=True)
class OverlayLayer:
    """Operators up to one, since the one before.

    Parameters
    ----------
    cycles
        Predicted, from the end of those before to its own.
    """

    name: str
    macs: int
    cycles: int


@dataclass(frozen=True, kw_only=True)
class OverlayBuildResult:
    """Parameters
    ----------
    rows, columns, lanes
        Of the engine.
    scratchpad, bus
        Bytes.
    latency_cycles
        Predicted, from start to done of one frame, with the usual memory (answers after 10 cycles, never silent). Where memory
        is on chip: from the first word in to the last one out.
    interval_cycles
        From frame to frame, predicted; None where the memory is not on chip.
    external_bytes
        Of external memory that a frame reads and writes, its instructions among them.
    modelled
        Cycles of a frame in the model that the engine is chosen by.
    objective, bound
        The least that the solver found there, and what no engine is below.
    proven
        Whether these two are equal.
    alone
        Whether there is no other engine for the board.
    """

    board: str
    clock_mhz: float
    folder: str
    rows: int
    columns: int
    lanes: int
    scratchpad: int
    bus: int
    instructions: int
    macs: int
    latency_cycles: int
    external_bytes: int
    modelled: int
    objective: int
    bound: int
    proven: bool
    interval_cycles: int | None = None
    alone: bool = False
    layers: tuple[OverlayLayer, ...] = ()

    @property
    def multipliers(self) -> int:
        return self.rows * self.columns

    @property
    def chosen(self) -> str:
        """What the solver says of the engine."""
        if self.alone:
            return "the only one for the board"
        quality = "proven" if self.proven else f"not proven: bound {self.bound:,}"
        return f"{self.modelled:,} cycles in the solver's model, whose least are {self.objective:,}, {quality}"

    def to_json(self) -> dict[str, Any]:
        names = (
            "board folder rows columns lanes scratchpad bus multipliers macs latency_cycles interval_cycles external_bytes"
            " objective bound proven"
        )
        found = {"style": "overlay"} | {name: getattr(self, name) for name in names.split()}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlaySimulateResult:
    """Parameters
    ----------
    latency_cycles
        From start to done of the last frame.
    external_bytes
        Read and written for it.
    elements_compared, mismatches, first_mismatch, outputs
        As of :class:`SimulateResult`.
    """

    frames: int
    elements_compared: int
    mismatches: int
    latency_cycles: int
    predicted_latency_cycles: int
    external_bytes: int
    cycles_per_second: float
    first_mismatch: str = ""
    stalls: bool = False
    outputs: np.ndarray | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        names = "frames elements_compared mismatches latency_cycles predicted_latency_cycles external_bytes cycles_per_second"
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulateResult:
    """Parameters
    ----------
    elements_compared
        Integers compared with ONNX Runtime, of all layers and frames.
    first_mismatch
        Layer, frame, element, expected and simulated value, for the reader; empty where there is none.
    interval_cycles
        Between the last two frames; None where there are fewer than two.
    outputs
        (frames, ...) of the model's output as ONNX Runtime would give it.
    """

    frames: int
    elements_compared: int
    mismatches: int
    interval_cycles: int | None
    latency_cycles: int
    predicted_interval_cycles: int
    predicted_latency_cycles: int
    cycles_per_second: float
    first_mismatch: str = ""
    stalls: bool = False
    outputs: np.ndarray | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        names = (
            "frames elements_compared mismatches interval_cycles latency_cycles predicted_interval_cycles"
            " predicted_latency_cycles cycles_per_second"
        )
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True, kw_only=True, eq=False)
class RunResult:
    """What a run did.

    Parameters
    ----------
    resent_bytes, damaged_packets
        Of input, and of those from the board.
    sessions
        Begun in this run, since the one before was over or lost.
    interval_cycles
        Between the last two frames on the board, which counts modulo 2^32; None for a single frame or a session between them.
    outputs
        (frames, ...) of the model's output.
    """

    frames: int
    seconds: float
    resent_bytes: int
    damaged_packets: int
    sessions: int
    interval_cycles: int | None
    outputs: np.ndarray = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        names = "frames seconds resent_bytes damaged_packets sessions interval_cycles"
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True)
class PathPart:
    """Part of a critical path: the stage of the design (``link``: outside of it), its template, nanoseconds in it."""

    stage: str
    template: str
    ns: float


@dataclass(frozen=True, kw_only=True)
class BitstreamResult:
    """Parameters
    ----------
    fmax_mhz
        Which clock place-and-route reached, of the slowest clock domain.
    clock_mhz
        Of the accelerator.
    resources, predicted
        Of the whole netlist, in LUTs, flip-flops, multipliers and block RAMs; the cost models' of it.
    seed
        Of the placement.
    critical_path
        The longest way between two registers.
    utilisation
        Of the device's cells, by nextpnr's names: used, available.
    cycles
        Initiation interval.
    """

    board: str
    device: str
    fmax_mhz: float
    clock_mhz: float
    timing_met: bool
    resources: Resources
    predicted: Resources
    bitstream: str
    seed: int
    critical_path: tuple[PathPart, ...]
    utilisation: dict[str, tuple[int, int]]
    cycles: int

    @property
    def fps(self) -> float:
        return self.clock_mhz * 1e6 / self.cycles

    def to_json(self) -> dict[str, Any]:
        return {
            "board": self.board,
            "device": self.device,
            "fmax_mhz": self.fmax_mhz,
            "clock_mhz": self.clock_mhz,
            "timing_met": self.timing_met,
            **asdict(self.resources),
            "predicted": asdict(self.predicted),
            "bitstream": self.bitstream,
            "seed": self.seed,
            "critical_path": [asdict(part) for part in self.critical_path],
            "utilisation": {name: {"used": used, "available": there} for name, (used, there) in self.utilisation.items()},
        }


@dataclass(frozen=True, kw_only=True)
class ProjectResult:
    """A project for the vendor's tool.

    Parameters
    ----------
    clock_mhz
        That it asks for.
    resources, predicted
        Of the accelerator, as yosys synthesises it for the device; the cost models' (in look-up tables of four inputs).
    project
        The folder.
    """

    board: str
    device: str
    clock_mhz: float
    resources: Resources
    predicted: Resources
    project: str

    def to_json(self) -> dict[str, Any]:
        unknown = {"fmax_mhz": None, "timing_met": None, "bitstream": None}
        return asdict(self) | asdict(self.resources) | unknown


@dataclass(frozen=True, kw_only=True)
class AsicResult:
    """Gates and area, see :class:`hwgen.hardware.asic.AsicArea`; ``netlist``: the file."""

    board: str
    gates: int
    flip_flops: int
    nand2: float | None
    area: float | None
    ram_bits: int
    rom_bits: int
    netlist: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class DroppedTensor:
    """A tensor of ``size`` bytes that leaves the scratchpad after one operator and comes back before another.

    Parameters
    ----------
    written
        Whether it is written to external memory when it leaves; else there is a copy already.
    """

    name: str
    size: int
    after: str
    before: str
    written: bool


@dataclass(frozen=True, kw_only=True)
class ScheduleResult:
    """Parameters
    ----------
    largest_bytes
        Inputs and outputs of the largest operator: the least scratchpad.
    external_bytes, bound
        Bytes to and from external memory beyond the compulsory ones; no schedule has fewer than ``bound``.
    compulsory_bytes
        Inputs and outputs of the network, weights if they count, once each.
    baseline_bytes
        What the file's order, Belady's rule and best-fit addresses take, beyond the compulsory ones.
    proven
        Whether ``external_bytes`` and ``bound`` are equal.
    """

    network: str
    operators: int
    scratchpad_bytes: int
    largest_bytes: int
    external_bytes: int
    compulsory_bytes: int
    baseline_bytes: int
    bound: int
    proven: bool
    seconds: float
    dropped: tuple[DroppedTensor, ...]

    def to_json(self) -> dict[str, Any]:
        names = "external_bytes compulsory_bytes baseline_bytes bound proven seconds"
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True, kw_only=True)
class ExploredEngine:
    """An array; ``dataflow``: what stays in it, ``weight`` or ``output``."""

    dataflow: str
    rows: int
    columns: int


@dataclass(frozen=True, kw_only=True)
class ExploredTask:
    """An operator of a network (its number) on an engine (its number), from cycle ``start`` until before ``end``."""

    network: int
    operator: str
    engine: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class ExploreRow:
    """The best engines of a sort, and when they do what.

    Parameters
    ----------
    makespan_cycles, bound
        Until all networks are done, and what no engines of the sort are below.
    utilisation
        MACs ÷ (multipliers · makespan): of all multipliers that there are.
    proven
        Whether ``makespan_cycles`` and ``bound`` are equal.
    """

    name: str
    engines: tuple[ExploredEngine, ...]
    makespan_cycles: int
    utilisation: float
    bound: int
    proven: bool
    seconds: float
    tasks: tuple[ExploredTask, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ExploreResult:
    """Rows: one engine, two equal ones, two of any kind; ``macs``: of all networks."""

    networks: tuple[str, ...]
    multipliers: int
    macs: int
    rows: tuple[ExploreRow, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
