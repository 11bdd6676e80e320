"""Instruction-level simulator of the overlay engine: what a program computes, not when."""

import numpy as np

from ..arith import round_half_even
from .engine import Engine
from .exact import nearest
from .isa import (
    PLACES,
    SCALE,
    SHIFTS,
    Combine,
    Drain,
    End,
    Fill,
    Instruction,
    Load,
    Move,
    Multiply,
    Place,
    Pool,
    Softmax,
    Store,
)

__all__ = ["Machine", "ProgramError"]


class ProgramError(Exception):
    """A program does what the engine can't do; says which instruction."""


class Machine:
    """Memories of an engine, and the external one, whose bytes it reads and writes in place.

    Instructions are carried out one after the other: what they are in any order that their tokens allow, if these say all.
    """

    def __init__(self, engine: Engine, external: np.ndarray):
        if external.dtype != np.uint8 or external.ndim != 1:
            raise ValueError(f"external must be bytes, not {external.dtype} of shape {external.shape}")
        self.engine, self.external = engine, external
        self.scratchpad = np.zeros(engine.scratchpad, np.int8)
        self.weights = np.zeros((engine.weights, engine.columns), np.int8)
        self.sums = np.zeros((engine.sums, engine.columns), np.int64)
        self.scales = np.zeros(engine.scales, SCALE)
        self.tables = np.zeros(512, np.int32)

    def run(self, program: list[Instruction]) -> None:
        """Until the first :class:`End`; ``ProgramError`` where there is none, or an address is out of range."""
        for number, instruction in enumerate(program):
            if isinstance(instruction, End):
                return
            try:
                self.step(instruction)
            except IndexError as error:
                raise ProgramError(f"instruction {number}, {instruction}: {error}") from None
        raise ProgramError("the program has no End")

    def step(self, instruction: Instruction) -> None:
        """Carry one out; ``IndexError`` where an address is out of range."""
        match instruction:
            case Load():
                self._load(instruction)
            case Fill():
                self.scratchpad[self._rows(instruction)] = instruction.value
            case Multiply():
                (self._depthwise if instruction.depthwise else self._matrix)(instruction)
            case Drain():
                self._drain(instruction)
            case Combine():
                self._combine(instruction)
            case Pool():
                self._pool(instruction)
            case Softmax():
                self._softmax(instruction)
            case Store():
                self.external[self._there(instruction)] = self.scratchpad[self._rows(instruction)].view(np.uint8)

    def _rows(self, i: Move | Fill) -> np.ndarray:
        return self._local(i.local + _grid((i.rows, i.local_step), (i.size, 1)))

    def _there(self, i: Move) -> np.ndarray:
        addresses = i.external + _grid((i.rows, i.external_step), (i.size, 1))
        return self._inside(addresses, len(self.external), "external memory")

    def _local(self, addresses: np.ndarray) -> np.ndarray:
        return self._inside(addresses, len(self.scratchpad), "the scratchpad")

    @staticmethod
    def _inside(addresses: np.ndarray, size: int, what: str) -> np.ndarray:
        low, high = int(addresses.min()), int(addresses.max())
        if low < 0 or high >= size:
            raise IndexError(f"{what} has addresses 0..{size - 1}, not {low}..{high}")
        return addresses

    def _load(self, i: Load) -> None:
        content = self.external[self._there(i)]
        if i.place == Place.SCRATCHPAD:
            self.scratchpad[self._rows(i)] = content.view(np.int8)
            return
        memory = {Place.WEIGHTS: self.weights, Place.SCALES: self.scales, Place.TABLES: self.tables}[Place(i.place)]
        entries = self.engine.entries_in(Place(i.place), content)
        count = len(entries)
        self._inside(np.array([i.local, i.local + count - 1]), len(memory), f"the memory of {Place(i.place).name.lower()}")
        memory[i.local : i.local + count] = np.frombuffer(entries.tobytes(), memory.dtype).reshape(count, *memory.shape[1:])

    def _tiles(self, i: Multiply, entries: int) -> tuple[np.ndarray, np.ndarray]:
        """Activations' address of each tile, and its weights (tiles, entries, columns)."""
        tiles = _grid((i.k2_count, i.k2_step), (i.k1_count, i.k1_step), (i.k0_count, i.k0_step)).ravel() + i.source
        last = i.weights + len(tiles) * entries
        self._inside(np.array([i.weights, last - 1]), len(self.weights), "the memory of weights")
        return tiles, self.weights[i.weights : last].reshape(len(tiles), entries, -1)

    def _add(self, i: Multiply, products: np.ndarray) -> None:
        """(positions, columns)"""
        places = slice(i.sums, i.sums + len(products))
        self._inside(np.array([places.start, places.stop - 1]), len(self.sums), "the memory of sums")
        total = products if i.first else self.sums[places] + products
        self.sums[places] = (total + (1 << 31)) % (1 << 32) - (1 << 31)

    def _matrix(self, i: Multiply) -> None:
        rows = self.engine.rows
        tiles, weights = self._tiles(i, rows)
        positions = _grid((i.y_count, i.y_step), (i.x_count, i.x_step)).ravel()
        places = positions[:, None, None] + tiles[None, :, None] + np.arange(rows)
        activations = self.scratchpad[self._local(places)].reshape(len(positions), -1)
        product = activations.astype(np.float64) @ weights.reshape(-1, weights.shape[-1]).astype(np.float64)  # exact
        self._add(i, product.astype(np.int64))

    def _depthwise(self, i: Multiply) -> None:
        taps, columns = self.engine.taps, self.engine.columns
        tiles, weights = self._tiles(i, taps)
        positions = _grid((i.y_count, i.y_step), (i.x_count, i.x_step * i.stride)).ravel()
        places = positions[:, None, None, None] + tiles[None, :, None, None]
        places = places + np.arange(taps)[:, None] * i.x_step + np.arange(columns)
        activations = self.scratchpad[self._local(places)].astype(np.int64)
        self._add(i, (activations * weights).sum((1, 2)))

    def _drain(self, i: Drain) -> None:
        count = i.x_count * i.y_count
        self._inside(np.array([i.sums, i.sums + count - 1]), len(self.sums), "the memory of sums")
        self._inside(np.array([i.scales, i.scales + i.channels - 1]), len(self.scales), "the memory of scales")
        if i.channels > self.engine.columns:
            raise IndexError(f"there are columns 0..{self.engine.columns - 1}, not {i.channels}")
        scale = self.scales[i.scales : i.scales + i.channels]
        if (scale["mult"] >> np.uint64(self.engine.digit * i.steps)).any():
            raise IndexError(f"multipliers have {i.steps} digits, not more")
        if i.scales % self.engine.lanes:
            raise IndexError(f"scales must be a multiple of {self.engine.lanes} (lanes), not {i.scales}")
        if not 0 <= (place := self.engine.place(i.shift, i.steps)) < PLACES:
            least = i.shift - place
            raise IndexError(f"shift must be in {least}..{least + PLACES - 1} for {i.steps} steps, not {i.shift}")
        shift = 4 * i.shift
        sums = self.sums[i.sums : i.sums + count, : i.channels]
        y = nearest(sums * scale["mult"].astype(np.int64) + scale["offset"], shift) + i.zero
        places = i.target + _grid((i.y_count, i.y_step), (i.x_count, i.x_step), (i.channels, 1))
        self.scratchpad[self._local(places).reshape(count, -1)] = np.clip(y, i.lo, i.hi)

    def _combine(self, i: Combine) -> None:
        if i.shift not in SHIFTS:
            raise IndexError(f"shift must be one of {SHIFTS}, not {i.shift}")
        row = (i.x_count, 1)
        x0 = self.scratchpad[self._local(i.source0 + _grid((i.y_count, i.y_step0), row))].astype(np.int64)
        total = self.tables[:256][x0 + 128].astype(np.int64)
        if not i.single:
            x1 = self.scratchpad[self._local(i.source1 + _grid((i.y_count, i.y_step1), row))].astype(np.int64)
            total = total + self.tables[256:][x1 + 128]
        y = round_half_even(total, i.shift, i.window - 1, i.odd)
        self.scratchpad[self._local(i.target + _grid((i.y_count, i.y_step), row))] = np.clip(y, i.lo, i.hi)

    def _pool(self, i: Pool) -> None:
        windows = i.source + _grid((i.y_count, i.y_step), (i.x_count, i.x_step), (i.channels, 1))
        inside = _grid((i.kernel_y, i.kernel_y_step), (i.kernel_x, i.kernel_x_step)).ravel()
        highest = self.scratchpad[self._local(windows[..., None] + inside)].max(-1)
        places = i.target + _grid((i.y_count, i.target_y_step), (i.x_count, i.target_x_step), (i.channels, 1))
        self.scratchpad[self._local(places)] = highest

    def _softmax(self, i: Softmax) -> None:
        if not self.engine.softmax:
            raise IndexError("the engine has no softmax")
        each = (i.channels, 1)
        x = self.scratchpad[self._local(i.source + _grid((i.y_count, i.y_step), (i.x_count, i.x_step), each))].astype(np.int64)
        place = x - x.max(-1, keepdims=True) + 255
        entries = self.tables.view(np.uint32).astype(np.int64)
        floats = np.ldexp((entries & (1 << 24) - 1).astype(np.float32), (entries >> 24) - 150)
        total = np.add.accumulate(floats[place], axis=-1, dtype=np.float32)[..., -1:]
        quotients = np.rint(floats[256 + place] / total).astype(np.int64)
        places = i.target + _grid((i.y_count, i.target_y_step), (i.x_count, i.target_x_step), each)
        self.scratchpad[self._local(places)] = np.minimum(quotients + i.zero, 127)


def _grid(*loops: tuple[int, int]) -> np.ndarray:
    """Offsets of nested loops of (count, step), the outermost first: an axis each."""
    total = np.zeros((1,) * len(loops), np.int64)
    for axis, (count, step) in enumerate(loops):
        shape = [1] * len(loops)
        shape[axis] = count
        total = total + (np.arange(count) * step).reshape(shape)
    return total
