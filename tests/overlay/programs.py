"""Random programs for an engine, and what they do to external memory."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwgen.overlay.engine import Engine
from hwgen.overlay.exact import MULT_BITS
from hwgen.overlay.isa import (
    PLACES,
    SCALE,
    SHIFTS,
    Combine,
    Drain,
    End,
    Fill,
    Instruction,
    Load,
    Multiply,
    Place,
    Pool,
    Softmax,
    Store,
    layout,
)
from hwgen.overlay.machine import Machine
from hwgen.overlay.tokens import with_tokens

Loop = tuple[int, int]  #: count, step

DATA = 1 << 13  #: bytes of external memory that loads and stores choose from; constants follow
TRIES = 200
WORK = 1 << 17  #: multiplications of an instruction, for each column


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """With the external memory before and after it."""

    instructions: list[Instruction]
    before: np.ndarray
    after: np.ndarray


class Writer:
    """A program that grows, and the machine that carries it out meanwhile.

    All memories are filled at its beginning; at its end the scratchpad is in external memory, and whether the sums are right.
    """

    def __init__(self, engine: Engine, seed: int):
        self.engine, self.rng = engine, random.Random(seed)
        bytes_of = np.random.default_rng(seed)
        self.before = np.zeros(1 << 19, np.uint8)
        self.before[:DATA] = bytes_of.integers(0, 256, DATA, np.uint8)
        self.used = DATA
        self.machine = Machine(engine, self.before.copy())
        self.program: list[Instruction] = []
        self._constants(Place.SCRATCHPAD, bytes_of.integers(0, 256, (engine.scratchpad, 1), np.uint8))
        self._constants(Place.WEIGHTS, bytes_of.integers(0, 256, (engine.weights, engine.columns), np.uint8))
        self._constants(Place.SCALES, bytes_of.integers(0, 256, (engine.scales, 16), np.uint8))
        self._constants(Place.TABLES, bytes_of.integers(0, 256, (512, 4), np.uint8))
        spread = min(3, (engine.scratchpad - engine.banks) // engine.sums)
        for start in range(0, engine.sums, 2048):
            count = min(2048, engine.sums - start)
            self.add(Multiply(source=spread * start, x_count=count, x_step=spread, sums=start, first=1))

    def add(self, instruction: Instruction) -> None:
        self.machine.step(instruction)
        self.program.append(instruction)

    def finished(self) -> Program:
        """With an End."""
        self.shown(0, self.engine.scratchpad)
        for entry in range(self.engine.sums) if self.engine.sums <= 64 else self.rng.sample(range(self.engine.sums), 24):
            self._show(entry)
        program = with_tokens([*self.program, End()], self.engine)
        return Program(instructions=program, before=self.before[: self.used], after=self.machine.external[: self.used])

    # Parts

    def any_of(self, *values: int) -> int:
        return self.rng.choice(values)

    def count(self, most: int) -> int:
        """Small, rarely up to ``most``."""
        most = max(1, most)
        few = min(most, self.any_of(1, 2, 3, 5, 8))
        return self.rng.randint(1, most if self.rng.random() < 0.1 else few)

    def step(self, natural: int, bits: int = 24, unit: int = 1) -> int:
        """A multiple of ``unit``."""
        limit = (1 << bits - 1) - 1
        some = self.any_of(natural, natural, -natural, 0, unit, -unit, unit * self.rng.randint(-40, 40))
        return max(-limit // unit * unit, min(limit // unit * unit, some))

    def loops(self, kind: type[Instruction], *loops: Loop, names: tuple[str, ...] = ()) -> list[Loop]:
        """Those of one round have any step."""
        found = []
        for (count, step), name in zip(loops, names, strict=True):
            found.append((count, self.anything(kind, name) if count == 1 and self.rng.random() < 0.5 else step))
        return found

    def anything(self, kind: type[Instruction], name: str) -> int:
        """All that a field has room for; of external steps whole beats."""
        f = next(f for f in layout(kind) if f.name == name)
        bits, signed = f.metadata["bits"], f.metadata["signed"]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        value = self.any_of(low, high, self.rng.randint(low, high))
        return value // self.engine.bus * self.engine.bus if name.startswith("external") else value

    def base(self, size: int, width: int, *loops: Loop, unit: int = 1) -> int | None:
        """A place in a memory for all that loops around ``width`` touch; None where there is none."""
        low, high = reach(width, *loops)
        first, last = -(low // unit), (size - high) // unit
        if first > last:
            return None
        return unit * self.any_of(first, last, *(self.rng.randint(first, last) for _ in range(4)))

    def some(self, *makers: Callable[[], bool]) -> None:
        """One that finds a place."""
        for _ in range(TRIES):
            if self.rng.choice(makers)():
                return
        raise RuntimeError("none of the instructions has found a place")

    def _room(self, size: int) -> int:
        address = -(-self.used // 64) * 64
        self.used = address + self.engine.padded(size)
        assert self.used <= len(self.before)
        return address

    def _constants(self, place: Place, entries: np.ndarray, local: int = 0) -> None:
        """Load new ones."""
        content = entries.reshape(-1) if place == Place.SCRATCHPAD else self.engine.laid_out(place, entries)
        address = self._room(content.nbytes)
        for memory in (self.before, self.machine.external):
            memory[address : address + content.nbytes] = content
        self.add(Load(place=place, external=address, local=local, size=content.nbytes))

    # Instructions: True if one has been added

    def load(self) -> bool:
        e = self.engine
        size = self._size()
        rows = self.count(6)
        outer = self.loops(Load, (rows, self.step(e.padded(size), unit=e.bus)), names=("external_step",))
        inner = self.loops(Load, (rows, self.step(size)), names=("local_step",))
        external = self.base(DATA, e.padded(size), *outer, unit=e.bus)
        local = self.base(e.scratchpad, size, *inner)
        if external is None or local is None:
            return False
        self.add(Load(external=external, local=local, size=size, rows=rows, external_step=outer[0][1], local_step=inner[0][1]))
        return True

    def load_entries(self) -> bool:
        """Weights, scales or tables, of any bytes; in rows of whole beats."""
        e = self.engine
        place = Place(self.any_of(Place.WEIGHTS, Place.SCALES, Place.TABLES))
        entries = {Place.WEIGHTS: e.weights, Place.SCALES: e.scales, Place.TABLES: 512}[place]
        beats = e.beats_of(place)
        size, rows = e.bus * self.count(40), self.count(4)
        if self.rng.random() < 0.5:
            rows *= beats
        else:
            size *= beats
        made = size * rows // (beats * e.bus) * e.entries_of(place)
        outer = self.loops(Load, (rows, self.step(size, unit=e.bus)), names=("external_step",))
        external = self.base(DATA, size, *outer, unit=e.bus)
        local = self.base(entries, made)
        if external is None or local is None:
            return False
        self.add(
            Load(
                place=place, external=external, local=local, size=size, rows=rows, external_step=outer[0][1],
                local_step=self.anything(Load, "local_step"),
            )
        )  # fmt: skip
        return True

    def fill(self) -> bool:
        size, rows = self._size(), self.count(6)
        inner = self.loops(Fill, (rows, self.step(size)), names=("local_step",))
        local = self.base(self.engine.scratchpad, size, *inner)
        if local is None:
            return False
        self.add(Fill(value=self.anything(Fill, "value"), local=local, size=size, rows=rows, local_step=inner[0][1]))
        return True

    def store(self) -> bool:
        e = self.engine
        size, rows = self._size(), self.count(6)
        outer = self.loops(Store, (rows, self.step(e.padded(size), unit=e.bus)), names=("external_step",))
        inner = self.loops(Store, (rows, self.step(size)), names=("local_step",))
        external = self.base(DATA, e.padded(size), *outer, unit=e.bus)
        local = self.base(e.scratchpad, size, *inner)
        if external is None or local is None:
            return False
        self.add(Store(external=external, local=local, size=size, rows=rows, external_step=outer[0][1], local_step=inner[0][1]))
        return True

    def _size(self) -> int:
        e = self.engine
        near = self.any_of(e.bus, e.banks, 16 * e.bus) * self.rng.randint(1, 4) + self.rng.randint(-1, 1)
        return min(e.scratchpad, self.any_of(self.rng.randint(1, 2 * e.bus), self.rng.randint(1, 3 * e.banks), max(1, near)))

    def matrix(self) -> bool:
        return self._multiply(depthwise=0)

    def depthwise(self) -> bool:
        return self._multiply(depthwise=1)

    def _multiply(self, depthwise: int) -> bool:
        e = self.engine
        entries = e.taps if depthwise else e.rows
        x_count = self.count(min(4095, e.sums))
        y_count = self.count(min(4095, e.sums // x_count))
        k0 = self.count(min(1023, e.weights // entries))
        k1 = self.count(min(255, e.weights // entries // k0))
        k2 = self.count(min(255, e.weights // entries // (k0 * k1)))
        if x_count * y_count * k0 * k1 * k2 * entries > WORK:
            return False
        stride = self.rng.randint(1, 7)
        across = (x_count - 1) * stride + e.taps if depthwise else x_count
        width = e.columns if depthwise else e.rows
        loops = self.loops(
            Multiply,
            (across, self.step(width)), (y_count, self.step(self.any_of(width, 3, across * width))),
            (k0, self.step(width, 12)), (k1, self.step(e.rows)), (k2, self.step(self.any_of(e.rows, 17))),
            names=("x_step", "y_step", "k0_step", "k1_step", "k2_step"),
        )  # fmt: skip
        source = self.base(e.scratchpad, width, *loops)
        if source is None:
            return False
        positions = x_count * y_count
        self.add(
            Multiply(
                source=source, x_count=x_count, y_count=y_count, k0_count=k0, k1_count=k1, k2_count=k2,
                x_step=loops[0][1], y_step=loops[1][1], k0_step=loops[2][1], k1_step=loops[3][1], k2_step=loops[4][1],
                weights=self.base(e.weights, entries * k0 * k1 * k2) or 0, sums=self.base(e.sums, positions) or 0,
                first=self.rng.randint(0, 1), depthwise=depthwise,
                stride=stride if depthwise else self.anything(Multiply, "stride"),
            )
        )  # fmt: skip
        return True

    def drain(self) -> bool:
        e = self.engine
        x_count = self.count(min(4095, e.sums))
        y_count = self.count(min(4095, e.sums // x_count))
        return self.drained(self.base(e.sums, x_count * y_count) or 0, x_count, y_count)

    def drained(self, first: int, x_count: int, y_count: int) -> bool:
        """Requantise these sums with any rules."""
        e, rng = self.engine, self.rng
        channels = self.any_of(e.columns, rng.randint(1, e.columns))
        loops = self.loops(
            Drain, (x_count, self.step(self.any_of(channels, channels + 1))), (y_count, self.step(x_count * channels)),
            names=("x_step", "y_step"),
        )  # fmt: skip
        target = self.base(e.scratchpad, channels, *loops)
        if target is None:
            return False
        sums = self.machine.sums[first : first + x_count * y_count, :channels]
        rules = self.rounding(rng.randint(1, 7 if e.digit == 8 else 4))
        share = e.entries_of(Place.SCALES)
        scales = self.base(e.scales, -(-channels // share) * share, unit=e.lanes)
        if scales is None:
            return False
        if rng.random() < 0.8 or not self._fit(sums, self.machine.scales[scales : scales + channels], rules["steps"]):
            content = np.concatenate([self.scale(column, **rules) for column in sums.T])
            self._constants(Place.SCALES, content.view(np.uint8).reshape(-1, SCALE.itemsize), scales)
        lo, hi = (-128, 127) if rng.random() < 0.5 else sorted(rng.choices(range(-128, 128), k=2))
        self.add(
            Drain(
                sums=first, target=target, x_count=x_count, x_step=loops[0][1], y_count=y_count, y_step=loops[1][1],
                channels=channels, scales=scales, zero=self.any_of(0, self.anything(Drain, "zero")), lo=lo, hi=hi, **rules,
            )
        )  # fmt: skip
        return True

    def rounding(self, steps: int) -> dict[str, int]:
        """A shift that the engine has for so many steps."""
        shift = 2 + self.engine.digit // 4 * (steps - 1) + self.rng.randrange(PLACES)
        return {"steps": steps, "shift": shift} if shift < 16 else self.rounding(steps)

    def scale(self, sums: np.ndarray, *, steps: int, shift: int) -> np.ndarray:
        """For a column of sums: one that makes numbers of them that are neither all too large nor all too small, and ties."""
        rng, bits = self.rng, 4 * shift
        largest = max(1, int(np.abs(sums).max()))
        most = min((1 << min(MULT_BITS, self.engine.digit * steps)) - 1, (self._limit(steps) >> 1) // largest)
        near = int((rng.randint(1, 400) << bits) // largest)
        mult = min(most, self.any_of(near, near, near, most, rng.getrandbits(rng.randint(0, MULT_BITS)), 0))
        # A float32 that is halfway between two integers: within some power of two of a multiple of 2**bits.
        tie = (1 << bits) >> rng.randint(15, 28) if rng.random() < 0.7 else 0
        rest = self.any_of(0, 1, -1) * (tie + self.any_of(0, 0, 1, -1)) if rng.random() < 0.8 else rng.getrandbits(bits)
        total = (self.any_of(rng.randint(-260, 260), rng.randint(-4, 4)) << bits) + rest
        scale = np.zeros(1, SCALE)
        scale["mult"] = mult
        for offset in (total - mult * int(rng.choice(sums)), rng.randint(-1000, 1000)):
            if max(abs(offset + mult * s) for s in (int(sums.min()), int(sums.max()), 0)) < self._limit(steps):
                scale["offset"] = offset
                break
        return scale

    def _limit(self, steps: int) -> int:
        """Of what is shifted."""
        return 1 << min(63, 40 + self.engine.digit * (steps - 1))

    def _fit(self, sums: np.ndarray, scales: np.ndarray, steps: int) -> bool:
        for column, scale in zip(sums.T, scales, strict=True):
            mult, offset = int(scale["mult"]), int(scale["offset"])
            ends = (int(s) * mult + offset for s in (column.min(), column.max(), 0))
            if mult >> self.engine.digit * steps or max(map(abs, ends)) >= self._limit(steps):
                return False
        return True

    def _show(self, entry: int) -> None:
        """Whether an entry of the sums is right: the same number for each of its columns, else another."""
        content = np.zeros(self.engine.columns, SCALE)
        content["mult"], content["offset"] = 255, 128 - 255 * self.machine.sums[entry]
        self._constants(Place.SCALES, content.view(np.uint8).reshape(-1, SCALE.itemsize))
        target = self.engine.columns * (entry % 4)
        zero = self.rng.randint(1, 100)
        self.add(Drain(sums=entry, target=target, channels=self.engine.columns, steps=1, shift=2, zero=zero))
        self.shown(target, self.engine.columns)

    def ties(self, drains: int) -> None:
        """Requantise sums to numbers at the very edges of what float32 rounds to halves, for all steps and shifts."""
        e, rng = self.engine, self.rng
        width = -(-e.columns // e.lanes) * e.lanes
        positions = min(4, e.sums)
        rules = [(steps, 2 + e.digit // 4 * (steps - 1) + place) for steps in range(1, 8) for place in range(PLACES)]
        rules = [(steps, shift) for steps, shift in rules if shift < 16]
        share = e.entries_of(Place.SCALES)
        for start in range(0, drains, e.scales // width // share * share):
            content, made = np.zeros(0, SCALE), []
            for number in range(start, min(drains, start + e.scales // width // share * share)):
                steps, shift = rules[number % len(rules)]
                first = e.sums - 1 - rng.randrange(positions)
                sums = self.machine.sums[first].tolist()
                most = min(258, (self._limit(steps) >> 4 * shift) // 2)
                near = rng.randint(-most, most)
                scales = np.zeros(width, SCALE)
                for column, total in enumerate(sums):
                    most = min((1 << min(MULT_BITS, e.digit * steps)) - 1, (self._limit(steps) >> 2) // max(1, abs(total)))
                    scales["mult"][column] = rng.choice((0, most, rng.randint(0, most)))
                    scales["offset"][column] = self._tie(near, 4 * shift) - int(scales["mult"][column]) * total
                made.append((first, steps, shift, max(-128, min(127, -near)), len(content)))
                content = np.concatenate([content, scales])
            self._constants(Place.SCALES, content.view(np.uint8).reshape(-1, SCALE.itemsize))
            for first, steps, shift, zero, scale in made:
                target = rng.randrange(e.scratchpad - e.columns)
                self.add(
                    Drain(sums=first, target=target, channels=e.columns, scales=scale, steps=steps, shift=shift, zero=zero)
                )
                self.shown(target, e.columns)

    def _tie(self, near: int, bits: int) -> int:
        """A number whose integer part, of ``bits`` bits below it, is near that one, and even or odd just by rounding."""
        rng = self.rng
        quotient = rng.choice((near, near, near + 1, rng.randint(-3, 3) if abs(near) < 100 else near - 1))
        edge = (1 << bits) >> 25 - min(8, (quotient if quotient >= 0 else ~quotient).bit_length())
        far = rng.choice((edge, edge, edge, 2 * edge, edge // 2, 0, 1 << rng.randrange(bits)))
        return (quotient << bits) + rng.choice((1, -1)) * far + rng.choice((0, 0, 1, -1, rng.randint(-3, 3)))

    def shown(self, local: int, size: int) -> None:
        """Bring bytes of the scratchpad to external memory, where nothing changes them any more."""
        self.add(Store(external=self._room(size), local=local, size=size))

    def large_sums(self, parts: int) -> None:
        """Make sums that reach 32 bits and go around, of four positions, and requantise them ``parts`` times meanwhile."""
        e = self.engine
        tiles = min(1023, e.weights // e.rows)
        most = [-128, 127, *(self.rng.randint(-128, 127) for _ in range(e.columns))][: e.columns]
        self._constants(Place.WEIGHTS, np.tile(np.array(most, np.int8).view(np.uint8), (e.weights, 1)))
        self.add(Fill(value=-128, size=e.banks))
        for k, value in enumerate((127, -1)):
            self.add(Fill(value=value, local=(k + 1) * e.banks, size=e.banks))
        positions = min(4, e.sums)
        times = (1 << 31) // (tiles * e.rows << 14) + 2
        for n in range(times):
            self.add(
                Multiply(
                    x_count=positions, x_step=e.banks, k0_count=tiles, sums=e.sums - positions, first=int(n == 0),
                )
            )  # fmt: skip
            if n % -(-times // parts) == 0 or n > times - 6:
                self.drained(e.sums - positions, positions, 1)

    def combine(self) -> bool:
        e, rng = self.engine, self.rng
        if rng.random() < 0.5:
            self.tables()
        x_count, y_count = self.count(min(300, e.scratchpad // 4)), self.count(6)
        single = rng.randint(0, 1)
        rows = [
            self.loops(Combine, (y_count, self.step(x_count + self.any_of(0, 0, 1, 5))), names=(name,))[0]
            for name in ("y_step0", "y_step1", "y_step")
        ]
        places = [self.base(e.scratchpad, x_count, loop) for loop in rows]
        if any(place is None for place in places):
            return False
        first, second, target = (addresses(p or 0, x_count, loop) for p, loop in zip(places, rows, strict=True))
        if first & target or (not single and second & target):
            return False
        shift = self.any_of(*SHIFTS)
        lo, hi = (-128, 127) if rng.random() < 0.5 else sorted(rng.choices(range(-128, 128), k=2))
        self.add(
            Combine(
                source0=places[0], source1=self.anything(Combine, "source1") if single else places[1], target=places[2],
                x_count=x_count, y_count=y_count, y_step0=rows[0][1], y_step=rows[2][1],
                y_step1=self.anything(Combine, "y_step1") if single else rows[1][1],
                single=single, shift=shift, window=self.any_of(0, shift + 1, rng.randint(0, shift + 1)), odd=rng.randint(0, 1),
                lo=lo, hi=hi,
            )
        )  # fmt: skip
        return True

    def tables(self) -> None:
        """Of numbers that a shift makes 8 bits of, of any, of ties."""
        shift, ties = self.any_of(*SHIFTS), self.any_of(0, 1, 1 << 10)
        whole = [self.rng.randint(-100, 100) << shift for _ in range(512)]
        fractions = [self.rng.choice((0, 0, ties, self.rng.getrandbits(shift))) for _ in whole]
        wild = self.rng.random() < 0.2
        values = [self.rng.randint(-(1 << 31), (1 << 31) - 1) if wild else a + b for a, b in zip(whole, fractions, strict=True)]
        entries = np.array(values, "<i4").view(np.uint8).reshape(-1, 4)
        share = self.engine.entries_of(Place.TABLES)
        count = self.any_of(512, 512, share * self.rng.randint(1, 512 // share))
        self._constants(Place.TABLES, entries[:count], self.rng.randint(0, 512 - count))

    def softmax(self) -> bool:
        """With tables of a random scale, in which a quotient may have any number of bits."""
        e, rng = self.engine, self.rng
        channels, x_count, y_count = self.count(e.scratchpad // 8), self.count(4095), self.count(4095)
        if not e.softmax or x_count * y_count * channels > WORK // 32:
            return False
        each = (x_count, self.step(channels, 16)), (y_count, self.step(x_count * channels))
        source = self.loops(Softmax, *each, names=("x_step", "y_step"))
        each = (x_count, self.step(channels, 16)), (y_count, self.step(x_count * channels))
        target = self.loops(Softmax, *each, names=("target_x_step", "target_y_step"))
        read, written = self.base(e.scratchpad, channels, *source), self.base(e.scratchpad, channels, *target)
        if read is None or written is None or addresses(read, channels, *source) & addresses(written, channels, *target):
            return False
        if len(addresses(written, channels, *target)) < channels * x_count * y_count:
            return False  # results that overlap are not written in the order of the vectors
        scale, levels = rng.choice([0.01, 0.1, 0.3]), rng.choice([3.0, 127.0, 256.0, 5000.0])
        exponentials = np.exp((np.arange(256) - rng.randint(200, 255)) * scale).astype(np.float32)
        mantissas, exponents = np.frexp(np.concatenate([exponentials, exponentials * np.float32(levels)]))
        entries = (mantissas * (1 << 24)).astype(np.uint32) | (exponents + 126).astype(np.uint32) << 24
        self._constants(Place.TABLES, entries.astype("<u4").view(np.uint8).reshape(-1, 4))
        self.add(
            Softmax(
                source=read, target=written, channels=channels, x_count=x_count, y_count=y_count, zero=rng.randint(-128, 127),
                x_step=source[0][1], y_step=source[1][1], target_x_step=target[0][1], target_y_step=target[1][1],
            )
        )  # fmt: skip
        return True

    def pool(self) -> bool:
        e = self.engine
        channels = min(4095, self.any_of(1, e.lanes, self.rng.randint(1, 3 * e.lanes), self.count(e.scratchpad // 8)))
        x_count, y_count, kernel_x, kernel_y = self.count(1023), self.count(1023), self.count(31), self.count(31)
        if x_count * y_count * kernel_x * kernel_y * channels > WORK // 8:
            return False
        source = self.loops(
            Pool,
            (kernel_x, self.step(channels, 16)), (kernel_y, self.step(kernel_x * channels)),
            (x_count, self.step(2 * channels, 16)), (y_count, self.step(self.any_of(channels, 2 * x_count * channels))),
            names=("kernel_x_step", "kernel_y_step", "x_step", "y_step"),
        )  # fmt: skip
        target = self.loops(
            Pool, (x_count, self.step(channels, 16)), (y_count, self.step(x_count * channels)),
            names=("target_x_step", "target_y_step"),
        )  # fmt: skip
        read, written = self.base(e.scratchpad, channels, *source), self.base(e.scratchpad, channels, *target)
        if read is None or written is None or addresses(read, channels, *source) & addresses(written, channels, *target):
            return False
        self.add(
            Pool(
                source=read, target=written, channels=channels, x_count=x_count, y_count=y_count,
                kernel_x=kernel_x, kernel_y=kernel_y, kernel_x_step=source[0][1], kernel_y_step=source[1][1],
                x_step=source[2][1], y_step=source[3][1], target_x_step=target[0][1], target_y_step=target[1][1],
            )
        )  # fmt: skip
        return True


def reach(width: int, *loops: Loop) -> tuple[int, int]:
    """The first byte and the one after the last of all places where ``width`` bytes are touched."""
    ends = [(count - 1) * step for count, step in loops]
    return sum(min(0, end) for end in ends), sum(max(0, end) for end in ends) + width


def addresses(start: int, width: int, *loops: Loop) -> set[int]:
    """All bytes that are touched."""
    found = np.arange(start, start + width)
    for count, step in loops:
        found = np.unique(found[:, None] + np.arange(count) * step)
    return set(found.tolist())


#: What programs are made of: each kind of instruction by itself, with those that it needs; and all.
KINDS: dict[str, Callable[[Writer], tuple[Callable[[], bool], ...]]] = {
    "load": lambda w: (w.load, w.load, w.load_entries),
    "fill": lambda w: (w.fill,),
    "store": lambda w: (w.store,),
    "matrix": lambda w: (w.matrix, w.matrix, w.matrix, w.load_entries),
    "depthwise": lambda w: (w.depthwise, w.depthwise, w.depthwise, w.load_entries),
    "drain": lambda w: (w.drain, w.drain, w.drain, w.matrix),
    "combine": lambda w: (w.combine,),
    "pool": lambda w: (w.pool,),
    "sums": lambda w: (w.matrix, w.depthwise, w.drain),
    "softmax": lambda w: (w.softmax,),
    "all": lambda w: (
        w.load, w.load_entries, w.fill, w.store, w.matrix, w.matrix, w.depthwise, w.drain, w.drain, w.combine, w.pool,
    ) + ((w.softmax,) if w.engine.softmax else ()),
}  # fmt: skip


def random_program(engine: Engine, kind: str, seed: int, length: int) -> Program:
    """``length`` instructions of a kind, and what is around them."""
    writer = Writer(engine, seed)
    for _ in range(length):
        writer.some(*KINDS[kind](writer))
    return writer.finished()
