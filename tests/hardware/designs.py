"""Small designs for tests of what comes after mapping."""

import itertools

from hwgen.arith import IntType
from hwgen.graph import Alias, Graph, HostTensor, Layout, QuantType, Tensor
from hwgen.mapping.design import Design, Link, Port, Stage
from hwgen.streams import Stream
from hwgen.templates.fifo import FifoParams

INT8 = IntType(8)


def chain(stages, *, name="tiny", shape, element=None, out_shape=None, out_element=None, inner=None):
    """``stages`` one after the other, as a design with tensors x, y and those of ``inner`` (tensor name to stage)."""

    def tensor(name, shape, element):
        layout = Layout(axes=(2, 0, 1), shape=(1, shape[2], *shape[:2]))
        type = QuantType(integer=element, scale=0.5, zero_point=0)
        return Tensor(name=name, shape=shape, type=type, aliases=(Alias(name=f"{name}_quantized", layout=layout),))

    element = element or stages[0].params.inputs[0].element
    tensors = {"x": tensor("x", shape, element)}
    tensors["y"] = tensor("y", out_shape or shape, out_element or stages[-1].params.outputs[0].element)
    carriers = {"x": Port("")} | {n: Port(s) for n, s in (inner or {}).items()} | {"y": Port(stages[-1].name)}
    tensors |= {n: tensor(n, shape, element) for n in inner or {}}
    ports = [Port(""), *(Port(s.name) for s in stages), Port("")]
    graph = Graph(
        name=name,
        nodes=(),
        tensors=tensors,
        input="x",
        output="y",
        host_input=HostTensor(name="x", layout=tensors["x"].aliases[0].layout, dtype="float32"),
        host_output=HostTensor(name="y", layout=tensors["y"].aliases[0].layout, dtype="float32"),
    )
    links = tuple(Link(a, b) for a, b in itertools.pairwise(ports))
    return Design(name=name, graph=graph, stages=tuple(stages), links=links, carriers=carriers)


def fifos(*, element=INT8, lanes=3, words=20, name="tiny"):
    """Two FIFOs of a tensor (words, 1, lanes); ``m`` is the stream between them."""
    stream = Stream(element=element, lanes=lanes, words=words)
    stages = [Stage(name=n, node="", params=FifoParams(stream=stream, depth=d)) for n, d in (("first", 4), ("second", 40))]
    return chain(stages, shape=(words, 1, lanes), inner={"m": "first"}, name=name)
