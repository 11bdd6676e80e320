"""What a device family provides for a bitstream."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...cost import Resources
from ..placeholders import Rom
from ..pll import Pll

__all__ = ["Device", "Route", "count_cells"]


@dataclass(frozen=True, kw_only=True)
class Route:
    """Files of a place-and-route: netlist and constraints in, configuration and report out; the clock asked for; the seed.

    Names in the folder that programs run in: those of WebAssembly see no other.

    Parameters
    ----------
    insist
        Whether the router goes on until all ways are short enough, for ever if need be. Not all programs do so.
    spread
        Whether logic is to lie loosely, where there is a placer that does so: for a design whose parts are connected with each
        other across the device, so that where it is dense there are not enough wires.
    """

    netlist: Path
    constraints: Path
    configuration: Path
    report: Path
    mhz: float
    seed: int
    insist: bool
    spread: bool = False


class Device(Protocol):
    """A device and its tools.

    Members
    -------
    name
        Full part number.
    synthesis
        Yosys's command for the family.
    models
        What Yosys reads for the cells' models.
    place_and_route, packer
        Names of the programs, see :mod:`hwgen.hardware.tools`.
    ending
        Of the bitstream's file name.
    fill
        Puts memories' words into a finished configuration, in place of their placeholders; None where that is not done here.
    """

    name: str
    synthesis: str
    models: str
    place_and_route: str
    packer: str
    ending: str

    @property
    def fill(self) -> Callable[[str, Sequence[Rom]], str] | None: ...

    def pll(self, input_mhz: float, mhz: float) -> Pll:
        """The PLL that makes ``mhz``."""

    def improve(self, module: dict[str, Any]) -> None:
        """Use what cells offer and yosys leaves idle, in a netlist's top module, in place.

        And say where those go that place-and-route does not place well by itself.
        """

    def resources(self, module: dict[str, Any]) -> Resources:
        """Of a netlist's top module, in the units of :class:`hwgen.cost.Cost`."""

    def route_arguments(self, route: Route) -> Sequence[str]:
        """The command line of the place-and-route program."""

    def pack_arguments(self, configuration: Path, bitstream: Path) -> Sequence[str]:
        """The command line of the packer."""


def count_cells(module: dict[str, Any], weights: Mapping[str, float]) -> int:
    """Cells of a module, each as often as its type says; rounded up."""
    return -int(-sum(weights.get(cell["type"], 0) for cell in module["cells"].values()) // 1)
