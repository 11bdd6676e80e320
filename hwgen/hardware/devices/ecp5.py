"""Lattice ECP5: yosys, nextpnr-ecp5, ecppack (Project Trellis)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...cost import Resources
from ..carry import absorb_gates
from ..fanout import limit_fanout
from ..floorplan import SITES, floorplan
from ..memories import absorb_output_registers
from ..multipliers import ECP5 as MULTIPLIER
from ..multipliers import absorb_registers
from ..pll import Ecp5Pll, ecp5_pll
from .base import Route, count_cells
from .contents import ECP5, fill_memories

__all__ = ["Ecp5"]

_DEVICES = {"LFE5U-12F": "--12k", "LFE5U-25F": "--25k", "LFE5U-45F": "--45k", "LFE5U-85F": "--85k"}
_PACKAGES = {"BG256": "CABGA256", "MG285": "CSFBGA285", "BG381": "CABGA381", "BG554": "CABGA554", "BG756": "CABGA756"}


class Ecp5:
    """A carry cell has two look-up tables, a memory made of them three: its own two, and one for writing."""

    synthesis = "synth_ecp5 -noabc9"  # abc9 fails under WebAssembly where there are carry cells
    models = "+/ecp5/cells_sim.v"
    place_and_route = "nextpnr-ecp5"
    packer = "ecppack"
    ending = "bit"
    fill = partial(fill_memories, ECP5)

    def __init__(self, name: str, device: str, package: str, speed: str):
        self.name, self.sites = name, SITES.get(device, {})
        self.options = [_DEVICES[device], "--package", _PACKAGES[package], "--speed", speed]

    def pll(self, input_mhz: float, mhz: float) -> Ecp5Pll:
        return ecp5_pll(input_mhz, mhz)

    def improve(self, module: dict[str, Any]) -> None:
        absorb_output_registers(module)
        absorb_registers(module, MULTIPLIER)
        absorb_gates(module)
        floorplan(module, self.sites)
        limit_fanout(module)

    def resources(self, module: dict[str, Any]) -> Resources:
        return Resources(
            lut=count_cells(module, {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 3}),
            ff=count_cells(module, {"TRELLIS_FF": 1}),
            dsp=count_cells(module, {"MULT18X18D": 1}),
            bram=count_cells(module, {"DP16KD": 1, "PDPW16KD": 1}),
        )

    def route_arguments(self, route: Route) -> Sequence[str]:
        return [
            *self.options, "--json", str(route.netlist), "--lpf", str(route.constraints), "--textcfg",
            str(route.configuration), "--report", str(route.report), "--freq", f"{route.mhz:g}", "--seed", str(route.seed),
            "--timing-allow-fail", "--placer", "heap" if route.spread else "static",
            "--router", "router2", *(["--tmg-ripup"] if route.insist else []),
        ]  # fmt: skip

    def pack_arguments(self, configuration: Path, bitstream: Path) -> Sequence[str]:
        return ["--input", str(configuration), "--bit", str(bitstream), "--compress"]
