"""An accelerator that is the sequential engine and its memories; image and frames come as a stream."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import HwgenError
from ...graph import Graph, Linear, Node
from ...mapping.design import Design
from ...mapping.operators import Block
from ...mapping.plan import plan
from ..compiled import Compiled
from ..engine import SINGLE_PORT, Engine
from ..isa import Instruction
from .resident import Image, SequentialParams
from .timing import cycles
from .words import Job, Kind, frame, image, job, words

__all__ = ["SEQUENTIAL", "check_weights", "program_bytes", "sequential"]

#: The one there is: as many block RAMs of 4 kbit as the iCE40UP5K has besides those of the link.
SEQUENTIAL = Engine(
    rows=1, columns=4, taps=1, lanes=1, bus=4, digit=16, scratchpad=SINGLE_PORT, weights=256, sums=128, scales=256,
    sequential=True,
)  # fmt: skip


def check_weights(graph: Graph) -> None:
    """``HwgenError`` where the weights alone have no room in external memory: known before compiling."""
    size = sum(node.weights.size for node in graph.nodes if isinstance(node, Linear))
    if size > SINGLE_PORT:
        raise HwgenError(
            f"the weights alone take {size} bytes of external memory, and there are {SINGLE_PORT}; choose a larger board"
        )


def program_bytes(program: Sequence[Instruction], engine: Engine) -> int:
    """Of external memory that a program is."""
    return 4 * sum(map(len, words([job(i, engine) for i in program], 0)))


def sequential(head: Graph, compiled: Compiled) -> tuple[Design, bytes]:
    """The design of a network, and the bytes that it wants of its input stream before frames.

    ``HwgenError`` where the image has no room in external memory.
    """
    engine = compiled.engine
    there, back = compiled.regions[head.input], compiled.regions[head.output]
    jobs = [frame(Kind.INPUT, there), *(job(i, engine) for i in compiled.program[:-1]), frame(Kind.OUTPUT, back)]
    jobs.append(Job(kind=Kind.END))
    content = np.frombuffer(image(jobs, compiled.external), np.uint8)
    params = SequentialParams(
        engine=engine,
        input=there,
        input_type=head.tensors[head.input].type.integer,
        output=back,
        output_type=head.tensors[head.output].type.integer,
        cycles=tuple(cycles(jobs)),
    )
    node = Node(name="overlay", inputs=(head.input,), output=head.output)
    tensors = {name: head.tensors[name] for name in (head.input, head.output)}
    block = Block(suffix="engine", params=params, contents=lambda: Image(compiled=compiled))
    design = plan(replace(head, nodes=(node,), tensors=tensors), ((block,),))
    return design, (content ^ there.less).astype(np.uint8).tobytes()
