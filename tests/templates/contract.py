"""What every template's timing must satisfy, checked in simulation; see docs/architecture.md."""

from typing import Any

import numpy as np
from amaranth.sim import Simulator

from hwgen.streams import Words
from hwgen.testing import run_streams

FRAMES = 4


def random_words(params: Any, frames: int = FRAMES, seed: int = 5) -> list[Words]:
    rng = np.random.default_rng(seed)
    return [rng.integers(s.element.min, s.element.max + 1, (s.words * frames, s.lanes)) for s in params.inputs]


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def check_timing(params: Any, contents: Any = None) -> None:
    """Input always there, output always taken: departures as modelled, frames ``cost().cycles`` apart."""
    inputs = random_words(params)
    n_out = [s.words * FRAMES for s in params.outputs]
    run = run_streams(params, inputs, n_out, contents=contents)
    modelled = as_tuple(params.departures(*run.arrivals))
    unconstrained = as_tuple(params.departures(*[np.arange(len(a)) for a in run.arrivals]))
    for measured, model, early, stream in zip(run.departures, modelled, unconstrained, params.outputs, strict=True):
        assert measured.tolist() == model.tolist()
        assert measured.tolist() == early.tolist()
        assert np.diff(measured[stream.words - 1 :: stream.words]).tolist() == [params.cost().cycles] * (FRAMES - 1)


def check_arrivals(params: Any, contents: Any = None) -> None:
    """Words that arrive now and then: departures as modelled from the cycles at which they were offered."""
    n_out = [s.words * FRAMES for s in params.outputs]
    for pause in ((1, 0), (0, 0, 1, 1, 1, 1), (0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1)):
        run = run_streams(params, random_words(params), n_out, contents=contents, i_pause=pause)
        for measured, model in zip(run.departures, as_tuple(params.departures(*run.arrivals)), strict=True):
            assert measured.tolist() == model.tolist()


def check_limits(params: Any, contents: Any = None) -> None:
    """Output word k is offered with exactly ``needed(k)`` words of each input, and not with one fewer of any; while it is not
    taken no input delivers more than ``accepted(k)``.
    """
    words = random_words(params)
    for k in sorted({0, 1, params.outputs[0].words - 1, params.outputs[0].words, 2 * params.outputs[0].words - 1}):
        needed = [int(params.needed(np.array([k]), port)[0]) for port in range(len(words))]
        offered, _ = _starved(params, contents, words, k, needed)
        assert offered, f"word {k} is not offered once {needed} words are in"
        for port, n in enumerate(needed):
            if n:
                fewer = [n - (p == port) for p, n in enumerate(needed)]
                assert not _starved(params, contents, words, k, fewer)[0], f"word {k} is offered with {fewer} words"
        _, delivered = _starved(params, contents, words, k, [len(w) for w in words])
        for port, n in enumerate(delivered):
            bound = int(params.accepted(np.array([k]), port)[0])
            assert n == min(bound, len(words[port])), f"word {k} of {port}: {n} words delivered, bound {bound}"


def _starved(params: Any, contents: Any, words: list[Words], k: int, limits: list[int]) -> tuple[bool, list[int]]:
    """Offer ``limits`` words, take k output words of each output, none after: whether word k is offered; words delivered."""
    dut = params.create() if contents is None else params.create(contents)
    i_ports = [getattr(dut, n) for n in (["i"] if len(words) == 1 else [f"i{p}" for p in range(len(words))])]
    outputs = len(params.outputs)
    o_ports = [getattr(dut, n) for n in (["o"] if outputs == 1 else [f"o{p}" for p in range(outputs)])]
    delivered = [0] * len(words)
    offered = False
    idle = params.cost().cycles + 20

    async def process(ctx: Any) -> None:
        nonlocal offered
        taken, quiet = [0] * outputs, 0
        while quiet < idle:
            for port, data, n, limit in zip(i_ports, words, delivered, limits, strict=True):
                ctx.set(port.valid, n < limit)
                ctx.set(port.payload, data[min(n, limit - 1)].tolist())
            for port, n in zip(o_ports, taken, strict=True):
                ctx.set(port.ready, n < k)
            got = [ctx.get(port.valid & port.ready) for port in i_ports]
            left = [ctx.get(port.valid & port.ready) for port in o_ports]
            offered = all(n == k and ctx.get(port.valid) for n, port in zip(taken, o_ports, strict=True))
            quiet = 0 if any(got) or any(left) else quiet + 1
            delivered[:] = [n + g for n, g in zip(delivered, got, strict=True)]
            taken = [n + g for n, g in zip(taken, left, strict=True)]
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(process)
    sim.run()
    return offered, delivered
