"""A bitstream onto a board: openFPGALoader does it."""

import shutil
import subprocess
from pathlib import Path

from ..board import MAKES, board_of
from ..errors import HwgenError

__all__ = ["loader_command", "program"]

_ENDINGS = {"ecp5": ".bit", "ice40": ".bin", "gowin": ".fs"}


def loader_command(folder: Path, *, flash: bool = False) -> list[str]:
    """openFPGALoader's command line for the bitstream in ``folder``.

    Parameters
    ----------
    flash
        Into the board's flash memory, where it stays; else into the FPGA until power goes.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's or has no bitstream, the board has none, or openFPGALoader does not know it.
    """
    board = board_of(folder)
    if board.flow in MAKES:
        raise HwgenError(f"hwgen makes no bitstream for {board.name} that could be loaded, but a {board.makes}")
    if not board.loader:
        raise HwgenError(f"openFPGALoader does not know the board {board.name}; load the bitstream with the vendor's tool")
    found = sorted((folder / "bitstream").glob(f"*{_ENDINGS[board.flow]}"))
    if not found:
        raise HwgenError(f"{folder} has no bitstream: run `hwgen bitstream {folder}` first")
    return ["openFPGALoader", "-b", board.loader, *(["-f"] if flash else []), str(found[0])]


def program(folder: Path, *, flash: bool = False) -> list[str]:
    """Run :func:`loader_command`; returns it. Its messages go to the terminal.

    Raises
    ------
    HwgenError
        If openFPGALoader is not installed or fails.
    """
    command = loader_command(folder, flash=flash)
    if shutil.which(command[0]) is None:
        raise HwgenError(
            f"{command[0]} is not on PATH: install it (Debian, Ubuntu: apt-get install openfpgaloader); "
            f"the command is\n{' '.join(command)}"
        )
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise HwgenError(f"cannot run {shutil.which(command[0])}: {error.strerror}; install it again") from error
    if code:
        raise HwgenError(f"{' '.join(command)} failed with exit code {code}: is the board plugged in, and may you use it?")
    return command
