"""From a build folder to a bitstream: synthesis, place-and-route, packing; written out."""

import hashlib
import json
import math
import re
import shutil
import tempfile
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

from .board import Board, board_of
from .cache import cache_folder, intact, key_of, locked, store
from .cost import Resources
from .errors import HwgenError
from .hardware import carry, fanout, floorplan, ice40_multipliers, memories, multipliers
from .hardware.asic import asic_area
from .hardware.board_top import board_files
from .hardware.devices import Device, Route, device_of
from .hardware.link import BAUD, LinkParams, link_params
from .hardware.link_buffers import ring_contents
from .hardware.place_and_route import EndlessError, Progress, place_and_route, remedy
from .hardware.placeholders import Rom, with_placeholders
from .hardware.tools import find_tool, run_tool
from .hardware.vendor_project import estimate, write_project
from .output import FORMAT, MARKER, OutputFolder, read_manifest, read_verilog
from .report import bitstream_report
from .results import AsicResult, BitstreamResult, PathPart, ProjectResult

__all__ = ["bitstream"]

PASSES = (carry, memories, multipliers, ice40_multipliers, fanout, floorplan)
MANIFEST = "bitstream.json"
SEEDS = 3
SMALL = {"input_buffer": 512, "output_buffer": 256}  #: of the link where block RAMs have 4 kbit: one each


def bitstream(
    folder: Path,
    *,
    clock: float | None = None,
    seeds: int = SEEDS,
    liberty: Path | None = None,
    progress: Progress | None = None,
) -> BitstreamResult | ProjectResult | AsicResult:
    """Make the bitstream of the accelerator in ``folder``, which ``hwgen build`` wrote, in ``folder/bitstream``.

    For a device that has no open tools: a project for the vendor's. For the board ``asic``: netlist and area.

    Place-and-route is kept by its content in :func:`hwgen.cache.cache_folder`. Contents of block memories are not part of it
    where the device's configuration can be filled afterwards: other weights in the same hardware take seconds.

    Parameters
    ----------
    clock
        MHz; None: the board's.
    seeds
        How many placements to try until one meets timing: 1 or more.
    liberty
        The cells of an ASIC process.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, a tool is missing or fails, the design does not fit, no PLL makes the clock, timing is not
        met, or the Liberty file can't be used.
    """
    if clock is not None and not 0 < clock < math.inf:
        raise ValueError(f"clock must be positive, not {clock!r}")
    if seeds < 1:
        raise ValueError(f"seeds must be 1 or more, not {seeds!r}")
    tell = progress or _silent
    manifest = read_manifest(folder)
    board = board_of(folder)
    if liberty is not None and board.flow != "asic":
        raise HwgenError(f"--liberty is for the board asic, and {folder} is for {board.name}: leave it out")
    if clock is not None and board.flow == "asic":
        raise HwgenError(f"--clock is for boards, and {folder} is for {board.name}, whose netlist has no clock: leave it out")
    log = folder.resolve() / "bitstream.log"
    with OutputFolder(folder / "bitstream", MANIFEST) as fresh:
        log.unlink(missing_ok=True)
        result: BitstreamResult | ProjectResult | AsicResult
        match board.flow:
            case "verilog":
                result = _project(folder, manifest, board, fresh, clock, log, tell)
            case "asic":
                result = _gates(folder, manifest, board, fresh, liberty, log, tell)
            case _:
                result = _bitstream(folder, manifest, board, fresh, clock, seeds, log, tell)
                (fresh / "report.md").write_text(bitstream_report(result))
        (fresh / MANIFEST).write_text(json.dumps({MARKER: FORMAT} | result.to_json(), indent=1) + "\n")
        shutil.move(log, fresh / "log.txt")
    return result


def _project(
    folder: Path, manifest: dict[str, Any], board: Board, fresh: Path, clock: float | None, log: Path, progress: Progress
) -> ProjectResult:
    mhz = write_project(folder, fresh, clock)
    progress("estimating resources", 0.0)
    return ProjectResult(
        board=board.name,
        device=board.device,
        clock_mhz=mhz,
        resources=estimate(folder, log),
        predicted=Resources(**manifest["figures"]["resources"]),
        project=str(folder / "bitstream"),
    )


def _gates(
    folder: Path, manifest: dict[str, Any], board: Board, fresh: Path, liberty: Path | None, log: Path, progress: Progress
) -> AsicResult:
    progress("synthesis", 0.0)
    file = f"{manifest['name']}_netlist.v"
    area = asic_area(folder, log, liberty, fresh / file)
    return AsicResult(board=board.name, **area.to_json(), netlist=str(folder / "bitstream" / file))


