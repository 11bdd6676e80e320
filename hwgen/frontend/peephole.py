"""Simplifications of an imported graph that keep its numbers: fewer nodes, less hardware."""

from dataclasses import replace

import numpy as np

from ..graph import Add, AveragePool, Conv, Graph, Linear, MatMul, Node, Pad, Table

__all__ = ["simplify"]


def simplify(graph: Graph) -> Graph:
    """Clamping tables go into the sum before them, paddings with the zero point into the window after them; dead nodes go."""
    while (changed := _fold_clamp(graph) or _fold_pad(graph)) is not None:
        graph = changed
    return _prune(graph)


def _without(graph: Graph, gone: Node, new: Node, old: Node) -> Graph:
    """``new`` in the place of ``old``, ``gone`` and its output removed."""
    nodes = tuple(new if n is old else n for n in graph.nodes if n is not gone)
    made = {n.output for n in nodes} | {graph.input}
    return replace(graph, nodes=nodes, tensors={k: t for k, t in graph.tensors.items() if k in made})


def _fold_clamp(graph: Graph) -> Graph | None:
    """Linear or Add -> Table that clamps: the bounds become the sum's."""
    for table in graph.nodes:
        source = graph.producer(table.inputs[0])
        if (
            not isinstance(table, Table)
            or not isinstance(source, Linear | MatMul | Add)
            or len(graph.consumers(source.output)) > 1
        ):
            continue
        type = graph.tensors[source.output].type
        if type != graph.tensors[table.output].type or source.output == graph.output:
            continue
        lo, hi = int(table.table.min()), int(table.table.max())
        if not (table.table == np.clip(np.arange(type.integer.min, type.integer.max + 1), lo, hi)).all():
            continue
        merged = replace(source, output=table.output, onnx_names=(*source.onnx_names, *table.onnx_names))
        merged = replace(merged, lo=int(np.clip(source.lo, lo, hi)), hi=int(np.clip(source.hi, lo, hi)))
        name = f"{source.name}_out"
        graph = _without(graph, table, merged, source)
        return _rename(graph, table.output, name)
    return None


def _rename(graph: Graph, old: str, new: str) -> Graph:
    def named(name: str) -> str:
        return new if name == old else name

    nodes = tuple(replace(n, inputs=tuple(map(named, n.inputs)), output=named(n.output)) for n in graph.nodes)
    tensors = {named(k): replace(t, name=named(k)) for k, t in graph.tensors.items()}
    return replace(graph, nodes=nodes, tensors=tensors, output=named(graph.output))


def _fold_pad(graph: Graph) -> Graph | None:
    """Pad with the zero point -> Conv or AveragePool: their own padding."""
    for pad in graph.nodes:
        readers = graph.consumers(pad.output)
        if not isinstance(pad, Pad) or len(readers) != 1 or pad.output == graph.output:
            continue
        (reader,) = readers
        if pad.value != graph.tensors[pad.output].type.zero_point or not isinstance(reader, Conv | AveragePool):
            continue
        top, left, bottom, right = (a + b for a, b in zip(pad.pads, reader.pads, strict=True))
        fields: dict[str, object] = {"pads": (top, left, bottom, right)}
        if isinstance(reader, AveragePool):
            whole = reader.count_include_pad or not any(reader.pads)
            if not whole or max(top, bottom) >= reader.kernel[0] or max(left, right) >= reader.kernel[1]:
                continue
            fields["count_include_pad"] = True
        names = (*pad.onnx_names, *reader.onnx_names)
        new = replace(reader, inputs=pad.inputs, onnx_names=names, **fields)  # type: ignore[arg-type]
        return _without(graph, pad, new, reader)
    return None


def _prune(graph: Graph) -> Graph:
    """Drop nodes that the output does not depend on."""
    wanted = {graph.output, graph.input}
    for node in reversed(graph.nodes):
        if node.output in wanted:
            wanted.update(node.inputs)
    nodes = tuple(n for n in graph.nodes if n.output in wanted)
    return replace(graph, nodes=nodes, tensors={k: t for k, t in graph.tensors.items() if k in wanted})
