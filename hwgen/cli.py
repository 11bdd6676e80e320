"""The command line. Exit codes: 0 success, 1 a negative answer, 2 bad input, 70 a bug in hwgen, 130 Ctrl-C, 143 SIGTERM."""

import json
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from .board import board_names, load_board
from .errors import HwgenError
from .screens import (
    bitstream_screen,
    boards_screen,
    build_screen,
    check_screen,
    explore_screen,
    run_screen,
    schedule_screen,
    serve_screen,
    simulate_screen,
    wide,
)

__all__ = ["app", "main", "messages"]

app = typer.Typer(
    name="hwgen",
    help="From an int8 ONNX network to a verified FPGA accelerator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"must be positive, not {value:g}")
    return value


Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The network.")]
BoardName = Annotated[str, typer.Option("--board", metavar="B", help="One of `hwgen boards`, or a .toml file.")]
Objective = Annotated[Literal["throughput", "latency", "area"], typer.Option(help="What to optimise.")]
TargetFps = Annotated[
    float | None, typer.Option(metavar="N", callback=_positive, help="Frames per second that suffice; with the least area.")
]
DspOnly = Annotated[bool, typer.Option("--dsp-only", help="Make no multipliers of LUTs.")]
Calibration = Annotated[
    Path | None, typer.Option(metavar="X.npz", help="Samples (array `inputs`) to quantise a float network with.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]


@app.command()
def check(
    model: Model,
    board: BoardName,
    objective: Objective = "throughput",
    target_fps: TargetFps = None,
    dsp_only: DspOnly = False,
    calibration: Calibration = None,
    as_json: Json = False,
) -> None:
    """Is each operator supported, does the network fit the board, how fast will it be? Exit code 1 if the answer is no."""
    with _loading():
        from . import flow

    result = flow.check(model, board, calibration=calibration, objective=objective, target_fps=target_fps, dsp_only=dsp_only)
    _show(as_json, result.to_json(), lambda: check_screen(result))
    if as_json and result.reason:
        print(result.reason, file=sys.stderr)
    raise typer.Exit(0 if result.supported and result.fits else 1)


@app.command()
def build(
    model: Model,
    board: Annotated[str | None, typer.Option(metavar="B", help="A board of `hwgen boards`, or a .toml file.")] = None,
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write; rtl_out/NAME unless given.")
    ] = None,
    style: Annotated[Literal["dataflow", "overlay", "auto"], typer.Option(help="auto: what suits the network.")] = "dataflow",
    objective: Objective = "throughput",
    target_fps: TargetFps = None,
    dsp_only: DspOnly = False,
    retrainable: Annotated[bool, typer.Option("--retrainable", help="Hardware that takes other weights and scales.")] = False,
    like: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Use the hardware of this retrainable build; no --board then.")
    ] = None,
    array: Annotated[str | None, typer.Option(metavar="RxC", help="Overlay: rows and columns of multipliers.")] = None,
    multipliers: Annotated[int | None, typer.Option(metavar="N", min=1, help="Overlay: at most so many.")] = None,
    lanes: Annotated[
        int | None, typer.Option(metavar="N", help="Overlay: elements that the vector unit takes at a time.")
    ] = None,
    scratchpad: Annotated[int | None, typer.Option(metavar="KIB", min=1, help="Overlay: its size.")] = None,
    axi_width: Annotated[
        int | None, typer.Option(metavar="N", help="Overlay: bits of the bus, 32 to 256; not above the memory's unless given.")
    ] = None,
    on_chip: Annotated[bool, typer.Option("--on-chip", help="Overlay: weights and program in block RAM, for a board.")] = False,
    calibration: Calibration = None,
    as_json: Json = False,
) -> None:
    """Choose the hardware and write Verilog, test vectors and report."""
    if (board is None) == (like is None):
        raise typer.BadParameter("give one of both", param_hint="--board, --like")
    if like is not None and (dsp_only or target_fps is not None or objective != "throughput"):
        raise typer.BadParameter("nothing is chosen with --like", param_hint="--objective, --target-fps, --dsp-only")
    if axi_width not in (None, 32, 64, 128, 256):
        raise typer.BadParameter("must be 32, 64, 128 or 256", param_hint="--axi-width")
    if lanes not in (None, 1, 2, 4, 8, 16):
        raise typer.BadParameter("must be 1, 2, 4, 8 or 16", param_hint="--lanes")
    with _loading():
        from . import flow
        from .overlay.shape import Wish

    with _progress() as progress:
        result = flow.build(
            model,
            board,
            folder,
            style=style,
            objective=objective,
            target_fps=target_fps,
            dsp_only=dsp_only,
            retrainable=retrainable,
            like=like,
            calibration=calibration,
            wish=Wish(
                array=_shape(array),
                multipliers=multipliers,
                lanes=lanes,
                scratchpad=scratchpad and scratchpad * 1024,
                bus=axi_width and axi_width // 8,
                on_chip=on_chip,
            ),
            progress=progress,
        )
    _show(as_json, result.to_json(), lambda: build_screen(result))


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `hwgen build` wrote.")],
    inputs: Annotated[
        Path | None, typer.Option(metavar="X.npz", help="Frames (array `inputs`); those stored with the build unless given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N frames.")] = None,
    stalls: Annotated[bool, typer.Option("--stalls", help="Random pauses on input and output.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=1, help="Of the random pauses.")] = 1,
    trace: Annotated[Path | None, typer.Option(metavar="FILE.fst", help="Write waveforms.")] = None,
    memory_latency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Overlay: cycles until external memory answers, 10 unless given.")
    ] = None,
    memory_pause: Annotated[
        str | None, typer.Option(metavar="A/B", help="Overlay: external memory is silent in A of every B cycles.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Be a board for `hwgen run` at a pseudo-terminal, till Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulate the emitted Verilog and compare every layer with ONNX Runtime. Exit code 1 if anything differs."""
    if serve:
        if inputs or limit or stalls or trace:
            raise typer.BadParameter("takes no other options than --json", param_hint="--serve")
        return _serve(folder, as_json)
    silent, period = _pause(memory_pause)
    with _loading():
        from . import flow
        from .overlay.timing import MemoryTiming

    given = memory_latency is not None or memory_pause is not None
    memory = MemoryTiming(latency=memory_latency or 10, silent=silent, period=period) if given else None
    with _tidy_end(), _progress() as progress:
        result = flow.simulate(
            folder, inputs, limit=limit, stalls=seed if stalls else False, trace=trace, memory=memory, progress=progress
        )
    _show(as_json, result.to_json(), lambda: simulate_screen(result))
    raise typer.Exit(1 if result.mismatches else 0)


def _shape(text: str | None) -> tuple[int, int] | None:
    """(rows, columns) of ``16x16``."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if not found or max(int(found[1]), int(found[2])) > 255:
        raise typer.BadParameter(f"must be rows x columns up to 255, such as 16x16, not {text}", param_hint="--array")
    return int(found[1]), int(found[2])


def _pause(text: str | None) -> tuple[int, int]:
    """(silent, period) of ``4/20``."""
    if text is None:
        return 0, 0
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or int(found[1]) >= int(found[2]):
        raise typer.BadParameter(f"must be A/B with A below B, such as 4/20, not {text}", param_hint="--memory-pause")
    return int(found[1]), int(found[2])


def _serve(folder: Path, as_json: bool) -> None:
    with _loading():
        from .host.serve import simulated_board

    with simulated_board(folder) as board:
        _show(as_json, {"port": board.port}, lambda: serve_screen(folder, board.port))
        with suppress(KeyboardInterrupt):
            board.wait()


@app.command()
def bitstream(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `hwgen build` wrote.")],
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", callback=_positive, help="Of the accelerator; the board's unless given.")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Placements to try until one meets timing.")] = 3,
    liberty: Annotated[Path | None, typer.Option(metavar="X.lib", help="Cells of an ASIC process, for the board asic.")] = None,
    as_json: Json = False,
) -> None:
    """Synthesis, place-and-route, bitstream, with open tools; a project for the vendor's tool where there are none."""
    with _loading():
        from . import implementation

    with _tidy_end(), _progress() as progress:
        result = implementation.bitstream(folder, clock=clock, seeds=seeds, liberty=liberty, progress=progress)
    _show(as_json, result.to_json(), lambda: bitstream_screen(result))


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `hwgen build` wrote.")],
    port: Annotated[str, typer.Option(metavar="P", help="Serial port of the board, or of `hwgen simulate --serve`.")],
    inputs: Annotated[Path, typer.Option(metavar="X.npz", help="Frames (array `inputs`).")],
    outputs: Annotated[Path | None, typer.Option(metavar="Y.npz", help="Write the outputs (array `outputs`).")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N frames.")] = None,
    baud: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=(1 << 31) - 1, help="Of the port, if the bitstream has another.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have a board compute, over its serial port."""
    with _loading():
        from .host.device import run_file

    with _progress() as progress:
        result = run_file(folder, port, inputs, outputs=outputs, limit=limit, baud=baud, progress=progress)
    _show(as_json, result.to_json(), lambda: run_screen(result))


@app.command()
def program(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where `hwgen bitstream` made one.")],
    flash: Annotated[bool, typer.Option("--flash", help="Into the flash memory: it stays when power goes.")] = False,
) -> None:
    """Load the bitstream onto the board, with openFPGALoader."""
    from .host.program import program as load

    load(folder, flash=flash)


@app.command()
def schedule(
    model: Model,
    scratchpad: Annotated[float, typer.Option(metavar="KIB", callback=_positive, help="Size of the scratchpad memory.")],
    weights: Annotated[bool, typer.Option("--weights", help="Weights lie in it, too.")] = False,
    bits: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Of each element.")] = 8,
    reorder: Annotated[bool, typer.Option("--reorder", help="Operators may run in another order than the file's.")] = False,
    as_json: Json = False,
) -> None:
    """What lies in a scratchpad memory when, with the fewest bytes moved: any ONNX network, by its shapes."""
    with _loading():
        from .scheduling import schedule

    result = schedule(model, scratchpad, weights=weights, bits=bits, reorder=reorder)
    _show(as_json, result.to_json(), lambda: schedule_screen(result))


@app.command()
def explore(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.onnx...", help="Networks that run at once.")],
    multipliers: Annotated[int, typer.Option(metavar="N", min=2, max=4096, help="Of all engines together.")],
    dataflow: Annotated[Literal["weight", "output", "any"], typer.Option(help="What stays in the engines' arrays.")] = "any",
    as_json: Json = False,
) -> None:
    """Would two engines take fewer cycles than one with the same multipliers? Shapes, dataflows and schedule, proven."""
    with _loading():
        from .exploring import explore
        from .overlay.dataflows import DATAFLOWS

    result = explore(models, multipliers, DATAFLOWS if dataflow == "any" else (dataflow,))
    _show(as_json, result.to_json(), lambda: explore_screen(result))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.")] = Path("rtl_out/digits"),
    as_json: Json = False,
) -> None:
    """Check, build and simulate a small network that reads handwritten digits. Exit code 1 if anything differs."""
    with _loading():
        from .demo import demo_screen, run_demo

    with _tidy_end(), _progress() as progress:
        result = run_demo(folder, progress=progress)
    _show(as_json, result.to_json(), lambda: demo_screen(result))
    raise typer.Exit(1 if result.simulated.mismatches else 0)


@app.command()
def boards(as_json: Json = False) -> None:
    """List the boards."""
    found = [load_board(name) for name in board_names()]
    _show(as_json, [b.to_json() for b in found], lambda: boards_screen(found))


@contextmanager
def _loading() -> Iterator[None]:
    """Keeps Ctrl-C waiting while libraries are imported: some abort the process when an exception meets their start-up."""
    if threading.current_thread() is not threading.main_thread():  # only that one is interrupted
        yield
        return
    pressed: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pressed and callable(handler):
        handler(signal.SIGINT, None)


class _Terminated(BaseException):
    """SIGTERM, or the terminal is gone."""


@contextmanager
def _tidy_end() -> Iterator[None]:
    """SIGTERM and SIGHUP end programs that run for us and remove what is half-made, as Ctrl-C does."""

    def end(number: int, frame: Any) -> None:
        for number in ours:
            signal.signal(number, signal.SIG_IGN)  # while we tidy up
        raise _Terminated

    here = threading.current_thread() is threading.main_thread()  # only that one gets signals
    ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if here and signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _show(as_json: bool, content: Any, screen: Callable[[], RenderableType]) -> None:
    """Print ``content`` as JSON, or the screen."""
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        wide().print(screen())
    sys.stdout.flush()


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None] | None]:
    """A callback that moves a bar on standard error; None where nobody watches."""
    console = wide(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, part: bar.update(task, description=escape(what), completed=part)


def main(args: Sequence[str] | None = None) -> None:
    """The ``hwgen`` command with ``args`` (the process's own unless given). Always raises ``SystemExit``."""
    with messages():
        try:
            app(args)
        except SystemExit as end:
            if end.code == 130:  # Typer's silent answer to Ctrl-C
                raise KeyboardInterrupt from None
            raise


@contextmanager
def messages() -> Iterator[None]:
    """Exceptions become a message on standard error and an exit code."""
    try:
        yield
    except HwgenError as e:
        _fail(2, str(e))
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        _fail(130, "interrupted")
    except _Terminated:
        _fail(143, "terminated")
    except Exception as e:  # the only place that catches all: users get a message, not a traceback
        if os.environ.get("HWGEN_DEBUG") == "1":
            raise
        _fail(70, f"internal error: {type(e).__name__}: {e}\nThis is a bug in hwgen: please report it with {_report()}.")


def _fail(code: int, message: str) -> None:
    warnings.simplefilter("ignore")  # about hardware descriptions left half-made
    console = wide(stderr=True)
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    sys.exit(code)


def _report() -> str:
    """Name of a new file with the current exception's traceback."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="hwgen-", suffix=".txt", delete=False, encoding="utf-8") as f:
            f.write(f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
    except OSError:
        return "what HWGEN_DEBUG=1 shows"
    return f.name
