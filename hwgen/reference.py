"""What a network means: integers in, integers out, from the templates' own ``compute``."""

from collections.abc import Iterator

import numpy as np

from .graph import Graph
from .mapping.design import Design, Port
from .mapping.operators import Operator
from .streams import Words

__all__ = ["run_design", "run_graph"]

CHUNK = 1 << 24  #: elements of a node's widest stream worked on at once


def run_graph(graph: Graph, ops: tuple[Operator, ...], frames: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of ``graph`` for ``frames``, integers of shape (N, H, W, C)."""
    tensors = {graph.input: frames.astype(np.int64)}
    for node, op in zip(graph.nodes, ops, strict=True):
        blocks = op.blocks(op.reference())
        widest = max(s.elements for b in blocks for s in (*b.params.inputs, *b.params.outputs))
        size = max(1, CHUNK // widest)
        contents = [b.contents() if b.contents else None for b in blocks]
        parts = []
        for part in _chunks([tensors[i] for i in node.inputs], size):
            words = [x.reshape(-1, s.lanes) for x, s in zip(part, blocks[0].params.inputs, strict=True)]
            for block, content in zip(blocks, contents, strict=True):
                keywords = {} if content is None else {"contents": content}
                words = [block.params.compute(*words, **keywords)]
            parts.append(words[0].reshape(-1, *graph.tensors[node.output].shape))
        tensors[node.output] = np.concatenate(parts)
    return tensors


def _chunks(arrays: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(arrays[0]), size):
        yield [a[start : start + size] for a in arrays]


def run_design(design: Design, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of the design's graph, computed word by word through its stages as they are unrolled and linked."""
    streams: dict[Port, Words] = {Port(""): frames.reshape(-1, design.input.lanes).astype(np.int64)}
    into = {link.sink: link.source for link in design.links}
    for stage in design.stages:
        words = [streams[into[Port(stage.name, k)]] for k in range(len(stage.params.inputs))]
        streams |= {Port(stage.name, k): w for k, w in enumerate(stage.compute(*words))}
    return {name: streams[port].reshape(-1, *design.graph.tensors[name].shape) for name, port in design.carriers.items()}
