import inspect
import re

import pytest

from hwgen.board import Board, Memory, board_names, load_board
from hwgen.cost import Resources
from hwgen.errors import HwgenError

GOOD = """
device = "X1"
input_clock_mhz = 12.5
clock_mhz = 50
lut_inputs = 4
bram_kbit = 4
flow = "verilog"
budget = {lut = 100, ff = 200, dsp = 3, bram = 30}
"""


def test_names():
    assert board_names() == ["arty-a7-100t", "asic", "icebreaker", "pynq-z2", "tang-primer-20k", "ulx3s-85f", "zcu102", "zu3eg"]


@pytest.mark.parametrize("name", board_names())
def test_boards_load_and_their_platforms_exist(name):
    board = load_board(name)
    assert board.name == name
    assert min(board.budget.lut, board.budget.ff, board.budget.dsp, board.budget.bram) > 0
    cls = board.platform_class()
    assert (cls is None) == (board.platform == "")
    if cls is not None:
        assert inspect.isclass(cls)
        letters = re.sub(r"[^a-z0-9]", "", board.device.lower())
        assert letters.startswith(re.sub(r"[^a-z0-9]", "", str(cls.device if board.flow != "gowin" else cls.part).lower()))
        clock = next(r for r in cls.resources if r.name == cls.default_clk).clock
        assert clock.frequency == board.input_clock_mhz * 1e6


def test_flow_needs_a_platform():
    for board in map(load_board, board_names()):
        assert board.flow in ("verilog", "asic") or board.platform


def test_what_hwgen_makes():
    makes = {board.name: board.makes for board in map(load_board, board_names())}
    assert {name for name, made in makes.items() if made == "bitstream"} == {"icebreaker", "tang-primer-20k", "ulx3s-85f"}
    assert makes["arty-a7-100t"] == "project for the vendor's tool"
    assert makes["asic"] == "netlist and area"


def test_ulx3s():
    board = load_board("ulx3s-85f")
    assert board.budget == Resources(lut=83640, ff=83640, dsp=156, bram=208)
    assert board.limits == Resources(lut=82680, ff=82860, dsp=156, bram=206)
    assert board.for_layers == Resources(lut=34725, ff=34801, dsp=156, bram=206)
    assert board.memory == Memory(kind="SDRAM", mbytes=32, bits=16)
    assert board.to_json() == {
        "name": "ulx3s-85f",
        "device": "LFE5U-85F-6BG381C",
        "clock_mhz": 100,
        "budgets": {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208},
        "bram_kbit": 18,
        "flow": "ecp5",
        "makes": "bitstream",
    }


def test_memories_of_the_device():
    assert load_board("icebreaker").limits.bram == 30 - 2
    assert load_board("icebreaker").memories.blocks(1024, 10) == 3


def test_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    board = load_board(str(path))
    assert (board.name, board.input_clock_mhz, board.memory, board.platform_class()) == ("mine", 12.5, None, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ulx3s", "unknown board 'ulx3s': did you mean ulx3s-85f? (or give a .toml file; see docs/add-a-board.md)"),
        ("zcu104", "unknown board 'zcu104': did you mean zcu102? (or give a .toml file; see docs/add-a-board.md)"),
        (
            "...",
            f"unknown board '...': there are {', '.join(board_names())} (or give a .toml file; see docs/add-a-board.md)",
        ),
        ("nowhere.toml", "nowhere.toml: cannot read the board file: No such file or directory"),
    ],
)
def test_unknown_board(name, message):
    with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
        load_board(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("device =", "devise =", "unknown key 'devise': did you mean device?"),
        (
            "device =",
            "zzz =",
            "unknown key 'zzz': the keys are name, device, platform, clock_mhz, input_clock_mhz, budget, fill, link, "
            "bram_kbit, lut_inputs, flow, loader, memory, spram",
        ),
        ('device = "X1"', "", "missing device"),
        ("dsp = 3, ", "", "budget: missing dsp"),
        ("dsp = 3", "dsp = 3.5", "budget: dsp must be int, not 3.5"),
        ("dsp = 3", "dsp = 3, uram = 1", "budget: unknown key 'uram': did you mean bram?"),
        ("= 50", "= true", "clock_mhz must be int or float, not True"),
        ("= 50", "= -1", "clock_mhz must be positive, not -1"),
        ("= 50", "= nan", "clock_mhz must be positive, not nan"),
        ('flow = "verilog"', 'flow = "vivado"', "flow must be one of ecp5, ice40, gowin, verilog, asic, not 'vivado'"),
        ('flow = "verilog"', 'flow = "verilog"\nplatform = "x"', "platform must be module:Class, not 'x'"),
        ('flow = "verilog"', 'flow = "verilog"\nmemory = 3', "memory must be a table, not 3"),
        ('flow = "verilog"', 'flow = "verilog"\nspram = 2', "spram must be 0 or 4, not 2"),
        (
            'flow = "verilog"',
            'flow = "verilog"\nmemory = {kind = "DDR3", mbytes = 0, bits = 16}',
            "memory: mbytes must be positive, not 0",
        ),
        ("device =", "device == ", "not a TOML file: Invalid value (at line 2, column 9)"),
    ],
)
def test_bad_file(tmp_path, old, new, message):
    path = tmp_path / "bad.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(HwgenError, match=f"^{re.escape(f'{path}: {message}')}$"):
        load_board(str(path))


def test_board_is_frozen():
    with pytest.raises(AttributeError):
        load_board("zu3eg").device = "x"
    assert isinstance(hash(load_board("zu3eg")), int)
    assert isinstance(load_board("zu3eg"), Board)


def test_boards_with_a_bitstream_can_be_programmed():
    for board in map(load_board, board_names()):
        assert bool(board.loader) == (board.flow in ("ecp5", "ice40", "gowin"))
