"""Folders that appear whole or not at all."""

import fcntl
import json
import os
import shutil
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO

from .errors import HwgenError

__all__ = ["MANIFEST", "MARKER", "MODEL", "OutputFolder", "module_of", "read_manifest", "read_session", "read_verilog"]

MANIFEST = "design.json"
MODEL = "model.onnx"  #: the quantised network, kept in the output folder
MARKER = "hwgen"  #: key of the manifest that says hwgen made the folder; its value is the format's number
FORMAT = 1


def read_manifest(folder: Path, name: str = MANIFEST) -> dict:
    """The manifest ``name`` of a folder hwgen made; ``HwgenError`` for any other."""
    try:
        manifest = json.loads((folder / name).read_text())
    except (FileNotFoundError, NotADirectoryError):
        reason = f"it has no {name}" if folder.is_dir() else "it is a file" if folder.exists() else "there is no such folder"
        raise HwgenError(f"{folder} is not a folder that hwgen made: {reason}") from None
    except OSError as error:
        raise HwgenError(f"cannot read {folder / name}: {error.strerror}") from error
    except ValueError as error:
        raise HwgenError(f"{folder / name} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or MARKER not in manifest:
        raise HwgenError(f"{folder} is not a folder that hwgen made: {name} has no {MARKER!r}")
    if manifest[MARKER] != FORMAT:
        raise HwgenError(
            f"{folder} was made by another version of hwgen (format {manifest[MARKER]}, not {FORMAT}): build it again"
        )
    return manifest


def module_of(manifest: dict) -> str:
    """The accelerator's module, in a file of that name: the network's name, but for an engine with external memory."""
    return manifest.get("module", manifest["name"])


def read_verilog(folder: Path, name: str) -> str:
    """The accelerator ``name`` in a folder hwgen made; ``HwgenError`` where it is not there."""
    path = folder / f"{name}.v"
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise HwgenError(f"cannot read {path}: {reason}; build it again") from error


def read_session(folder: Path, manifest: dict) -> bytes:
    """What the accelerator wants of its input stream once after a reset, before frames; ``HwgenError`` where it is damaged."""
    if (session := manifest.get("session")) is None:
        return b""
    path = folder / session["file"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HwgenError(f"cannot read {path}: {error.strerror}; build it again") from error
    if zlib.crc32(content) != session["crc32"]:
        raise HwgenError(f"{path} is damaged: its checksum is not that of the build; build it again")
    return content


class OutputFolder:
    """Context manager: a fresh folder to write into, which becomes ``path`` when the block ends without an error.

    Until then an earlier output at ``path`` stays as it is, whatever happens; then it is replaced in one step. The block
    must write the manifest with ``MARKER``: by it hwgen knows its own folders, and replaces no others
    (an empty folder apart). What a killed build leaves beside ``path`` (``.NAME.hwgen-new``) the next one removes.

    Raises
    ------
    HwgenError
        If ``path`` is something else than hwgen's folder, another build writes to it now, or the disk refuses
        (any ``OSError`` of the block).
    """

    def __init__(self, path: Path, manifest: str = MANIFEST):
        self.shown, self.manifest = path, manifest
        self.path = path.resolve()
        if not self.path.name:
            raise HwgenError(f"output folder {path} cannot be replaced: choose another folder")
        self.new = self.path.with_name(f".{self.path.name}.hwgen-new")
        self.old = self.path.with_name(f".{self.path.name}.hwgen-old")
        self.lock_path = self.path.with_name(f".{self.path.name}.hwgen-lock")
        self.lock: IO[str] | None = None

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except OSError as error:
            raise self._refused(error) from error
        try:
            if self.old.exists() and not self.path.exists():
                self.old.rename(self.path)  # a build was killed between the two renames
            self._check_replaceable()
            for leftover in (self.new, self.old):
                if leftover.exists():
                    shutil.rmtree(leftover)
            self.new.mkdir()
        except OSError as error:
            self._release()
            raise self._refused(error) from error
        except BaseException:
            self._release()
            raise
        return self.new

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._replace()
        except OSError as failure:
            raise self._refused(failure) from failure
        finally:
            shutil.rmtree(self.new, ignore_errors=True)
            if self.path.exists():
                shutil.rmtree(self.old, ignore_errors=True)
            self._release()
        if isinstance(error, OSError):
            raise self._refused(error) from error

    def _replace(self) -> None:
        read_manifest(self.new, self.manifest)
        had = self.path.exists()
        if had:
            self.path.rename(self.old)
        try:
            self.new.rename(self.path)
        except BaseException:
            if had and not self.path.exists():
                self.old.rename(self.path)
            raise

    def _check_replaceable(self) -> None:
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not self.path.is_dir():
            raise HwgenError(f"output folder {self.shown} is a file: choose another folder")
        try:
            manifest = json.loads((self.path / self.manifest).read_text())
        except (FileNotFoundError, ValueError):
            manifest = None
        if not isinstance(manifest, dict) or MARKER not in manifest:
            raise HwgenError(f"output folder {self.shown} holds files that are not hwgen's: choose another folder, or empty it")

    def _acquire(self) -> None:
        while True:
            lock = open(self.lock_path, "w")  # noqa: SIM115
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(self.lock_path)):
                    self.lock = lock
                    return
            except FileNotFoundError:
                pass  # its last holder removed it between open and flock
            except BlockingIOError:
                lock.close()
                raise HwgenError(f"another hwgen is writing to {self.shown}: wait for it, or choose another folder") from None
            except BaseException:
                lock.close()
                raise
            lock.close()

    def _release(self) -> None:
        if self.lock is not None:
            self.lock_path.unlink(missing_ok=True)
            self.lock.close()
            self.lock = None

    def _refused(self, error: OSError) -> HwgenError:
        path = Path(str(error.filename2 or error.filename or self.path))  # of the file that the disk refuses, where known
        elsewhere = "" if self.path.parent in (path, *path.parents) else f": {path}"
        return HwgenError(f"cannot write output folder {self.shown}: {error.strerror or error}{elsewhere}")
