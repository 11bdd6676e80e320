"""nextpnr, and where it does not come to an end: no ways that are short enough, or a device that is full."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..board import Board
from ..errors import HwgenError
from .devices import Device, Route
from .tools import FailedError, run_tool

__all__ = ["EndlessError", "Progress", "place_and_route", "remedy"]

Progress = Callable[[str, float], None]
ITERATIONS = 100  #: of a router; who takes more does not end
MANY, CROWDED = 1000, 0.97  #: where a kind has more cells than that, a larger share of them is why placing fails
#: What the cells are that a design is mostly made of.
MEANINGS = {
    "ICESTORM_LC": "logic cells: a look-up table, a flip-flop or both",
    "TRELLIS_COMB": "look-up tables, carries among them",
    "TRELLIS_FF": "flip-flops",
    "LUT4": "look-up tables",
    "ALU": "carries",
    "DFF": "flip-flops",
}


class EndlessError(Exception):
    """The router finds no ways that are all short enough."""


def place_and_route(device: Device, board: Board, route: Route, work: Path, less: str, log: Path, progress: Progress) -> None:
    """Run the device's nextpnr in ``work``.

    It is stopped as soon as it says that the device has too few cells of a kind: the placer of the ECP5 would go on for ever.

    Parameters
    ----------
    less
        How to build less hardware, as :func:`remedy` says.

    Raises
    ------
    EndlessError
        If the router does not come to an end.
    HwgenError
        If nextpnr fails; with what is used up or nearly so, and ``less``, where there is such a thing.
    """
    name, steps = device.place_and_route, _Steps(route, progress)
    try:
        run_tool(name, device.route_arguments(route), work, log, steps)
    except _FullError:
        over = _counts(use for use in steps.uses if use.over)
        raise HwgenError(f"the design does not fit {board.name} as {name} packs it: {over}; {less}\nwhole log: {log}") from None
    except FailedError as error:
        crowded = _counts(use for use in steps.uses if use.crowded)
        if not crowded:
            raise
        raise HwgenError(f"the design leaves hardly any room on {board.name}: {crowded}; {less}\n{error}") from error


def remedy(manifest: Mapping[str, Any], board: Board) -> str:
    """Which options of ``hwgen build`` make less hardware of what the manifest describes."""
    if manifest.get("style") == "overlay":
        ways = ["with a smaller --array, --multipliers, --lanes or --scratchpad"]
    else:
        fps = board.clock_mhz * 1e6 / manifest["figures"]["interval_cycles"]
        ways = [f"--target-fps N below {fps:.1f}", "--objective area"]
        ways += ["--dsp-only"] if any(manifest.get("solution", {}).get("soft", ())) else []
        ways += ["without --retrainable"] if manifest.get("retrainable") else []
    return f"build it again with less hardware (hwgen build {', '.join(ways)}) or for a larger board"


@dataclass(frozen=True)
class _Use:
    """Cells of a kind that a design has, of those in the device; ``kind``: nextpnr's name for them."""

    kind: str
    used: int
    available: int

    @property
    def over(self) -> bool:
        return self.used > self.available

    @property
    def crowded(self) -> bool:
        return self.over or (self.available > MANY and self.used > CROWDED * self.available)


def _use_of(line: str) -> _Use | None:
    """What a line of nextpnr's "Device utilisation" says; None for other lines."""
    found = re.fullmatch(r"Info:\s+(\w+): +(\d+)/ *(\d+) +\d+%\s*", line)
    return _Use(found[1], int(found[2]), int(found[3])) if found else None


def _counts(uses: Iterable[_Use]) -> str:
    """As in "DFF needs 21500, available 15552 (flip-flops)"."""
    return ", ".join(
        f"{use.kind} needs {use.used}, available {use.available}" + (f" ({MEANINGS[use.kind]})" if use.kind in MEANINGS else "")
        for use in uses
    )


class _FullError(Exception):
    """There are more cells of a kind than the device has."""


class _Steps:
    """Progress and what is used of the device, as nextpnr's messages tell it.

    ``EndlessError`` where it goes round in circles, ``_FullError`` where placing can't end well: some placers go on for ever.
    """

    def __init__(self, route: Route, progress: Progress):
        self.route, self.progress = route, progress
        self.uses: list[_Use] = []

    def __call__(self, line: str) -> None:
        if use := _use_of(line):
            self.uses.append(use)
        elif any(use.over for use in self.uses):
            raise _FullError
        elif found := re.search(r"at iteration #(\d+), type ALL", line):
            self._tell("placing", int(found[1]) / 25)
        elif "simulated annealing" in line:
            self._tell("placing", 0.95)
        elif found := re.search(r"iter=(\d+) steplen", line):
            self._tell("placing", int(found[1]) / 400)
        elif found := re.search(r"iter=(\d+) wires", line):
            self._tell("routing", int(found[1]) / 30)
            if self.route.insist and int(found[1]) > ITERATIONS:
                raise EndlessError

    def _tell(self, step: str, share: float) -> None:
        self.progress(f"{step}, seed {self.route.seed}", min(share, 0.95))
