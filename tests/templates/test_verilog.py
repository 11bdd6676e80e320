"""Every template as emitted Verilog, under cocotb and Verilator: same numbers, same timing. One simulation holds all cases."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.arith import IntType
from hwgen.graph import QuantType
from hwgen.hardware.bench import Bench, Channel
from hwgen.hardware.verilog import convert
from hwgen.mapping.design import Stage
from hwgen.streams import Stream
from hwgen.templates import TEMPLATES
from hwgen.templates.add import AddParams, AddTables, add_block
from hwgen.templates.argmax import ArgMaxParams
from hwgen.templates.average import average
from hwgen.templates.concat import ConcatParams
from hwgen.templates.depthwise import DepthwiseParams
from hwgen.templates.fifo import FifoParams
from hwgen.templates.fork import ForkParams
from hwgen.templates.matrix_vector import MatrixVectorParams, Weights
from hwgen.templates.pool import GlobalSumParams, WindowMaxParams
from hwgen.templates.requant import RequantParams, Scales
from hwgen.templates.softmax import softmax_params
from hwgen.templates.table import table_params
from hwgen.templates.width import WidthParams
from hwgen.templates.window import WindowParams

from .contract import as_tuple

FRAMES = 6
INT4, INT8, UINT8, INT9, INT12, INT20 = IntType(4), IntType(8), IntType(8, False), IntType(9), IntType(12), IntType(20)
RNG = np.random.default_rng(7)


def weights(*shape: int) -> Weights:
    return Weights(values=RNG.integers(-128, 128, shape))


def quant(integer: IntType, scale: float, zero_point: int) -> QuantType:
    return QuantType(integer=integer, scale=float(np.float32(scale)), zero_point=zero_point)


def add_fixes(count: int) -> tuple[AddParams, AddTables]:
    """A real addition in which some pairs of operands are corrected."""
    int3 = IntType(3)  # narrow, so that random words meet the pairs
    a, b, y = quant(int3, 0.05, 1), quant(int3, 0.03, -2), quant(INT8, 0.0031, 5)
    params, tables = add_block(a, b, y, -128, 127, lanes=2, words=20)
    pairs = np.stack(np.divmod(RNG.choice(64, count, replace=False), 8)) - 4
    fixes = np.concatenate([pairs, RNG.integers(1, 40, (1, count))]).T
    return replace(params, fixes=count), replace(tables, fixes=fixes)


def requant(fixes: int = 0, **changes: Any) -> tuple[RequantParams, Scales]:
    """Random scales; accumulators 0, 1, ... of the channels are fixed."""
    values: dict[str, Any] = {
        "accumulator": INT12, "output": INT8, "vectors": 3, "groups": 1, "channels": 6, "pe": 6, "lanes": 2, "steps": 3,
        "mult": IntType(7, False), "offset": IntType(18), "shift": 10, "window": 4, "odd": 1, "lo": -128, "hi": 127,
    }  # fmt: skip
    params = RequantParams(**{**values, **changes}, fixes=fixes)
    n = params.groups * params.channels
    mult, offset = (
        RNG.integers(0, params.mult.max, n, endpoint=True),
        RNG.integers(params.offset.min, params.offset.max, n) // 4,
    )
    fixed = np.stack([np.arange(fixes) % n, np.arange(fixes) // n, RNG.integers(1, 40, fixes)], axis=1)
    return params, Scales(mult=mult, offset=offset, fixes=fixed)


MAC = {"operand": INT8, "weight": INT8, "accumulator": INT20}
IMAGE = {"height": 5, "width": 6, "channels": 4}
CASES: list[tuple[str, Any, Any]] = [
    ("fifo", FifoParams(stream=Stream(element=IntType(5), lanes=3, words=30), depth=4), None),
    ("fifo_bram", FifoParams(stream=Stream(element=UINT8, lanes=1, words=30), depth=40, registered=True), None),
    ("window", WindowParams(element=INT8, **IMAGE, lanes=2, kernel=(3, 3), pads=(1, 1, 1, 1), pad_value=-7), None),
    ("window_rows", WindowParams(element=UINT8, **IMAGE, lanes=4, rows=3, kernel=(3, 2), strides=(2, 1)), None),
    ("window_groups", WindowParams(element=INT8, **IMAGE, lanes=1, groups=4, kernel=(2, 2), dilations=(2, 1)), None),
    ("mac", MatrixVectorParams(**MAC, vectors=4, words=3, sources=2, packing=2, channels=7, pe=3), weights(1, 7, 3, 2)),
    ("mac_stream", MatrixVectorParams(**MAC, vectors=4, words=4, sources=3, channels=2, pe=2), weights(1, 2, 4, 3)),
    ("mac_groups", MatrixVectorParams(**MAC, vectors=3, groups=2, words=2, sources=1, channels=3, pe=1), weights(2, 3, 2, 1)),
    ("depthwise", DepthwiseParams(**MAC, vectors=3, channels=4, lanes=2, rows=3, words=3), weights(2, 1, 3, 6)),
    ("depthwise_one", DepthwiseParams(**MAC, vectors=5, channels=3, lanes=1, rows=1, words=9), weights(3, 1, 9, 1)),
    ("requant", *requant()),
    ("requant_fast", *requant(lanes=6, steps=1, vectors=5)),
    ("requant_folds", *requant(pe=4, channels=10, steps=2, odd=0)),
    ("requant_groups", *requant(pe=2, groups=2, steps=7, window=-1, output=UINT8, lo=3, hi=250)),
    ("requant_fixes", *requant(fixes=9, accumulator=INT4, offset=IntType(11), vectors=20, steps=2, shift=4, window=2)),
    ("add", *add_block(quant(INT8, 0.021, 4), quant(INT8, 0.013, -7), quant(INT8, 0.03, -128), -128, 100, lanes=1, words=30)),
    ("add_mixed", *add_block(quant(UINT8, 0.11, 7), quant(INT8, 0.193, 0), quant(UINT8, 0.257, 9), 9, 255, lanes=3, words=10)),
    ("add_ties", *add_block(quant(INT8, 0.25, 3), quant(INT8, 0.5, -7), quant(INT8, 1, 5), -128, 127, lanes=1, words=20)),
    ("add_fixes", *add_fixes(5)),
    ("pair_table", *add_block(quant(INT8, 0.05, 3), quant(INT8, 0.1, -7), quant(INT8, 0.12, 5), -128, 127, lanes=1, words=20)),
    ("widen", WidthParams(stream=Stream(element=INT9, lanes=2, words=30), lanes=6), None),
    ("narrow", WidthParams(stream=Stream(element=INT9, lanes=6, words=10), lanes=3), None),
    ("fork", ForkParams(stream=Stream(element=INT8, lanes=2, words=20), branches=3), None),
    ("concat", ConcatParams(element=INT8, lanes=2, channels=(4, 2, 6), pixels=5), None),
    ("largest", WindowMaxParams(element=INT8, words=3, rows=3, lanes=2, vectors=8), None),
    ("total", GlobalSumParams(element=UINT8, accumulator=INT20, pixels=9, channels=6, lanes=2), None),
    ("argmax", ArgMaxParams(element=INT8, channels=9), None),
    ("argmax_last", ArgMaxParams(element=INT4, channels=30, last=True), None),
    ("table", *table_params(Stream(element=INT8, lanes=2, words=20), UINT8, RNG.integers(0, 256, 256))),
    ("softmax", *softmax_params(quant(INT8, 0.1, 3), quant(INT8, 1 / 256, -128), 10, 2)),
    ("softmax_pixels", *softmax_params(quant(UINT8, 0.2, 0), quant(UINT8, 1 / 256, 0), 3, 4)),
    ("average_whole", *average(
        quant(INT8, 0.03, -12), quant(INT8, 0.02, 5), height=3, width=2, channels=4, lanes=1, kernel=(3, 2), strides=(1, 1),
        pads=(0, 0, 0, 0), count_include_pad=False,
    )),
    ("average_rounded", *average(
        quant(UINT8, 1.7, 120), quant(INT8, 2.3, -5), **IMAGE, lanes=4, kernel=(2, 3), strides=(1, 2), pads=(0, 1, 1, 1),
        count_include_pad=True,
    )),
    ("average", *average(
        quant(UINT8, 0.03, 120), quant(INT8, 0.05, -5), **IMAGE, lanes=2, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1),
        count_include_pad=False,
    )),
]  # fmt: skip


class Cases(wiring.Component):
    """All cases side by side, their streams as plain ports: ``fifo_i_payload``, ``fifo_i_valid``, ..."""

    def __init__(self, stages: tuple[Stage, ...]):
        self.stages = stages
        members: dict[str, Any] = {}
        for stage in stages:
            for ports, streams, way, back in (
                (stage.i_ports, stage.params.inputs, In, Out),
                (stage.o_ports, stage.params.outputs, Out, In),
            ):
                for port, stream in zip(ports, streams, strict=True):
                    name = f"{stage.name}_{port}"
                    members |= {f"{name}_payload": way(stream.bits), f"{name}_valid": way(1), f"{name}_ready": back(1)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for stage in self.stages:
            m.submodules[stage.name] = component = stage.create()
            for port in stage.i_ports:
                inner, name = getattr(component, port), f"{stage.name}_{port}"
                m.d.comb += [
                    inner.payload.as_value().eq(getattr(self, f"{name}_payload")),
                    inner.valid.eq(getattr(self, f"{name}_valid")),
                    getattr(self, f"{name}_ready").eq(inner.ready),
                ]
            for port in stage.o_ports:
                inner, name = getattr(component, port), f"{stage.name}_{port}"
                m.d.comb += [
                    getattr(self, f"{name}_payload").eq(inner.payload.as_value()),
                    getattr(self, f"{name}_valid").eq(inner.valid),
                    inner.ready.eq(getattr(self, f"{name}_ready")),
                ]
        return m


@dataclass
class Runs:
    """The cases' inputs and stages, and the outcome of a run for each seed of pauses (0: none)."""

    bench: Bench
    stages: dict[str, Stage]
    inputs: dict[str, list[np.ndarray]]
    outcomes: dict[int, Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    stages = tuple(Stage(name=name, node="", params=params, contents=contents) for name, params, contents in CASES)

    def channels(stage: Stage, ports: tuple[str, ...], streams: tuple[Stream, ...]) -> list[Channel]:
        names = [f"{stage.name}_{port}" for port in ports]
        return [
            Channel(name=n, stream=s, payload=f"{n}_payload", valid=f"{n}_valid", ready=f"{n}_ready")
            for n, s in zip(names, streams, strict=True)
        ]

    bench = Bench(
        name="cases",
        verilog=convert(Cases(stages), "cases"),
        sources=tuple(c for s in stages for c in channels(s, s.i_ports, s.params.inputs)),
        sinks=tuple(c for s in stages for c in channels(s, s.o_ports, s.params.outputs)),
    )
    rng = np.random.default_rng(8)
    inputs = {
        stage.name: [
            rng.integers(s.element.min, s.element.max, (s.words * FRAMES, s.lanes), endpoint=True) for s in stage.params.inputs
        ]
        for stage in stages
    }
    words = [w for stage in stages for w in inputs[stage.name]]
    outcomes = {}
    for seed in (0, 1, 2):
        outcomes[seed] = bench.run(words, tmp_path_factory.mktemp(f"run{seed}"), frames=FRAMES, seed=seed)
        assert outcomes[seed].complete
        assert not outcomes[seed].violated
    return Runs(bench=bench, stages={s.name: s for s in stages}, inputs=inputs, outcomes=outcomes)


def test_every_template_has_a_case() -> None:
    assert {type(params) for _, params, _ in CASES} == set(TEMPLATES)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", [name for name, *_ in CASES])
def test_numbers(runs: Runs, name: str, seed: int) -> None:
    stage, outcome = runs.stages[name], runs.outcomes[seed]
    expected = stage.compute(*runs.inputs[name])
    for port, words in zip(stage.o_ports, expected, strict=True):
        channel = next(c for c in runs.bench.sinks if c.name == f"{name}_{port}")
        assert outcome.counts[channel.name] == len(words)
        assert (outcome.words(channel, 0, len(words)) == words).all()


@pytest.mark.parametrize("name", [name for name, *_ in CASES])
def test_timing(runs: Runs, name: str) -> None:
    """Interval as modelled; latency from the first word taken, as in an idle pipeline (a window has written its padding)."""
    stage, outcome = runs.stages[name], runs.outcomes[0]
    idle = 10_000
    departures = as_tuple(stage.params.departures(*(idle + np.arange(len(w)) for w in runs.inputs[name])))
    for port, stream, model in zip(stage.o_ports, stage.params.outputs, departures, strict=True):
        out = outcome.last_out[f"{name}_{port}"]
        assert np.diff(out).tolist() == [stage.params.cost().cycles] * (FRAMES - 1)
        first = min(outcome.first_in[f"{name}_{p}"][0] for p in stage.i_ports)
        assert (out - first).tolist() == (model[stream.words - 1 :: stream.words] - idle).tolist()
