"""What could run each node, as numbers for the solver."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..cost import BLOCKS_18K, Memories, Resources
from ..graph import Graph
from ..ilp.unroll import Edge, Option, Swap
from ..templates.depthwise import DepthwiseParams
from ..templates.matrix_vector import MatrixVectorParams
from .operators import Block, Formats, Operator, Unrolling, operator

__all__ = ["Candidate", "candidate", "candidates", "edges", "operators", "swapped"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One unrolling of a node, the templates it becomes and what they cost together."""

    unrolling: Unrolling
    blocks: tuple[Block, ...]
    option: Option


def operators(
    graph: Graph, progress: Callable[[float], None] = lambda share: None, formats: Formats | None = None
) -> tuple[Operator, ...]:
    """The graph's nodes, ready to be mapped: exact requantisation found for each."""
    made = []
    for k, node in enumerate(graph.nodes):
        made.append(operator(node, graph, formats))
        progress((k + 1) / len(graph.nodes))
    return tuple(made)


def candidates(
    ops: tuple[Operator, ...], multipliers: int, *, soft: bool = False, memories: Memories = BLOCKS_18K
) -> tuple[tuple[Candidate, ...], ...]:
    """For each node the candidates that no other one of it beats in every respect, fastest first.

    Parameters
    ----------
    multipliers
        At most, in a node.
    soft
        Whether multipliers may be made of LUTs instead of DSPs.
    memories
        The board's.
    """
    return tuple(_undominated([candidate(op, u, soft, memories) for u in op.unrollings(multipliers)]) for op in ops)


def swapped(op: Operator, candidate: Candidate, soft: int) -> Candidate:
    """The candidate with ``soft`` of its multipliers made of LUTs."""
    unrolling = replace(candidate.unrolling, soft=soft)
    option = replace(candidate.option, resources=candidate.option.total(soft), swap=None)
    return Candidate(unrolling=unrolling, blocks=op.blocks(unrolling), option=option)


def _swap(blocks: tuple[Block, ...]) -> Swap | None:
    for block in blocks:
        if isinstance(block.params, MatrixVectorParams | DepthwiseParams):
            each, once = block.params.mac.swap
            return Swap(each=each, once=once)
    return None


def candidate(op: Operator, unrolling: Unrolling, soft: bool, memories: Memories) -> Candidate:
    """What ``unrolling`` makes of ``op``; ``soft``: the solver may swap DSPs for multipliers of LUTs."""
    blocks = op.blocks(unrolling)
    costs = [b.params.cost(memories) for b in blocks]
    return Candidate(
        unrolling=unrolling,
        blocks=blocks,
        option=Option(
            cycles=max(c.cycles for c in costs),
            resources=sum((c.resources for c in costs), Resources()),
            swap=_swap(blocks) if soft else None,
        ),
    )


def _undominated(found: list[Candidate]) -> tuple[Candidate, ...]:
    """Those not beaten in cycles and every resource at once; of equals the first."""
    found.sort(key=lambda c: c.option.cycles)
    figures = np.array([_figures(c) for c in found]).reshape(len(found), -1)
    kept: list[int] = []
    for k, row in enumerate(figures):
        if not kept or not (figures[kept] <= row).all(1).any():
            kept.append(k)
    return tuple(found[k] for k in kept)


def _figures(candidate: Candidate) -> tuple[int, ...]:
    r = candidate.option.resources
    return candidate.option.cycles, r.dsp, r.bram, r.lut, r.ff


def edges(graph: Graph, ops: tuple[Operator, ...]) -> tuple[Edge, ...]:
    """How far nodes overlap, for the solver's latency; measured on the templates' own ``needed``."""
    index = {node.output: k for k, node in enumerate(graph.nodes)}
    found = []
    for sink, op in enumerate(ops):
        for port, name in enumerate(op.node.inputs):
            if name in index:
                head, tail = _overlap(op.blocks(Unrolling()), port)
                found.append(Edge(source=index[name], sink=sink, head=head, tail=tail))
    return tuple(found)


def _overlap(blocks: tuple[Block, ...], port: int) -> tuple[Fraction, Fraction]:
    outputs = blocks[-1].params.outputs[0].words
    counts = np.arange(1, outputs + 1)
    for block in reversed(blocks):
        counts = np.asarray(block.params.needed(counts - 1, port if block is blocks[0] else 0))
    inputs = blocks[0].params.inputs[port if len(blocks[0].params.inputs) > 1 else 0].words
    return Fraction(int(counts[0]), inputs), Fraction(int((counts >= inputs).sum()), outputs)
