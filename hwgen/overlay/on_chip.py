"""An accelerator that is an engine, its program and its external memory on one chip; what the engine lacks comes behind it."""

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..mapping.design import Design
from ..mapping.operators import Block, Unrolling, operator
from ..mapping.plan import plan
from .clock import predict
from .compiled import Compiled, image_of
from .isa import Store
from .resident import Image, ResidentParams
from .timing import MemoryTiming
from .units.memory import LATENCY

__all__ = ["ON_CHIP", "on_chip"]

ON_CHIP = MemoryTiming(latency=LATENCY)


def on_chip(graph: Graph, head: Graph, tail: Graph | None, compiled: Compiled) -> Design:
    """The design of a network; ``compiled`` is ``head``, and ``tail`` is what comes behind."""
    content, program = image_of(compiled.program, compiled.external)
    engine = compiled.engine
    image = np.frombuffer(content.ljust(engine.padded(len(content)), b"\0"), np.uint8)
    stores = [i for i in compiled.program if isinstance(i, Store)]
    params = ResidentParams(
        engine=engine,
        input=compiled.regions[head.input],
        input_type=head.tensors[head.input].type.integer,
        output=compiled.regions[head.output],
        output_type=head.tensors[head.output].type.integer,
        size=len(image),
        written=tuple((i.external, i.external_step * (i.rows - 1) + i.size) for i in stores),
        program=program,
        instructions=len(compiled.program),
        cycles=predict(compiled.program, engine, ON_CHIP)[-1] + 1,
    )
    first = Node(name="overlay", inputs=(head.input,), output=head.output)
    behind = () if tail is None else tail.nodes
    names = {head.input, head.output, *(node.output for node in behind)}
    whole = replace(graph, nodes=(first, *behind), tensors={n: t for n, t in graph.tensors.items() if n in names})
    chains = [operator(node, graph).blocks(Unrolling()) for node in behind]
    engine_block = Block(suffix="engine", params=params, contents=lambda: Image(content=image))
    return plan(whole, ((engine_block,), *chains))
