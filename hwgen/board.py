"""Boards: what a device offers, read from ``boards/*.toml``."""

import difflib
import importlib
import math
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .cost import BLOCKS_4K, BLOCKS_18K, Memories, Resources
from .errors import HwgenError
from .output import read_manifest

__all__ = ["Board", "Flow", "Memory", "board_names", "board_of", "load_board"]

#: What becomes of the Verilog: place-and-route for a family, a project for the vendor's tool, the area as gates.
Flow = Literal["ecp5", "ice40", "gowin", "verilog", "asic"]
MEMORIES = {4: BLOCKS_4K, 18: BLOCKS_18K}  #: by the size of a block RAM in kbit
#: Amaranth's class of boards for a flow.
PLATFORMS = {"ecp5": "LatticePlatform", "ice40": "SiliconBluePlatform", "gowin": "GowinPlatform", "verilog": "XilinxPlatform"}
LARGEST = 10**9  #: of each resource
MAKES = {"verilog": "project for the vendor's tool", "asic": "netlist and area"}  #: of flows without a bitstream


@dataclass(frozen=True, kw_only=True)
class Memory:
    """External memory.

    Parameters
    ----------
    kind
        ``SDRAM``, ``DDR3``, ...
    mbytes
        Capacity in MiB.
    bits
        Width of the data bus.
    """

    kind: str
    mbytes: int
    bits: int

    def __post_init__(self) -> None:
        for name in ("mbytes", "bits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, or a bare device.

    Parameters
    ----------
    name
        The file's name without ``.toml``.
    device
        Full part number.
    platform
        Class of the board in amaranth-boards, ``module:Class``; empty where it has none.
    clock_mhz
        Clock of the accelerator, which predicted frames per second refer to.
    input_clock_mhz
        Oscillator on the board.
    budget
        Resources of the device as its data sheet counts them.
    fill
        Share of the look-up tables and flip-flops that layers may take: what place-and-route still brings to the clock. FIFOs
        and converters between them come on top.
    link
        Resources kept for what connects the accelerator with the world.
    bram_kbit
        Size of one block RAM: 18, or 4 on iCE40.
    spram
        Blocks of memory with one port, of 256 kbit, without contents at first (SB_SPRAM256KA): 4, or 0 for none.
    lut_inputs
        Inputs of one look-up table.
    flow
        What becomes of the Verilog.
    loader
        openFPGALoader's name of the board; empty where it has none, or no bitstream is made here.
    memory
        External memory that the logic reaches without a processor, or None.
    """

    name: str
    device: str
    platform: str = ""
    clock_mhz: float
    input_clock_mhz: float
    budget: Resources
    fill: float = 1.0
    link: Resources = field(default_factory=Resources)
    bram_kbit: int
    lut_inputs: int
    flow: Flow
    loader: str = ""
    memory: Memory | None = None
    spram: int = 0

    def __post_init__(self) -> None:
        if not self.device:
            raise ValueError("device must be a part number, not empty")
        for name in ("clock_mhz", "input_clock_mhz", "lut_inputs"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        for resource in fields(Resources):
            there, link = (getattr(r, resource.name) for r in (self.budget, self.link))
            if not 0 <= there <= LARGEST:
                raise ValueError(f"budget: {resource.name} must be in 0..{LARGEST}, not {there!r}")
            if not 0 <= link <= there:
                raise ValueError(f"link: {resource.name} must be in 0..{there}, what the budget has, not {link!r}")
        if self.bram_kbit not in MEMORIES:
            raise ValueError(f"bram_kbit must be 4 or 18 (count a block of 36 as two), not {self.bram_kbit!r}")
        if self.spram not in (0, 4):
            raise ValueError(f"spram must be 0 or 4, not {self.spram!r}")
        if not 0 < self.fill <= 1:
            raise ValueError(f"fill must be in 0..1, not {self.fill!r}")
        if self.flow not in get_args(Flow):
            raise ValueError(f"flow must be one of {', '.join(get_args(Flow))}, not {self.flow!r}")
        if self.platform and not re.fullmatch(r"\w+:\w+", self.platform):
            raise ValueError(f"platform must be module:Class, not {self.platform!r}")
        if not self.platform and self.flow not in MAKES:
            raise ValueError(f"platform is missing: the flow {self.flow} needs the board's class of amaranth-boards")

    @property
    def makes(self) -> str:
        """What hwgen makes for it: a bitstream, or else what others need to make one."""
        return MAKES.get(self.flow, "bitstream")

    @property
    def limits(self) -> Resources:
        """What an accelerator may take.

        A look-up table of six inputs counts as one of four: it can do at least as much.
        """
        b, link = self.budget, self.link
        return Resources(lut=b.lut - link.lut, ff=b.ff - link.ff, dsp=b.dsp - link.dsp, bram=b.bram - link.bram)

    @property
    def memories(self) -> Memories:
        """What memories are made of."""
        return MEMORIES[self.bram_kbit]

    @property
    def for_layers(self) -> Resources:
        """What its layers may take: the limits with ``fill``."""
        limits = self.limits
        return replace(limits, lut=int(limits.lut * self.fill), ff=int(limits.ff * self.fill))

    def platform_class(self) -> type | None:
        """The amaranth-boards class; None where there is none."""
        if not self.platform:
            return None
        module, name = self.platform.split(":")
        return getattr(importlib.import_module(f"amaranth_boards.{module}"), name)

    def to_json(self) -> dict[str, Any]:
        """What ``hwgen boards --json`` says about it."""
        budgets = {f.name: getattr(self.budget, f.name) for f in fields(self.budget)}
        return {
            "name": self.name,
            "device": self.device,
            "clock_mhz": self.clock_mhz,
            "budgets": budgets,
            "bram_kbit": self.bram_kbit,
            "flow": self.flow,
            "makes": self.makes,
        }


def board_names() -> list[str]:
    """The boards that come with hwgen, sorted."""
    return sorted(p.stem for p in _folder().glob("*.toml"))


def load_board(name: str) -> Board:
    """The board of that name, or described in that file where ``name`` ends in ``.toml``.

    Raises
    ------
    HwgenError
        No such board or file; the file is not TOML, has unknown or missing keys, values that make no sense, or a platform that
        amaranth-boards does not have or that is another device or oscillator.
    """
    if name.endswith(".toml"):
        path = Path(name)
    else:
        names = board_names()
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise HwgenError(f"unknown board {name!r}: {hint} (or give a .toml file; see docs/add-a-board.md)")
        path = _folder() / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise HwgenError(f"{path}: cannot read the board file: {e.strerror}") from e
    except ValueError as e:  # TOMLDecodeError, UnicodeDecodeError
        raise HwgenError(f"{path}: not a TOML file: {e}") from e
    board = _record(Board, {"name": path.stem, **table}, f"{path}")
    if name.endswith(".toml") and board.platform and board.flow != "asic":
        _check_platform(board, path)
    return board


def _check_platform(board: Board, path: Path) -> None:
    """``HwgenError`` unless amaranth-boards has the platform, with this flow's devices, this oscillator and a serial port."""
    try:
        platform: Any = board.platform_class()
    except (ImportError, AttributeError):
        raise HwgenError(f"{path}: platform: amaranth-boards has no {board.platform}") from None
    if PLATFORMS[board.flow] not in [cls.__name__ for cls in getattr(platform, "__mro__", ())]:
        raise HwgenError(f"{path}: platform: {board.platform} is no board for the flow {board.flow}")
    resources = {(resource.name, resource.number): resource for resource in platform.resources}
    for need, what in ((platform.default_clk, "oscillator"), ("uart", "serial port")):
        if (need, 0) not in resources:
            raise HwgenError(f"{path}: platform: {board.platform} has no {what}")
    mhz = resources[platform.default_clk, 0].clock.frequency / 1e6
    if abs(mhz - board.input_clock_mhz) > mhz / 1e4:
        raise HwgenError(f"{path}: input_clock_mhz must be that of {board.platform}, {mhz:g}, not {board.input_clock_mhz:g}")


def board_of(folder: Path) -> Board:
    """The board that the accelerator in ``folder`` was built for; its own description lies there, if it had one."""
    name = read_manifest(folder)["board"]
    return load_board(str(folder / name) if name.endswith(".toml") else name)


def _folder() -> Path:
    """``boards/`` of the wheel, which puts it into the package; of the repository otherwise."""
    package = Path(__file__).parent
    inside = package / "boards"
    return inside if inside.is_dir() else package.parent / "boards"


_TABLES: dict[str, type] = {"budget": Resources, "link": Resources, "memory": Memory}
_TYPES: dict[Any, tuple[type, ...]] = {int: (int,), str: (str,), float: (int, float), Flow: (str,)}


def _record(cls: type, table: dict[str, Any], where: str) -> Any:
    """``cls`` from a TOML table: every key known, every value of its type."""
    known = {f.name: f for f in fields(cls)}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}"
            raise HwgenError(f"{where}: unknown key {key!r}: {hint}")
    required = [f.name for f in known.values() if cls is Resources or (f.default is MISSING and f.default_factory is MISSING)]
    missing = [key for key in required if key not in table]
    if missing:
        raise HwgenError(f"{where}: missing {', '.join(missing)}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _TABLES:
            if not isinstance(value, dict):
                raise HwgenError(f"{where}: {key} must be a table, not {value!r}")
            values[key] = _record(_TABLES[key], value, f"{where}: {key}")
        else:
            types = _TYPES[known[key].type]
            if not isinstance(value, types) or isinstance(value, bool):
                raise HwgenError(f"{where}: {key} must be {' or '.join(t.__name__ for t in types)}, not {value!r}")
            values[key] = value
    try:
        return cls(**values)
    except ValueError as e:
        raise HwgenError(f"{where}: {e}") from e
