"""Gowin: yosys, nextpnr-himbaechel, gowin_pack (Project Apicula)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...cost import Resources
from ..multipliers import GOWIN, absorb_registers
from ..pll import GowinPll, gowin_pll
from .base import Route, count_cells

__all__ = ["Gowin"]


class Gowin:
    """A carry cell (ALU) takes a look-up table's place, a memory of look-up tables (RAM16SDP4) four of them. Multipliers are
    counted as those of 9 × 9 bits: one of 18 × 18 is two of them.
    """

    synthesis = "synth_gowin"
    models = "+/gowin/cells_sim.v"
    place_and_route = "nextpnr-himbaechel"
    packer = "gowin_pack"
    ending = "fs"
    fill = None

    def __init__(self, name: str, family: str):
        self.name, self.family = name, family

    def pll(self, input_mhz: float, mhz: float) -> GowinPll:
        return gowin_pll(input_mhz, mhz, self.family)

    def improve(self, module: dict[str, Any]) -> None:
        absorb_registers(module, GOWIN)

    def resources(self, module: dict[str, Any]) -> Resources:
        luts = {f"LUT{n}": 1 for n in range(1, 5)} | {"ALU": 1, "RAM16SDP1": 1, "RAM16SDP2": 2, "RAM16SDP4": 4}
        return Resources(
            lut=count_cells(module, luts),
            ff=sum(cell["type"].startswith("DFF") for cell in module["cells"].values()),
            dsp=count_cells(module, {"MULT9X9": 1, "MULT18X18": 2, "MULTALU18X18": 2}),
            bram=sum(cell["type"] in _BLOCK_RAMS for cell in module["cells"].values()),
        )

    def route_arguments(self, route: Route) -> Sequence[str]:
        return [
            "--device", self.name, "--vopt", f"family={self.family}", "--vopt", f"cst={route.constraints}", "--json",
            str(route.netlist), "--write", str(route.configuration), "--report", str(route.report), "--freq",
            f"{route.mhz:g}", "--seed", str(route.seed), "--timing-allow-fail",
        ]  # fmt: skip

    def pack_arguments(self, configuration: Path, bitstream: Path) -> Sequence[str]:
        return ["-d", self.family, "-o", str(bitstream), str(configuration)]


_BLOCK_RAMS = ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9")
