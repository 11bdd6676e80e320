"""Run a template's hardware in Amaranth's simulator and time its streams; for tests."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.sim import Simulator

from .streams import Words

__all__ = ["NO_STALL", "STALLS", "Run", "run_streams"]

NO_STALL = (0,)
STALLS = (NO_STALL, (1, 1, 0), (0, 0, 0, 1, 0, 1, 1))  #: patterns of pauses: 1 = pause for a cycle; repeated for ever


@dataclass(frozen=True, kw_only=True)
class Run:
    """What :func:`run_streams` saw.

    Parameters
    ----------
    outputs
        For each output port the words taken.
    arrivals
        For each input port the cycles at which words were first offered.
    taken
        For each input port the cycles at which words were transferred.
    departures
        For each output port the cycles at which words were transferred.
    """

    outputs: tuple[Words, ...]
    arrivals: tuple[np.ndarray, ...]
    taken: tuple[np.ndarray, ...]
    departures: tuple[np.ndarray, ...]


def run_streams(
    params: Any,
    inputs: Sequence[Words],
    n_out: Sequence[int],
    *,
    contents: Any = None,
    i_pause: Sequence[int] = NO_STALL,
    o_pause: Sequence[int] = NO_STALL,
    limit: int = 100_000,
) -> Run:
    """Feed ``inputs`` (one array of words for each port) to ``params.create()``, collect ``n_out`` words of each output.

    Checks on the way that an offered output stays offered and unchanged until taken.
    """
    dut = params.create() if contents is None else params.create(contents)
    i_ports = [getattr(dut, n) for n in (["i"] if len(inputs) == 1 else [f"i{k}" for k in range(len(inputs))])]
    o_ports = [getattr(dut, n) for n in (["o"] if len(n_out) == 1 else [f"o{k}" for k in range(len(n_out))])]
    offered: list[list[int]] = [[] for _ in i_ports]
    taken: list[list[int]] = [[] for _ in i_ports]
    words: list[list[list[int]]] = [[] for _ in o_ports]
    left: list[list[int]] = [[] for _ in o_ports]
    now = -1  # the first cycle after reset is 0
    finished = False

    def feed(index: int) -> Any:
        async def process(ctx: Any) -> None:
            port, pause = i_ports[index], itertools.cycle(i_pause)
            for word in inputs[index].tolist():
                while next(pause):
                    ctx.set(port.valid, 0)
                    await ctx.tick()
                ctx.set(port.payload, word)
                ctx.set(port.valid, 1)
                offered[index].append(now)
                while True:
                    _, _, ready = await ctx.tick().sample(port.ready)
                    if ready:
                        break
                    if finished:
                        return
                taken[index].append(now - 1)
            ctx.set(port.valid, 0)

        return process

    def drain(index: int) -> Any:
        async def process(ctx: Any) -> None:
            port, pause, held = o_ports[index], itertools.cycle(o_pause), None
            while len(words[index]) < n_out[index]:
                ready = not next(pause)
                ctx.set(port.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
                word = list(payload) if valid else None
                if held is not None and word != held:
                    raise AssertionError(f"output {index} changed from {held} to {word} before it was taken")
                held = word if not ready else None
                if word is not None and ready:
                    words[index].append(word)
                    left[index].append(now - 1)
            ctx.set(port.ready, 0)

        return process

    async def clock(ctx: Any) -> None:
        nonlocal now, finished
        while any(len(words[k]) < n for k, n in enumerate(n_out)):
            if now > limit:
                got = [len(w) for w in words]
                raise AssertionError(f"no output after {limit} cycles: {got} of {list(n_out)} words")
            now += 1
            await ctx.tick()
        finished = True

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(clock)
    for k in range(len(i_ports)):
        sim.add_testbench(feed(k))
    for k in range(len(o_ports)):
        sim.add_testbench(drain(k))
    sim.run()
    return Run(
        outputs=tuple(np.array(w, np.int64) for w in words),
        arrivals=tuple(np.array(a) for a in offered),
        taken=tuple(np.array(t) for t in taken),
        departures=tuple(np.array(d) for d in left),
    )
