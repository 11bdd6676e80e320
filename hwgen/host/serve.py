"""The simulated board: the emitted Verilog with its link, in Verilator, behind a pseudo-terminal."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import HwgenError
from ..hardware.link import Linked, link_params
from ..hardware.verilator import sim_folder, verilate
from ..hardware.verilog import convert
from ..output import read_manifest

__all__ = ["SimulatedBoard", "simulated_board"]

CYCLES_PER_BIT = 4  #: as few as the link can do: simulated cycles are what takes time
TOP = "simulated_board"


class SimulatedBoard:
    """A running simulation.

    Parameters
    ----------
    port
        Path of the pseudo-terminal: what a real board's serial port is.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: str):
        self.process, self.port = process, port

    def wait(self) -> None:
        """Until the simulation ends by itself, which it does not unless something is wrong: ``HwgenError``."""
        code = self.process.wait()
        raise HwgenError(f"the simulated board broke off with exit code {code}")


@contextmanager
def simulated_board(folder: Path) -> Iterator[SimulatedBoard]:
    """The accelerator in ``folder``, which ``hwgen build`` wrote, as a board at a serial port; ends with the block.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, or the simulation cannot be built or does not start.
    """
    manifest = read_manifest(folder)
    name = manifest["name"]
    params = link_params(folder, CYCLES_PER_BIT)
    sources = {"board.v": convert(Linked(name, params), TOP), f"{name}.v": (folder / f"{name}.v").read_text()}
    model = verilate(sources, TOP, driver=sim_folder() / "serve.cpp")
    quiet = 100_000 + 4 * sum(stage["cycles"] for stage in manifest["stages"])
    command = [str(model), str(CYCLES_PER_BIT), str(quiet), "+verilator+rand+reset+2", "+verilator+seed+1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().decode().strip()
            if not port:
                raise HwgenError("the simulated board did not start")
            yield SimulatedBoard(process, port)
        finally:
            process.kill()