def _bitstream(
    folder: Path,
    manifest: dict[str, Any],
    board: Board,
    fresh: Path,
    clock: float | None,
    seeds: int,
    log: Path,
    progress: Progress,
) -> BitstreamResult:
    device, name = device_of(board), manifest["name"]
    asked = clock or board.clock_mhz
    pll = device.pll(board.input_clock_mhz, asked)
    mhz = float(pll.mhz)
    params = link_params(folder, Fraction(pll.mhz) * 1_000_000 / BAUD, **(SMALL if board.bram_kbit < 18 else {}))
    for tool in ("yosys", device.place_and_route, device.packer):
        find_tool(tool)  # missing ones are told before hours of work
    text = read_verilog(folder, name)
    roms: tuple[Rom, ...] = ()
    if device.fill:
        text, roms, params = _without_contents(text, params)
    files, overlay = board_files(board, name, params, pll), manifest.get("style") == "overlay"
    with tempfile.TemporaryDirectory(dir=fresh) as temporary:
        work = Path(temporary)
        (work / "top.il").write_text(files.rtlil)
        (work / "constraints").write_text(files.constraints)
        (work / "accelerator.v").write_text(text)
        used, report, seed = _routed(device, board, work, mhz, seeds, overlay, remedy(manifest, board), log, progress)
        progress("packing", 0.0)
        if device.fill:
            configuration = work / "configuration"
            configuration.write_text(device.fill(configuration.read_text(), roms))
        file = f"{name}.{device.ending}"
        run_tool(device.packer, device.pack_arguments(Path("configuration"), Path(file)), work, log)
        if not (work / file).exists() or not (work / file).stat().st_size:
            raise _nothing(device.packer, "bitstream", log)
        shutil.copy(work / file, fresh)
    return BitstreamResult(
        board=board.name,
        device=device.name,
        fmax_mhz=_fmax(report),
        clock_mhz=mhz,
        timing_met=True,
        resources=used,
        predicted=Resources(**manifest["figures"]["resources"]) + board.link,
        bitstream=str(folder / "bitstream" / file),
        seed=seed,
        critical_path=_critical_path(report, {s["name"]: s["template"] for s in manifest["stages"]}),
        utilisation={k: (v["used"], v["available"]) for k, v in report["utilization"].items() if v["used"]},
        cycles=manifest["figures"]["interval_cycles"],
    )


def _without_contents(verilog: str, params: LinkParams) -> tuple[str, tuple[Rom, ...], LinkParams]:
    """What is synthesised, what it is to hold afterwards, and the link with the identity that stands for all such contents.

    So networks that differ in the contents of block memories only share one place-and-route.
    """
    text, roms = with_placeholders(verilog)
    common = replace(params, design_id=hashlib.sha256(text.encode()).digest()[:8])
    ring = Rom(module="link", memory="ring", bits=8, words=ring_contents(params), placeholder=ring_contents(common))
    return text, (*roms, ring), common


