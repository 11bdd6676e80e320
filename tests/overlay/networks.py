"""Networks, compiled for the overlay, and what ONNX Runtime computes."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from hwgen import flow
from hwgen.frontend import import_model, load_onnx
from hwgen.graph import Graph, Softmax
from hwgen.inputs import Frames, load_frames, make_frames, random_frames
from hwgen.overlay.compiled import Compiled
from hwgen.overlay.isa import End, Instruction, Unit
from hwgen.overlay.machine import Machine
from hwgen.overlay.places import Placed
from tests.random_networks import NetworkSpec, build, frames


@dataclass(frozen=True)
class Case:
    """A network, one frame, and all of its tensors as ONNX Runtime has them, (H, W, C)."""

    graph: Graph
    frame: np.ndarray
    tensors: dict[str, np.ndarray]


def case(path: Path, samples: Path, frame: int = 0) -> Case:
    """The network of a file; a softmax at its end is left out."""
    model = load_onnx(path)
    graph = import_model(model)
    return of_graph(graph, model, load_frames(samples, graph), frame)


def of_spec(spec: NetworkSpec) -> Case:
    """A network of a description, with its third frame: the first that is random."""
    model = build(spec)
    graph = import_model(model)
    return of_graph(graph, model, make_frames(graph, frames(spec)), frame=2)


def of(model: onnx.ModelProto) -> Case:
    """A network, with a random frame."""
    graph = import_model(model)
    return of_graph(graph, model, random_frames(graph, 1))


def of_graph(graph: Graph, model: onnx.ModelProto, frames: Frames, frame: int = 0) -> Case:
    expected, _ = flow.expected_tensors(graph, model, frames.limited(frame + 1))
    expected[graph.input] = frames.hardware
    tensors = {name: values[frame].reshape(graph.tensors[name].shape) for name, values in expected.items()}
    if isinstance(graph.nodes[-1], Softmax):
        last = graph.nodes[-1]
        kept = {name: t for name, t in graph.tensors.items() if name != last.output}
        graph = replace(graph, nodes=graph.nodes[:-1], tensors=kept, output=last.inputs[0])
    return Case(graph, tensors[graph.input], tensors)


def stored(case: Case, name: str) -> np.ndarray:
    """A tensor as the overlay stores it: int8."""
    return (case.tensors[name] - (0 if case.graph.tensors[name].type.integer.signed else 128)).astype(np.int8)


def machine(compiled: Compiled, case: Case) -> Machine:
    """With the frame in its external memory."""
    memory = compiled.external.copy()
    frame = _turned(stored(case, case.graph.input), compiled)
    height, width, channels = frame.shape
    step = compiled.engine.padded(width * channels)
    rows = compiled.input + np.arange(height)[:, None] * step + np.arange(width * channels)
    memory[rows] = frame.reshape(height, -1).view(np.uint8)
    return Machine(compiled.engine, memory)


def _turned(tensor: np.ndarray, compiled: Compiled) -> np.ndarray:
    return np.ascontiguousarray(tensor.transpose(1, 0, 2)) if compiled.transposed else tensor


def in_scratchpad(machine: Machine, place: Placed, compiled: Compiled) -> np.ndarray:
    height, width, channels = place.shape
    rows = place.at(0, 0) + np.arange(height)[:, None] * place.row + np.arange(width * channels)
    return _turned(machine.scratchpad[rows].reshape(place.shape), compiled)


def output(machine: Machine, compiled: Compiled, case: Case) -> np.ndarray:
    """The output in external memory."""
    height, width, channels = case.graph.tensors[case.graph.output].shape
    if compiled.transposed:
        height, width = width, height
    step = compiled.engine.padded(width * channels)
    rows = compiled.output + np.arange(height)[:, None] * step + np.arange(width * channels)
    return _turned(machine.external[rows].view(np.int8).reshape(height, width, channels), compiled)


def outside(machine: Machine, compiled: Compiled, name: str) -> np.ndarray:
    """A tensor in external memory, as the overlay stores it."""
    region = compiled.regions[name]
    return (region.read(machine.external) - region.less).astype(np.int8)


def race(machine: Machine, program: list[Instruction], choose) -> None:
    """Carry the program out as four units do, each with its own queue; ``choose`` says which of those that can goes on."""
    queues: dict[Unit, list[Instruction]] = {unit: [] for unit in Unit}
    for instruction in program:
        queues[instruction.unit].append(instruction)
    tokens = {(a, b): 0 for a in Unit for b in Unit}
    while any(queues.values()):
        able = [u for u, q in queues.items() if q and all(tokens[v, u] for v in Unit if q[0].wait >> v & 1)]
        unit = choose(able)
        instruction = queues[unit].pop(0)
        for other in Unit:
            tokens[other, unit] -= instruction.wait >> other & 1
            tokens[unit, other] += instruction.signal >> other & 1
        if not isinstance(instruction, End):
            machine.step(instruction)
    assert not any(tokens.values())
