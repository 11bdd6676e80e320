"""New contents in a finished configuration: the same as placing and routing with them."""

import random
import re
from pathlib import Path

import pytest

from hwgen.hardware.devices import Route
from hwgen.hardware.devices.contents import ECP5, Format, fill_memories
from hwgen.hardware.devices.ecp5 import Ecp5
from hwgen.hardware.devices.ice40 import Ice40
from hwgen.hardware.placeholders import with_placeholders
from hwgen.hardware.tools import run_tool

DEVICES = {
    "ecp5": (Ecp5("LFE5U-12F-6BG256C", "LFE5U-12F", "BG256", "6"), "--lpf-allow-unconstrained"),
    "ice40": (Ice40("iCE40UP5K-SG48", "iCE40UP5K", "SG48"), "--pcf-allow-unconstrained"),
}
SIZES = {  # bits, words
    "ecp5": ((68, 33), (40, 200), (18, 700), (9, 1500), (4, 4000), (3, 6000), (1, 300), (1, 9000)),
    "ice40": ((20, 100), (16, 250), (30, 33), (7, 400), (4, 1000), (2, 1500), (1, 200)),
}


def verilog(rng, sizes):
    """A register of the sum of all memories' words; as the emitted Verilog writes memories."""
    parts = [f"module top (\n  input wire clk,\n  input wire [13:0] a,\n  output reg [{sizes[0][0] - 1}:0] o = 0\n);\n"]
    reads = []
    for k, (bits, depth) in enumerate(sizes):
        words = "".join(f"    m{k}[{n}] = {bits}'h{rng.getrandbits(bits):x};\n" for n in range(depth))
        width = f"[{bits - 1}:0] " if bits > 1 else ""
        address = max(1, (depth - 1).bit_length())
        parts.append(f'  (* rom_style = "block" *)\n  reg {width}m{k} [{depth - 1}:0];\n  initial begin\n{words}  end\n')
        parts.append(f"  reg {width}r{k};\n  always @(posedge clk) r{k} <= m{k}[a[{address - 1}:0]];\n")
        reads.append(f"r{k}")
    parts.append(f"  always @(posedge clk) o <= {' + '.join(reads)};\nendmodule\n")
    return "".join(parts)


def configuration(folder, text, family):
    device, option = DEVICES[family]
    folder.mkdir()
    (folder / "top.v").write_text(text)
    (folder / "constraints").write_text("")
    script = f"read_verilog top.v; {device.synthesis} -top top -json netlist.json"
    run_tool("yosys", ["-q", "-p", script], folder, folder / "log")
    route = Route(
        netlist=Path("netlist.json"), constraints=Path("constraints"), configuration=Path("configuration"),
        report=Path("report.json"), mhz=10, seed=1, insist=False,
    )  # fmt: skip
    run_tool(device.place_and_route, [*device.route_arguments(route), option], folder, folder / "log")
    return (folder / "configuration").read_text()


@pytest.mark.parametrize("family", [pytest.param(f, marks=pytest.mark.slow if f == "ecp5" else ()) for f in DEVICES])
def test_filled_as_if_made_so(tmp_path, family):
    device, _ = DEVICES[family]
    text = verilog(random.Random(1), SIZES[family])
    placeholders, roms = with_placeholders(text)
    assert [(rom.bits, len(rom.words)) for rom in roms] == list(SIZES[family])
    made = configuration(tmp_path / "made", text, family)
    empty = configuration(tmp_path / "empty", placeholders, family)
    assert made != empty
    assert device.fill(empty, roms) == made
    with pytest.raises(RuntimeError, match=r"^memory m0 of module top is not in the configuration$"):
        device.fill(made, roms)


def test_read_back(monkeypatch):
    """A word too many is noticed."""
    _, roms = with_placeholders(verilog(random.Random(2), SIZES["ecp5"]))
    rom = roms[3]
    (block,) = ECP5.blocks(rom.placeholder, rom.bits, 2048, 9)
    text = f".bram_init 7\n{ECP5.write(block)}\n.end\n"
    assert re.search(r"^\.bram_init 7$", fill_memories(ECP5, text, [rom]), re.M)
    monkeypatch.setattr(Format, "write", lambda form, block: "000 " * 2047 + "001\n")
    with pytest.raises(RuntimeError, match=r"^the configuration read back must have the new contents, and does not$"):
        fill_memories(ECP5, text, [rom])
