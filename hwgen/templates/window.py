"""Sliding windows of an image: the line buffer in front of a convolution or pooling engine."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources, even
from ..graph import window_count
from ..streams import Stream, Words, serve
from .pieces import check_counts
from .settings import Configurable, Setting

__all__ = ["Padding", "Window", "WindowParams"]

LUT_DEPTH = 64  #: memories of more words are block RAM


@dataclass(frozen=True, kw_only=True)
class WindowParams:
    """Windows of ``kernel`` over an image, ``rows`` kernel rows and ``lanes`` channels in each word.

    For each output row, output column, group, block of ``rows`` kernel rows, kernel column and chunk of ``lanes`` channels of
    the group there is one output word; its element ``r·lanes + c`` is
    ``x[oy·sh + (block·rows + r)·dh - top, ox·sw + kx·dw - left, group·channels/groups + chunk·lanes + c]``, or ``pad_value``
    outside the image. The input is the image as a stream (NHWC).

    Parameters
    ----------
    lanes
        Divides ``channels / groups``.
    rows
        Divides ``kernel[0]``. The line buffer is kept ``rows`` times, as many words being read at once.
    kernel, strides, dilations
        (vertical, horizontal).
    pads
        (top, left, bottom, right) rows and columns, as ONNX orders them.
    programmable
        Whether ``pad_value`` is a setting, part of the contents.
    """

    element: IntType
    height: int
    width: int
    channels: int
    lanes: int
    rows: int = 1
    groups: int = 1
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    programmable: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "height", "width", "channels", "lanes", "rows", "groups")
        for name in ("kernel", "strides", "dilations"):
            if len(getattr(self, name)) != 2 or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be two positive numbers, not {getattr(self, name)!r}")
        if len(self.pads) != 4 or min(self.pads) < 0:
            raise ValueError(f"pads must be four numbers that are not negative, not {self.pads!r}")
        if self.channels % self.groups:
            raise ValueError(f"groups must divide the {self.channels} channels, not {self.groups!r}")
        if self.channels // self.groups % self.lanes:
            raise ValueError(f"lanes must divide the {self.channels // self.groups} channels of a group, not {self.lanes!r}")
        if self.kernel[0] % self.rows:
            raise ValueError(f"rows must divide the {self.kernel[0]} kernel rows, not {self.rows!r}")
        if not self.element.min <= self.pad_value <= self.element.max:
            raise ValueError(f"pad_value must be in {self.element.min}..{self.element.max}, not {self.pad_value!r}")
        if self.out_height < 1 or self.out_width < 1:
            fit = f"fit into the padded image of {self._padded_height}×{self._padded_width}"
            raise ValueError(f"kernel must {fit}, not {self.kernel!r} dilated by {self.dilations!r}")

    @property
    def out_height(self) -> int:
        return window_count(self.height, self.kernel[0], self.strides[0], self.dilations[0], self.pads[0], self.pads[2])

    @property
    def out_width(self) -> int:
        return window_count(self.width, self.kernel[1], self.strides[1], self.dilations[1], self.pads[1], self.pads[3])

    @property
    def words_per_vector(self) -> int:
        """Output words of one window and group."""
        return self.kernel[0] // self.rows * self.kernel[1] * (self.channels // self.groups // self.lanes)

    @property
    def words_per_window(self) -> int:
        """Output words of one window, all its groups."""
        return self.words_per_vector * self.groups

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=self.lanes, words=self.height * self.width * self.pixel),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.element, lanes=self.rows * self.lanes, words=self.windows * self.words_per_window),)

    # Lengths in words of the padded raster: a pixel, a row, an image; and the reach of a window.

    @property
    def windows(self) -> int:
        return self.out_height * self.out_width

    @property
    def pixel(self) -> int:
        return self.channels // self.lanes

    @property
    def _padded_height(self) -> int:
        return self.height + self.pads[0] + self.pads[2]

    @property
    def _padded_width(self) -> int:
        return self.width + self.pads[1] + self.pads[3]

    @property
    def row(self) -> int:
        return self._padded_width * self.pixel

    @property
    def written(self) -> int:
        """Words of one frame's padded image."""
        return self._padded_height * self.row

    @property
    def pause(self) -> int:
        """Words of padding that may be written in a row, from one frame's last row to the next one's first."""
        return (self.pads[0] + self.pads[2]) * self.row + (self.pads[1] + self.pads[3]) * self.pixel

    @property
    def span(self) -> int:
        """Words of the padded image from a window's first to its last, both included."""
        return (self.kernel[0] - 1) * self.dilations[0] * self.row + ((self.kernel[1] - 1) * self.dilations[1] + 1) * self.pixel

    def _first(self, window: Any) -> Any:
        """Position of a window's first word in the padded image; windows and words count on through frames."""
        frame, window = np.divmod(np.asarray(window, np.int64), self.windows)
        y, x = np.divmod(window, self.out_width)
        return frame * self.written + y * self.strides[0] * self.row + x * self.strides[1] * self.pixel

    def _received(self, position: Any) -> Any:
        """How many of the first ``position`` words of padded images come from the input."""
        frame, rest = np.divmod(np.asarray(position, np.int64), self.written)
        row, x = np.divmod(rest, self.row)
        inside = np.clip(x - self.pads[1] * self.pixel, 0, self.width * self.pixel)
        row = row - self.pads[0]
        of_row = np.where((row >= 0) & (row < self.height), inside, 0)
        return frame * self.inputs[0].words + np.clip(row, 0, self.height) * self.width * self.pixel + of_row

    @cached_property
    def capacity(self) -> int:
        """Words stored: one input row for each kernel row and for each row of a stride, or more where full rate needs it.

        Full rate: windows leave evenly, ``max(output words, written words)`` cycles a frame, and each word is written as late
        as the window that needs it allows; what lies between a window's first word and the last one written while it is
        read has to be stored. A consumer that always takes, or takes windows at any slower pace, needs no more.
        """
        windows, period = self.windows, max(self.outputs[0].words, self.written)
        index = np.arange(3 * windows)
        needed = self._first(index) + self.span
        start = np.arange(3 * windows + 1) * period // windows
        # Words of needed[k-1]..needed[k]-1 are written at (their position) + late[k].
        late = np.minimum.accumulate((start[:-1] - needed)[::-1])[::-1]
        end = start[1:] - 1
        segment = np.searchsorted(needed - 1 + late, end[: 2 * windows], side="right")
        segment = np.minimum(segment, 3 * windows - 1)
        before = np.where(segment > 0, needed[segment - 1], 0)
        count = np.maximum(before, np.minimum(end[: 2 * windows] - late[segment] + 1, needed[segment]))
        exact = int((count - self._first(index[: 2 * windows])).max())
        depth = max(exact, ((self.kernel[0] - 1) * self.dilations[0] + 1 + self.strides[0]) * self.row)
        power = 1 << (depth - 1).bit_length()  # addresses that wrap by themselves, where that takes no more memory
        small, large = self._memory(depth), self._memory(power)
        return power if (small.bram, small.bram or small.lut) == (large.bram, large.bram or large.lut) else depth

    def _memory(self, depth: int, memories: Memories = BLOCKS_18K) -> Resources:
        """One copy of the memory. Beyond ``LUT_DEPTH`` words of LUT memory a block RAM is the better choice."""
        bits = self.inputs[0].bits
        return memories.small(depth, bits) if depth <= LUT_DEPTH else memories.large(depth, bits, written=True)

    def compute(self, words: Words, contents: "Padding | None" = None) -> Words:
        top, left, bottom, right = self.pads
        padding = self.pad_value if contents is None else contents.value
        image = np.asarray(words, np.int64).reshape(-1, self.height, self.width, self.channels)
        image = np.pad(image, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=padding)
        y = np.arange(self.out_height)[:, None] * self.strides[0] + np.arange(self.kernel[0]) * self.dilations[0]
        x = np.arange(self.out_width)[:, None] * self.strides[1] + np.arange(self.kernel[1]) * self.dilations[1]
        taps = image[:, y][:, :, :, x]  # frame, oy, ky, ox, kx, channel
        blocks = self.kernel[0] // self.rows
        split = (len(image), self.out_height, blocks, self.rows, self.out_width, self.kernel[1], self.groups, -1, self.lanes)
        return taps.reshape(split).transpose(0, 1, 4, 6, 2, 5, 7, 3, 8).reshape(-1, self.rows * self.lanes)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """A word leaves two cycles after the last word of its window was written, if the words before it have left.

        Writing waits for windows, reading for words: the least solution, from below.
        """
        frames = len(arrivals) // self.inputs[0].words
        position = np.arange(frames * self.written)
        received = self._received(np.arange(frames * self.written + 1))
        offered = np.zeros(len(position), np.int64)
        offered[np.diff(received) > 0] = arrivals
        windows = frames * self.windows
        last = self._first(np.arange(windows)) + self.span - 1
        # A word may be written once the window before the first that starts above (position - capacity) has been read.
        freed_by = np.searchsorted(self._first(np.arange(windows)), position - self.capacity + 1)
        free = np.zeros(windows + 1, np.int64)
        while True:
            writes = serve(np.maximum(offered, free[freed_by]))
            reads = serve(writes[last] + 1, self.words_per_window)
            now = np.concatenate(([0], reads + self.words_per_window))
            if (now == free).all():
                break
            free = now
        return (reads[:, None] + 1 + np.arange(self.words_per_window)).reshape(-1)

    def needed(self, k: Any, port: int = 0) -> Any:
        return self._received(self._first(np.asarray(k) // self.words_per_window) + self.span)

    def accepted(self, k: Any, port: int = 0) -> Any:
        """While word k is on offer the next one has not been read, so its window's first word is still stored."""
        return self._received(self._first((np.asarray(k) + 1) // self.words_per_window) + self.capacity)

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled: addresses and balances are carry chains, twice as much and a choice where an address wraps; a register for
        each bit of the steps that differs from the others.
        """
        address, bits = (self.capacity - 1).bit_length(), self.inputs[0].bits
        wrap = self.capacity != 1 << address
        chain = even(address) + (even(address + 1) + address if wrap else 0)
        counters = [(n - 1).bit_length() for n, _ in self.loops]
        balance = (2 * self.capacity + self.written).bit_length() + 1
        steps, padded = self._step_bits(wrap), [(n - 1).bit_length() for n in self._padded_loops]
        lut = (
            (self.rows + 1) * chain
            + 2 * even(balance)
            + steps * (2 if sum(n > 0 for n in counters) > 4 else 1)
            + 3 * sum(counters) // 2
            + sum(2 * n + 5 for n in padded)
            + (bits if padded else 0)
            + 10
        )
        ff = (self.rows + 1) * address + 2 * balance + steps + sum(counters) + sum(padded) + len(padded) + 1
        resources = Resources(lut=lut, ff=ff + (self.element.bits if self.programmable else 0))
        for _ in range(self.rows):
            resources += self._memory(self.capacity, memories)
        return Cost(cycles=max(self.outputs[0].words, self.written), resources=resources)

    @property
    def _padded_loops(self) -> list[int]:
        """Steps of the counters that know where padding is: of a row and of its rows, or of the whole image."""
        top, left, bottom, right = self.pads
        if left or right:
            return [self.row, self._padded_height] if top or bottom else [self.row]
        return [self.written] if top or bottom else []

    def _step_bits(self, wrap: bool) -> int:
        """Bits of the steps of address and window that are not constant and differ from each other."""
        rows = [step for (n, _), step in zip(self.loops, self.steps, strict=True) if n > 1] + [self.steps[-1]]
        values = np.array(rows)[:, [0, 1, 2] if wrap else [0, 2]]
        columns = (values[..., None] >> np.arange(values.max(initial=self.capacity).item().bit_length() + 1) & 1).reshape(
            len(rows), -1
        )
        return len({tuple(c) for c in columns.T.tolist() if 0 < sum(c) < len(rows)})

    @property
    def steps(self) -> list[tuple[int, int, int]]:
        """For each loop, if it is the innermost that goes on: how far the next word lies, the same less the capacity, and minus
        how far the next window lies (0 within a window).
        """
        counts, strides = zip(*self.loops, strict=True)
        walked = np.concatenate(([0], np.cumsum([(n - 1) * s for n, s in self.loops])))
        inner = len(counts) - 3
        ups = [int(s - w) % self.capacity for s, w in zip(strides, walked, strict=False)]
        jumps = [0] * inner + [int(s - w + walked[inner]) for s, w in zip(strides[inner:], walked[inner:], strict=False)]
        return [(up, up - self.capacity, -jump) for up, jump in zip(ups, jumps, strict=True)]

    @property
    def loops(self) -> list[tuple[int, int]]:
        """Loops of the reader, innermost first: (iterations, words from one to the next); the last three are ox, oy, frame.

        Loops within a window that walk evenly are joined into one.
        """
        chunks = self.pixel // self.groups
        inner: list[tuple[int, int]] = []
        for count, stride in (
            (chunks, 1),
            (self.kernel[1], self.dilations[1] * self.pixel),
            (self.kernel[0] // self.rows, self.rows * self.dilations[0] * self.row),
            (self.groups, chunks),
        ):
            if inner and stride == inner[-1][0] * inner[-1][1]:
                inner[-1] = (inner[-1][0] * count, inner[-1][1])
            elif count > 1:
                inner.append((count, stride))
        outer = [
            (self.out_width, self.strides[1] * self.pixel),
            (self.out_height, self.strides[0] * self.row),
            (1, self.written),
        ]
        return inner + outer

    def settings(self, contents: "Padding | None") -> tuple[Setting, ...]:
        """The value of padding; none unless ``programmable``."""
        if (contents is not None) != self.programmable:
            raise ValueError(f"padding must be {'given' if self.programmable else 'None'}, not {contents}")
        return () if contents is None else (Setting(name="pad_value", element=self.element, value=contents.value),)

    def create(self, contents: "Padding | None" = None) -> "Window":
        return Window(self, self.settings(contents))


@dataclass(frozen=True, kw_only=True)
class Padding:
    """What padding is, where the hardware is programmable."""

    value: int


class Window(Configurable):
    """Hardware for :class:`WindowParams`: one word read and one written per cycle.

    The padded image goes round a memory of ``capacity`` words; padding is written like words that came in. ``ahead``, the
    words written beyond the first of the window being read, says whether the window may be read (``ahead >= span``) and
    whether a word may be written (``ahead < capacity``); it is kept less each bound, so that either answer is a sign.
    Reading addresses advance by one constant for each loop, which is chosen a step early.

    Members
    -------
    i, o : streams ``params.inputs[0]`` and ``params.outputs[0]``
    """

    def __init__(self, params: WindowParams, settings: tuple[Setting, ...] = ()):
        self.params = params
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)}, settings)

    def elaborate(self, platform: Any) -> Module:
        p = self.params
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(
            shape=p.inputs[0].bits,
            depth=p.capacity,
            init=[],
            # A word is never read while it is written: no logic for that.
            attrs={"ram_style": "block" if p.capacity > LUT_DEPTH else "distributed", "no_rw_check": 1},
        )
        write, read, enable = Signal(), Signal(), Signal()
        up, down, jump = self._steps(m, read)
        readable, writable = self._balances(m, write, Mux(read, jump, 0))
        padding = self._padding(m, write)
        pad_value = self.set(m).get("pad_value", Const(p.pad_value, p.element.shape))

        w_port = buffer.write_port()
        m.d.sync += w_port.addr.eq(_wrapped(w_port.addr, write, write - p.capacity, p.capacity))
        m.d.comb += [
            write.eq(writable & (self.i.valid | padding)),
            self.i.ready.eq(writable & ~padding),
            w_port.en.eq(write),
            w_port.data.eq(Mux(padding, pad_value.as_unsigned().replicate(p.lanes), self.i.payload.as_value())),
        ]

        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), read.eq(enable & readable)]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(readable)
        words = []
        for row in range(p.rows):
            address = Signal(range(p.capacity), name=f"address{row}", init=row * p.dilations[0] * p.row % p.capacity)
            with m.If(read):
                m.d.sync += address.eq(_wrapped(address, up, down, p.capacity))
            r_port = buffer.read_port()
            m.d.comb += [r_port.en.eq(read), r_port.addr.eq(address)]
            words.append(r_port.data)
        m.d.comb += self.o.payload.eq(Cat(words))
        return m

    def _steps(self, m: Module, read: Value) -> tuple[Value, Value, Value]:
        """How far the next word lies, less the capacity too, and minus how far the next window lies (0 within a window).

        The loops' counters are one step ahead of the addresses.
        """
        p = self.params
        counts = [n for n, _ in p.loops]
        first = next((k for k, n in enumerate(counts) if n > 1), len(counts) - 1)
        init = p.steps[first]
        up = Signal(range(p.capacity), init=init[0])
        down = Signal(range(-p.capacity, 1), init=init[1])
        jump = Signal(range(min(step[2] for step in p.steps), 1), init=init[2])

        choice: tuple[Any, Any, Any] = p.steps[-1]
        lasts: list[Value] = []
        for k, n in enumerate(counts[:-1]):
            counter = Signal(range(n), name=f"loop{k}", init=int(k == first))
            last = Signal(name=f"last{k}")
            m.d.comb += last.eq(counter == n - 1)
            with m.If(read & Cat(lasts).all()):
                m.d.sync += counter.eq(Mux(last, 0, counter + 1))
            lasts.append(last)
        for k in reversed(range(len(lasts))):
            choice = tuple(Mux(lasts[k], other, this) for other, this in zip(choice, p.steps[k], strict=True))
        with m.If(read):
            m.d.sync += [up.eq(choice[0]), down.eq(choice[1]), jump.eq(choice[2])]
        return up, down, jump

    def _balances(self, m: Module, write: Value, jump: Value) -> tuple[Value, Value]:
        """Whether the window may be read, and whether a word may be written."""
        p = self.params
        width = (2 * p.capacity + p.written).bit_length() + 1
        short = Signal(signed(width), init=-p.span)  # ahead - span
        over = Signal(signed(width), init=-p.capacity)  # ahead - capacity
        change = Signal(signed(width))
        m.d.comb += change.eq(jump)
        for balance in (short, over):  # one carry chain, its carry in being the word written
            m.d.sync += balance.eq((Cat(Const(1, 1), balance) + Cat(write, change))[1 : width + 1])
        return ~short[-1], over[-1]

    def _padding(self, m: Module, write: Value) -> Value:
        """Whether the next word written is padding."""
        p = self.params
        top, left, bottom, right = p.pads
        row = p.width * p.pixel
        if left or right:
            x_outside, x_last = _outside(m, "x", write, left * p.pixel, row, right * p.pixel)
            y_outside, _ = _outside(m, "y", write & x_last, top, p.height, bottom)
            return x_outside | y_outside
        return _outside(m, "x", write, top * row, p.height * row, bottom * row)[0]


def _wrapped(address: Any, up: Any, down: Any, capacity: int) -> Value:
    """``address + up`` modulo ``capacity``; ``down`` is ``up - capacity``."""
    if capacity & capacity - 1 == 0:
        return address + up
    below = Value.cast(address + down)
    return Mux(below[-1], address + up, below)


def _outside(m: Module, name: str, step: Value, before: int, inside: int, after: int) -> tuple[Value, Value]:
    """Count steps round ``before + inside + after``: whether outside the middle part, and whether at the last step."""
    if not before and not after and name != "x":
        return Const(0), Const(0)
    total = before + inside + after
    position = Signal(range(total), name=f"{name}_position")
    outside = Signal(name=f"{name}_outside", init=before > 0)
    last = Signal(name=f"{name}_last")
    m.d.comb += last.eq(position == total - 1)
    with m.If(step):
        m.d.sync += position.eq(Mux(last, 0, position + 1))
        with m.If(last):
            m.d.sync += outside.eq(before > 0)
        with m.Elif(position == before - 1):
            m.d.sync += outside.eq(0)
        with m.Elif(position == before + inside - 1):
            m.d.sync += outside.eq(1)
    return outside, last