def _routed(
    device: Device, board: Board, work: Path, mhz: float, seeds: int, spread: bool, less: str, log: Path, progress: Progress
) -> tuple[Resources, dict[str, Any], int]:
    """Synthesise and place ``work/accelerator.v`` with its top; the best of the ``seeds`` as ``work/configuration``.

    ``spread``: of :class:`Route`; ``less``: how to build less hardware. Returns what the netlist takes, nextpnr's report, the
    seed.
    """
    sources = [(work / n).read_text() for n in ("accelerator.v", "top.il", "constraints")]
    tools = [find_tool(tool).version for tool in ("yosys", device.place_and_route)]
    code = [Path(module.__file__ or "").read_text() for module in PASSES]
    root = cache_folder() / "routed"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HwgenError(f"cannot write {root}: {error.strerror}; set HWGEN_CACHE to a folder that can be written") from error
    best: tuple[float, dict[str, Any]] = 0.0, {}
    # At last, where no seed has met timing, the first one as it comes: to say what can be reached.
    for seed, insist in [*((seed, True) for seed in range(1, seeds + 1)), (1, False)]:
        route = Route(
            netlist=Path("netlist.json"), constraints=Path("constraints"), configuration=Path("configuration"),
            report=Path("report.json"), mhz=mhz, seed=seed, insist=insist, spread=spread,
        )  # fmt: skip
        entry = root / key_of([*sources, *tools, *code, device.synthesis, *device.route_arguments(route)])
        files = [work / file for file in (route.configuration, route.report, "used.json")]
        with locked(entry):
            if intact(entry):
                for file in files:
                    shutil.copy(entry / file.name, work)
            else:
                if not (work / route.netlist).exists():
                    _synthesise(device, board, work, less, log, progress)
                for file in files[:2]:
                    file.unlink(missing_ok=True)  # of the seed before
                try:
                    place_and_route(device, board, route, work, less, log, progress)
                except EndlessError:
                    continue
                if not files[0].exists() or not _json(files[1], device.place_and_route, log):
                    raise _nothing(device.place_and_route, "configuration", log)
                try:
                    store(entry, files)
                except OSError as error:  # a full disk there: all that is lost is that it need not be done again
                    with log.open("a") as said:
                        print(f"not kept in {root}: {error.strerror}", file=said)
        report = json.loads((work / route.report).read_text())
        if all(clock["achieved"] >= min(clock["constraint"], mhz) for clock in report["fmax"].values()):
            return Resources(**json.loads((work / "used.json").read_text())), report, seed
        best = max(best, (_fmax(report), report), key=lambda found: found[0])
    longest = ", ".join(f"{part.stage or 'top'} {part.ns:g} ns" for part in _critical_path(best[1], {}))
    raise HwgenError(
        f"timing is not met: {mhz:g} MHz asked for, {best[0]:.1f} MHz reached with the best of {seeds} seeds "
        f"(longest way: {longest}); ask for --clock {int(best[0])} or less, or for more --seeds"
    )


def _synthesise(device: Device, board: Board, work: Path, less: str, log: Path, progress: Progress) -> None:
    """``work/netlist.json``, and what it takes in ``work/used.json``; ``HwgenError`` where that is more than there is."""
    progress("synthesis", 0.0)
    script = f"read_verilog accelerator.v; read_rtlil top.il; {device.synthesis} -top top -json netlist.json"
    run_tool("yosys", ["-q", "-p", script], work, log)
    netlist = _json(work / "netlist.json", "yosys", log)
    progress("floorplan", 0.0)
    device.improve(netlist["modules"]["top"])
    used = device.resources(netlist["modules"]["top"])
    over = [
        f"{name} needs {needed}, available {there}"
        for name, needed, there in ((n, getattr(used, n), getattr(board.budget, n)) for n in ("lut", "ff", "dsp", "bram"))
        if needed > there
    ]
    if over:
        raise HwgenError(f"the design does not fit {board.name} after synthesis: {', '.join(over)}; {less}")
    (work / "netlist.json").write_text(json.dumps(netlist))
    (work / "used.json").write_text(json.dumps(asdict(used)))


def _json(path: Path, tool: str, log: Path) -> dict[str, Any]:
    """What ``tool`` wrote; ``HwgenError`` where it is not there or not whole."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        raise _nothing(tool, path.stem, log) from None


def _nothing(tool: str, what: str, log: Path) -> HwgenError:
    return HwgenError(f"{tool} ended without an error, but wrote no {what} or a damaged one; its log: {log}")


def _silent(step: str, share: float) -> None:
    """Tell nobody."""


def _fmax(report: dict[str, Any]) -> float:
    """MHz of the slowest clock."""
    return round(min(clock["achieved"] for clock in report["fmax"].values()), 2)


def _critical_path(report: dict[str, Any], templates: dict[str, str]) -> tuple[PathPart, ...]:
    """The longest way between registers, its parts within one stage each."""
    paths = [p["path"] for p in report["critical_paths"] if p["from"] == p["to"] and "async" not in p["from"]]
    if not paths:
        return ()
    longest = max(paths, key=lambda path: sum(step["delay"] for step in path))

    def stage(step: dict[str, Any]) -> str:
        name = f"{step.get('net', '')} {step['to']['cell']} {step['from']['cell']}"
        found = re.search(r"accelerator\.(\w+)", name)
        return found[1] if found else "link" if "linked." in name else ""

    parts: list[PathPart] = []
    for where, steps in groupby(longest, stage):
        delay = round(sum(step["delay"] for step in steps), 3)
        if parts and where in ("", parts[-1].stage):
            parts[-1] = replace(parts[-1], ns=round(parts[-1].ns + delay, 3))
        else:
            parts.append(PathPart(where, templates.get(where, ""), delay))
    return tuple(parts)
