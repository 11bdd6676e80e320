"""New contents in a finished configuration: the same as placing and routing with them."""

import random
import re
from pathlib import Path

import pytest

from hwgen.hardware.devices import Route
from hwgen.hardware.devices.ecp5 import Ecp5
from hwgen.hardware.devices.ecp5_memories import fill_memories, tiles
from hwgen.hardware.placeholders import with_placeholders
from hwgen.hardware.tools import run_tool

DEVICE = Ecp5("LFE5U-12F-6BG256C", "LFE5U-12F", "BG256", "6")
SIZES = ((40, 200), (18, 700), (9, 1500), (4, 4000), (3, 6000), (1, 9000))  # bits, words


def verilog(rng):
    """A register of all memories' words, added up; as the emitted Verilog writes memories."""
    parts = ["module top (\n  input wire clk,\n  input wire [13:0] a,\n  output reg [39:0] o = 0\n);\n"]
    reads = []
    for k, (bits, depth) in enumerate(SIZES):
        words = "".join(f"    m{k}[{n}] = {bits}'h{rng.getrandbits(bits):x};\n" for n in range(depth))
        width = f"[{bits - 1}:0] " if bits > 1 else ""
        address = max(1, (depth - 1).bit_length())
        parts.append(f'  (* rom_style = "block" *)\n  reg {width}m{k} [{depth - 1}:0];\n  initial begin\n{words}  end\n')
        parts.append(f"  reg {width}r{k};\n  always @(posedge clk) r{k} <= m{k}[a[{address - 1}:0]];\n")
        reads.append(f"r{k}")
    parts.append(f"  always @(posedge clk) o <= {' + '.join(reads)};\nendmodule\n")
    return "".join(parts)


def configuration(folder, text):
    folder.mkdir()
    (folder / "top.v").write_text(text)
    (folder / "constraints").write_text("")
    script = f"read_verilog top.v; {DEVICE.synthesis} -top top -json netlist.json"
    run_tool("yosys", ["-q", "-p", script], folder, folder / "log")
    route = Route(
        netlist=Path("netlist.json"), constraints=Path("constraints"), configuration=Path("configuration"),
        report=Path("report.json"), mhz=10, seed=1,
    )  # fmt: skip
    run_tool(DEVICE.place_and_route, [*DEVICE.route_arguments(route), "--lpf-allow-unconstrained"], folder, folder / "log")
    return (folder / "configuration").read_text()


def test_filled_as_if_made_so(tmp_path):
    rng = random.Random(1)
    text = verilog(rng)
    placeholders, roms = with_placeholders(text)
    assert [(rom.bits, len(rom.words)) for rom in roms] == list(SIZES)
    made, empty = configuration(tmp_path / "made", text), configuration(tmp_path / "empty", placeholders)
    assert made != empty
    assert fill_memories(empty, roms) == made
    with pytest.raises(RuntimeError, match=r"^memory m0 of module top is not in the configuration$"):
        fill_memories(made, roms)


def test_read_back(monkeypatch):
    """A word too many is noticed."""
    _, roms = with_placeholders(verilog(random.Random(2)))
    rom = roms[2]
    (block,) = tiles(rom.placeholder, rom.bits, 2048, 9)
    rows = "\n".join(" ".join(f"{word:03x}" for word in block[k : k + 8]) for k in range(0, 2048, 8))
    text = f".bram_init 7\n{rows}\n\n.end\n"
    assert re.search(r"^\.bram_init 7$", fill_memories(text, [rom]), re.M)
    monkeypatch.setattr("hwgen.hardware.devices.ecp5_memories._text", lambda block: "000 " * 2047 + "001\n")
    with pytest.raises(RuntimeError, match=r"^the configuration read back must have the new contents, and does not$"):
        fill_memories(text, [rom])
