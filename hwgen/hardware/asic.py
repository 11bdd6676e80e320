"""The accelerator as gates: a netlist, and its area as yosys synthesises it."""

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import HwgenError
from ..output import module_of, read_manifest, read_verilog
from .tools import find_tool, run_tool

__all__ = ["GATES", "AsicArea", "asic_area"]

#: NAND2 equivalents of yosys' gates: transistors of the static CMOS gate ÷ 4, those of a NAND2 (Weste and Harris, CMOS VLSI
#: Design). XOR, XNOR and MUX with their inverters; a flip-flop is two latches of transmission gates and the clock's inverters.
GATES = {
    "$_NOT_": 0.5, "$_BUF_": 1.0, "$_NAND_": 1.0, "$_NOR_": 1.0, "$_AOI3_": 1.5, "$_OAI3_": 1.5, "$_AOI4_": 2.0, "$_OAI4_": 2.0,
    "$_NMUX_": 2.5, "$_MUX_": 3.0, "$_XOR_": 3.0, "$_XNOR_": 3.0, "$_DFF_P_": 6.0,
}  # fmt: skip
_MEMORY = "$mem_v2"

# Registers lose their initial values, which a chip does not have: reset sets those that count. Memories stay what they are.
_COARSE = """
read_verilog accelerator.v
hierarchy -check -top {name}
proc -norom
setattr -unset init w:*
synth -booth -flatten -top {name} -run coarse:fine
opt -fast -full
opt -full
techmap
opt -fast
"""
# No opt after dfflegalize: it would take enables and resets back into the flip-flops.
_GATES = """
dfflegalize -cell $_DFF_P_ x
tee -q -o flip_flops.json stat -json
abc -g cmos
opt_clean -purge
delete t:$scopeinfo
tee -q -o stat.json stat -json
"""
_LIBERTY = """
dfflibmap -liberty {cells}
tee -q -o flip_flops.json stat -json
abc -liberty {cells}
opt_clean -purge
delete t:$scopeinfo
tee -q -o stat.json stat -json -liberty {cells}
"""
_WRITE = """
select -none
select -add t:$mem_v2
write_json -selected memories.json
select -clear
write_verilog -noattr netlist.v
"""
_PROBE = """
module nand2 (input a, input b, output y);
  assign y = ~(a & b);
endmodule
module flip_flop (input clk, input d, output reg q);
  always @(posedge clk) q <= d;
endmodule
"""


@dataclass(frozen=True, kw_only=True)
class AsicArea:
    """What an accelerator takes as gates.

    Parameters
    ----------
    gates, flip_flops
        How many, inverters included.
    nand2
        Area of both in NAND2 equivalents; None where the Liberty file has no NAND2.
    area
        The same in the Liberty file's unit (square micrometres as a rule); None without such a file.
    ram_bits, rom_bits
        Of memories, which are not in the area: a memory compiler makes them, or others. The output register of a memory
        that is read synchronously counts as its own.
    """

    gates: int
    flip_flops: int
    nand2: float | None
    area: float | None
    ram_bits: int
    rom_bits: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def asic_area(folder: Path, log: Path, liberty: Path | None = None, netlist: Path | None = None) -> AsicArea:
    """Synthesise the accelerator in ``folder``, which ``hwgen build`` wrote, for gates: multipliers are Booth's.

    Parameters
    ----------
    log
        What yosys says goes to its end.
    liberty
        The cells to use; None: yosys' own gates, with the area :data:`GATES`.
    netlist
        Where to write the netlist as Verilog, memories as arrays; None: nowhere.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, yosys is missing or fails, or the Liberty file is absent, malformed or has no flip-flop.
    """
    name = module_of(read_manifest(folder))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        area: float | None
        nand2: float | None
        library, unit = ("", None) if liberty is None else _check_liberty(liberty, work, log)
        (work / "accelerator.v").write_text(read_verilog(folder, name))
        gates = _GATES if liberty is None else _LIBERTY.format(cells=library)
        _yosys(_COARSE.format(name=name) + gates + _WRITE, work, log)
        mapped = {cell for cell in _cells(work / "flip_flops.json") if cell == "$_DFF_P_" or not cell.startswith("$")}
        cells = _cells(work / "stat.json")
        flip_flops = sum(cells.get(cell, 0) for cell in mapped)
        memories = cells.pop(_MEMORY, 0)
        total = sum(cells.values())
        if liberty is None:
            area, nand2 = None, sum(GATES[cell] * count for cell, count in cells.items())
        else:
            area = json.loads((work / "stat.json").read_text())["design"]["area"]
            nand2 = area / unit if unit else None
        ram, rom = _memory_bits(json.loads((work / "memories.json").read_text())) if memories else (0, 0)
        if netlist is not None:
            shutil.copyfile(work / "netlist.v", netlist)
    return AsicArea(gates=total - flip_flops, flip_flops=flip_flops, nand2=nand2, area=area, ram_bits=ram, rom_bits=rom)


def _yosys(script: str, work: Path, log: Path) -> None:
    run_tool("yosys", ["-q", "-p", "; ".join(script.strip().splitlines())], work, log.resolve())


def _cells(path: Path) -> dict[str, int]:
    """How many of each type, as ``stat -json`` wrote them."""
    return json.loads(path.read_text())["design"]["num_cells_by_type"]


def _memory_bits(netlist: dict[str, Any]) -> tuple[int, int]:
    """Bits of the memories that are written, of those that are only read."""
    bits = [0, 0]
    for module in netlist["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] == _MEMORY:
                size, width, ports = (int(cell["parameters"][key], 2) for key in ("SIZE", "WIDTH", "WR_PORTS"))
                bits[ports == 0] += size * width
    return bits[0], bits[1]


def _check_liberty(liberty: Path, work: Path, log: Path) -> tuple[str, float | None]:
    """Copy it into ``work``: its name there, and the area of its smallest NAND2, None if it has none.

    The name says the contents: ABC keeps what it has read of a Liberty file by its name.
    """
    try:
        contents = liberty.read_bytes()
    except OSError as error:
        raise HwgenError(f"cannot read Liberty file {liberty}: {error.strerror}") from error
    name = f"{hashlib.sha256(contents).hexdigest()}.lib"
    (work / name).write_bytes(contents)
    (work / "probe.v").write_text(_PROBE)
    find_tool("yosys")
    try:
        _yosys("read_verilog probe.v; proc; techmap" + _LIBERTY.format(cells=name).replace("\n", "; ").rstrip("; "), work, log)
    except HwgenError as error:
        if "cannot be legalized" in str(error):
            raise HwgenError(f"Liberty file {liberty} has no plain flip-flop: one of clock, D and Q") from None
        if "There is no Liberty library available" in str(error):  # ABC
            raise HwgenError(
                f"Liberty file {liberty} has too few gates: needed are an inverter, a buffer and a NAND or NOR of two inputs"
            ) from None
        said = str(error).replace(name, liberty.name)
        found = re.search(r"ERROR: (.*)", said)
        reason = found[1] if found else said
        raise HwgenError(f"yosys can't use Liberty file {liberty}: {reason}") from None
    modules = json.loads((work / "stat.json").read_text())["modules"]
    for module in modules.values():
        if "area" not in module:
            raise HwgenError(f"Liberty file {liberty} has no area of {', '.join(module['num_cells_by_type'])}")
    nand2 = modules["\\nand2"]
    return name, (nand2["area"] if nand2["num_cells"] == 1 else None)
