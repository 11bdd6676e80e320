"""Lattice iCE40: yosys, nextpnr-ice40, icepack (Project IceStorm)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...cost import Resources
from ..ice40_multipliers import pair_multipliers
from ..pll import Ice40Pll, ice40_pll
from .base import Route, count_cells
from .contents import ICE40, fill_memories

__all__ = ["Ice40"]

_DEVICES = {"iCE40UP5K": "--up5k", "iCE40HX8K": "--hx8k", "iCE40HX4K": "--hx4k", "iCE40LP8K": "--lp8k"}


class Ice40:
    """A carry cell lies beside a look-up table of its own. There are no memories of look-up tables: yosys may choose."""

    synthesis = "setattr -unset ram_style a:ram_style=distributed; synth_ice40 -dsp -spram"
    models = "-D EQUIV +/ice40/cells_sim.v"  # EQUIV: without the 256 kbit of an SPRAM
    place_and_route = "nextpnr-ice40"
    packer = "icepack"
    ending = "bin"
    fill = partial(fill_memories, ICE40)

    def __init__(self, name: str, device: str, package: str):
        self.name = name
        self.options = [_DEVICES[device], "--package", package.lower()]

    def pll(self, input_mhz: float, mhz: float) -> Ice40Pll:
        return ice40_pll(input_mhz, mhz)

    def improve(self, module: dict[str, Any]) -> None:
        pair_multipliers(module)

    def resources(self, module: dict[str, Any]) -> Resources:
        return Resources(
            lut=count_cells(module, {"SB_LUT4": 1}),
            ff=sum(cell["type"].startswith("SB_DFF") for cell in module["cells"].values()),
            dsp=count_cells(module, {"SB_MAC16": 1}),
            bram=count_cells(module, {"SB_RAM40_4K": 1}),
        )

    def route_arguments(self, route: Route) -> Sequence[str]:
        return [
            *self.options, "--json", str(route.netlist), "--pcf", str(route.constraints), "--asc",
            str(route.configuration), "--report", str(route.report), "--freq", f"{route.mhz:g}", "--seed", str(route.seed),
            "--timing-allow-fail",
        ]  # fmt: skip

    def pack_arguments(self, configuration: Path, bitstream: Path) -> Sequence[str]:
        return [str(configuration), str(bitstream)]
