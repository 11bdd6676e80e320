"""A serial line that damages what passes: a pseudo-terminal for the host, relayed to the board's."""

import itertools
import os
import select
import threading
import time
import tty
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwgen.hardware.packets import Kind
from hwgen.host.protocol import encode

__all__ = ["FAULTS", "NoisyLine"]

FAULTS = ("bit", "lost", "added", "cut", "burst", "reset")


@dataclass
class _Side:
    """One direction: from ``source`` to ``sink``; the next ``skip`` bytes are lost, if they come before ``until``."""

    source: int
    sink: int
    to_board: bool
    skip: int = 0
    until: float = 0.0


class NoisyLine:
    """Context manager: ``port`` is the host's end of a line to the board's ``port``.

    Parameters
    ----------
    rate
        Faults per byte, of all kinds in turn: a bit inverted, a byte lost, up to 40 bytes added, up to 300 bytes
        lost, 40 bytes replaced, and, to the board, a reset by somebody else in mid-frame.
    """

    def __init__(self, board: str, *, rate: float, seed: int = 1):
        self.board, self.rate, self.faults = Path(board), rate, itertools.cycle(FAULTS)
        self.rng = np.random.default_rng(seed)
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> "NoisyLine":
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.port = os.ttyname(self.slave)
        self.line = os.open(self.board, os.O_RDWR | os.O_NOCTTY)
        self.woken, self.wake = os.pipe()
        self.thread = threading.Thread(target=self._relay)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self.wake, b"x")
        self.thread.join()
        for descriptor in (self.master, self.slave, self.line, self.woken, self.wake):
            os.close(descriptor)

    def _relay(self) -> None:
        sides = {s.source: s for s in (_Side(self.master, self.line, True), _Side(self.line, self.master, False))}
        while True:
            ready, *_ = select.select([*sides, self.woken], [], [])
            if self.woken in ready:
                return
            for descriptor in ready:
                side = sides[descriptor]
                data = self._damaged(os.read(descriptor, 4096), side)
                while data:
                    data = data[os.write(side.sink, data) :]

    def _damaged(self, data: bytes, side: _Side) -> bytes:
        lost = min(side.skip, len(data)) if time.monotonic() < side.until else 0
        side.skip -= lost
        result, start = bytearray(), lost
        for place in np.flatnonzero(self.rng.random(len(data)) < self.rate):
            if place < start:
                continue
            result += data[start:place]
            start = int(place) + 1
            fault = next(self.faults)
            if fault == "reset" and not side.to_board:
                fault = next(self.faults)
            self.counts[fault] += 1
            match fault:
                case "bit":
                    result.append(data[place] ^ (1 << int(self.rng.integers(8))))
                case "added":
                    result += self._noise(1, 40) + data[place:start]
                case "cut":
                    length = int(self.rng.integers(2, 300))
                    start += length
                    side.skip, side.until = max(0, start - len(data)), time.monotonic() + 0.02
                case "burst":
                    result += self._noise(40, 41)
                    start += 39
                    side.skip, side.until = max(0, start - len(data)), time.monotonic() + 0.02
                case "reset":
                    result += encode(Kind.RESET, int(self.rng.integers(1, 1 << 16)), 0, 0) + data[place:start]
        return bytes(result + data[start:])

    def _noise(self, low: int, high: int) -> bytes:
        return self.rng.integers(0, 256, int(self.rng.integers(low, high)), np.uint8).tobytes()
