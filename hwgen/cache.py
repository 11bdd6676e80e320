"""The user's cache folder: entries found by their content, whole or not there."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "intact", "key_of", "locked", "store"]


def cache_folder() -> Path:
    """Where entries are kept: ``$HWGEN_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("HWGEN_CACHE") or platformdirs.user_cache_dir("hwgen"))


def key_of(parts: Sequence[str]) -> str:
    """The name of an entry that is made of these."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def store(entry: Path, files: Sequence[Path]) -> None:
    """Make ``entry`` a folder of ``files`` and their digests, in one step."""
    new = Path(tempfile.mkdtemp(dir=entry.parent, prefix="build-"))
    try:
        for file in files:
            shutil.copy(file, new)
        (new / "sha256").write_text("".join(f"{_digest(new / file.name)} {file.name}\n" for file in files))
        shutil.rmtree(entry, ignore_errors=True)
        new.rename(entry)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def intact(entry: Path) -> bool:
    """Whether the entry is there and holds what was stored."""
    try:
        lines = [line.split() for line in (entry / "sha256").read_text().splitlines()]
        return bool(lines) and all(_digest(entry / name) == digest for digest, name in lines)
    except (OSError, ValueError):
        return False


@contextmanager
def locked(entry: Path) -> Iterator[None]:
    """Nobody else makes this entry meanwhile."""
    with open(entry.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
