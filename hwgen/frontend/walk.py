"""Walk a normalised model, operator by operator, and build its graph."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..arith import IntType
from ..errors import HwgenError
from ..graph import Alias, Graph, HostTensor, QuantType, Tensor
from .builder import LARGEST, Builder
from .layouts import geometry, reshaped
from .operators import argmax, concat, finish
from .peephole import simplify
from .quantisers import activation_type, dequantised_constant
from .rewriting import LAYOUT, Normalised
from .sums import biased, clamped, is_bias, must_be_real
from .supported import ADVICE, ELEMENTWISE, NO_ADVICE, OPERATORS, SUPPORTED
from .tables import reinterpret, requantise
from .values import Activation, Constant, HostValue, Pending, Unknown, UnsupportedError, Value, Weights, layout
from .windows import maxpool

__all__ = ["Walk"]


class Walk:
    """One pass over the nodes: a :class:`Value` for each ONNX tensor, graph nodes in ``b``, ``failures`` by the way."""

    def __init__(self, n: Normalised):
        self.n = n
        self.b = Builder(list(n.model.opset_import), n.constants)
        self.values: dict[str, Value] = {}
        self.failures: list[tuple[onnx.NodeProto, UnsupportedError]] = []
        self._finished: dict[tuple[str, QuantType], Activation] = {}
        self._readings: dict[tuple[str, QuantType], str] = {}
        self.nodes = n.nodes
        self.outputs = {o.name for o in n.model.graph.output}
        self._enter()
        for node in self._live():
            self._visit(node)
        self._leave()

    def _live(self) -> list[onnx.NodeProto]:
        """Nodes that the output depends on."""
        wanted, live = set(self.outputs), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                live.append(node)
        return live[::-1]

    def _enter(self) -> None:
        """Constants and the model's input."""
        for name, tensor in self.n.constants.items():
            self.values[name] = Constant(array=numpy_helper.to_array(tensor))
        self.host = next(i for i in self.n.model.graph.input if i.name not in self.n.constants)
        shape = tuple(d.dim_value for d in self.host.type.tensor_type.shape.dim)
        self.elements = prod(shape)
        if self.elements > LARGEST:
            raise HwgenError(f"input {self.host.name}: {self.elements} elements are more than fit; use a smaller input")
        self.dtype = {1: "float32", 2: "uint8", 3: "int8"}[self.host.type.tensor_type.elem_type]
        flat = np.arange(self.elements).reshape(shape)
        hwc, order = geometry(flat, self._views(self.host.name, flat))
        self.hwc, self.order = hwc, order
        if self.dtype == "float32":
            self.values[self.host.name] = HostValue(order=order)
            return
        integer = IntType(8, self.dtype == "int8")
        type = self._first_type(self.host.name, integer) or QuantType(integer=integer, scale=1.0, zero_point=0)
        self._input(type)
        self.values[self.host.name] = Activation(tensor="input", order=order, real=False)

    def _input(self, type: QuantType) -> None:
        self.b.tensors["input"] = Tensor(name="input", shape=self.hwc, type=type)

    def _views(self, start: str, flat: np.ndarray) -> list[np.ndarray]:
        """The input's elements as seen by the first operators that compute with them."""
        views, waiting, seen = [], [(start, flat)], {start}
        while waiting:
            name, array = waiting.pop(0)
            for node in self.nodes:
                if name not in node.input[:1] or not node.output or node.output[0] in seen:
                    continue
                seen.add(node.output[0])
                if node.op_type in LAYOUT:
                    try:
                        array_out = reshaped(node, array, self._given(node)[0] if len(node.input) > 1 else None)
                    except UnsupportedError:
                        continue
                    waiting.append((node.output[0], array_out))
                elif node.op_type in ("QuantizeLinear", "DequantizeLinear", *ELEMENTWISE):
                    waiting.append((node.output[0], array))
                elif node.op_type == "MatMul" and array.ndim > 1:  # rows of channels
                    views.append(array.reshape(1, -1, array.shape[-1], 1).transpose(0, 2, 1, 3))
                else:
                    views.append(array)
        return views

    def _first_type(self, start: str, integer: IntType) -> QuantType | None:
        """Of the first DequantizeLinear that reads the integer tensor ``start``, if only behind layout operators or MaxPool."""
        names = {start}
        for node in self.nodes:
            if not names.intersection(node.input[:1]):
                continue
            if node.op_type == "DequantizeLinear":
                try:
                    return activation_type(node, self._given(node), integer)
                except UnsupportedError:
                    return None
            if node.op_type in (*LAYOUT, "MaxPool"):
                names.update(node.output[:1])
        return None

    def _leave(self) -> None:
        """The model's output."""
        (name,) = self.outputs
        value = self.values.get(name, Unknown())
        if isinstance(value, Unknown) or self.failures:
            if not self.failures:
                raise HwgenError(f"output {name}: is made by no operator")
            return
        if not isinstance(value, Activation) or not self.b.nodes:
            raise HwgenError(f"output {name}: must be quantised; put QuantizeLinear behind the last layer")
        self.output = value

    def graph(self) -> Graph:
        hwc = self.b.shape(self.output)
        out_layout = layout(self.output.order, hwc)
        if out_layout is None:
            raise HwgenError("the output's elements are in an order that no layout describes; remove the last Transpose")
        inside = layout(self.order, self.hwc)
        if inside is None:
            raise HwgenError(f"input {self.host.name}: its elements are in an order that no layout describes")
        type = self.b.type(self.output)
        dtype = "int64" if type.integer.bits != 8 or self._is_argmax() else ("int8" if type.integer.signed else "uint8")
        graph = Graph(
            name="".join(c if c.isalnum() and c.isascii() else "_" for c in self.n.model.graph.name) or "model",
            nodes=tuple(self.b.nodes),
            tensors=self.b.tensors,
            input="input",
            output=self.output.tensor,
            host_input=HostTensor(name=self.host.name, layout=inside, dtype=self.dtype),
            host_output=HostTensor(
                name=next(iter(self.outputs)), layout=out_layout, dtype="float32" if self.output.real else dtype
            ),
        )
        return simplify(graph).check()

    def _is_argmax(self) -> bool:
        return self.output.tensor.startswith("argmax")

    def _visit(self, node: onnx.NodeProto) -> None:
        inputs = [self.values.get(i) if i else None for i in node.input]
        result: Value = Unknown()
        try:
            if node.domain not in ("", "ai.onnx", "com.microsoft"):
                raise UnsupportedError(
                    f"operators of the domain {node.domain} are unknown", "export with standard ONNX operators"
                )
            if any(a.HasField("g") or a.graphs for a in node.attribute):
                raise UnsupportedError("subgraphs (If, Loop, Scan) are not supported", "export without control flow")
            if node.op_type not in SUPPORTED:
                raise UnsupportedError(f"{node.op_type} is not supported", ADVICE.get(node.op_type, NO_ADVICE))
            if not any(isinstance(i, Unknown) for i in inputs):
                result = self._value(node, inputs)
        except UnsupportedError as error:
            self.failures.append((node, error))
        except HwgenError as error:  # ONNX Runtime cannot run it
            self.failures.append((node, UnsupportedError(str(error), NO_ADVICE)))
        for output in node.output:
            self.values[output] = result

    def _value(self, node: onnx.NodeProto, inputs: list[Any]) -> Value:
        x = inputs[0] if inputs else None
        match node.op_type:
            case "DequantizeLinear":
                return self._dequantise(node, x)
            case "QuantizeLinear":
                return self._quantise(node, x)
            case op if op in LAYOUT and isinstance(x, Activation | HostValue):
                return replace(x, order=reshaped(node, x.order, self._given(node)[0] if len(node.input) > 1 else None))
            case "MaxPool" if isinstance(x, Activation):
                return maxpool(self.b, node, x)
            case "ArgMax" if isinstance(x, Activation):
                return argmax(self.b, node, x)
            case "Concat" if all(isinstance(i, Activation) and not i.real for i in inputs):
                return self._integer_concat(node, inputs)
            case "Relu" | "Clip" if isinstance(x, Pending) and x.kind == "operator":
                return clamped(node, inputs)
            case "Add" if is_bias(inputs):
                return biased(node, inputs)
            case "Add" if len(inputs) == 2 and all(isinstance(i, Activation) and i.real for i in inputs):
                return self._sum(node, inputs)
            case op if op in ELEMENTWISE:
                return self._elementwise(node, inputs)
            case op if op in OPERATORS:
                dynamic = op == "MatMul" and len(inputs) == 2 and not isinstance(inputs[1], Weights | Constant)
                data = inputs if op == "Concat" or dynamic else inputs[:1]
                for i in data:
                    must_be_real(node, i)
                return Pending(kind="operator", nodes=(node,), inputs=tuple(inputs), shape=())
            case _:
                must_be_real(node, x)
                raise UnsupportedError(
                    f"{node.op_type} of this kind of input is not supported", ADVICE.get(node.op_type, NO_ADVICE)
                )

    def _given(self, node: onnx.NodeProto) -> list[Value | None]:
        """The second and third input: constants, mostly."""
        return [self.values.get(i) if i else None for i in node.input[1:3]]

    def _dequantise(self, node: onnx.NodeProto, x: Any) -> Value:
        if isinstance(x, Constant):
            return dequantised_constant(node, x, self._given(node))
        if not isinstance(x, Activation) or x.real or self.b.type(x).integer.bits != 8:
            raise UnsupportedError("its input must be an int8 or uint8 tensor", "export the model again")
        type = activation_type(node, self._given(node), self.b.type(x).integer)
        if type.integer != self.b.type(x).integer:
            raise UnsupportedError(
                f"its zero point must be {self.b.type(x).integer} as its input, not {type.integer}", "export it again"
            )
        if type == self.b.type(x):
            return replace(x, real=True)
        key = (x.tensor, type)
        if key not in self._readings:
            self._readings[key] = reinterpret(self.b, x, type, [node.name]).tensor
        return Activation(tensor=self._readings[key], order=x.order, real=True)

    def _quantise(self, node: onnx.NodeProto, x: Any) -> Value:
        type = activation_type(node, self._given(node), None)
        if isinstance(x, HostValue):
            if "input" not in self.b.tensors:
                self._input(type)
            if self.b.tensors["input"].type != type or not (x.order.size == self.elements):
                raise UnsupportedError("the input is quantised in two ways", "quantise it once")
            result: Value = Activation(tensor="input", order=x.order, real=False)
        elif isinstance(x, Activation) and x.real:
            result = requantise(self.b, x, type, [node.name])
        elif isinstance(x, Pending):
            result = self._finish(x, type)
        else:
            raise UnsupportedError("its input must be float", "export the model again")
        if node.output[0] in self.n.original and isinstance(result, Activation):
            self._alias(node.output[0], result)
        return result

    def _finish(self, p: Pending, type: QuantType) -> Activation | Unknown:
        """Each result becomes one tensor, however often it is quantised in the same way."""
        last = p.nodes[-1].output[0]
        key = (last, type)
        if key not in self._finished:
            if any(name == last for name, _ in self._finished):
                raise UnsupportedError(f"{last} is quantised in two ways", "quantise it once")
            for node in p.nodes if p.kind == "operator" else ():
                readers = [n.name for n in self.nodes if node.output[0] in n.input]
                if len(readers) > 1 or node.output[0] in self.outputs:
                    self.failures.append(
                        (
                            node,
                            UnsupportedError(
                                f"its float result is read by {', '.join(readers)}",
                                "quantise it once, and dequantise for each reader",
                            ),
                        )
                    )
                    return Unknown()
            try:
                self._finished[key] = finish(self.b, p, type)
            except HwgenError as error:
                known = error if isinstance(error, UnsupportedError) else UnsupportedError(str(error), NO_ADVICE)
                self.failures.append((p.nodes[0], known))
                return Unknown()
        return self._finished[key]

    def _alias(self, name: str, a: Activation) -> None:
        tensor = self.b.tensors[a.tensor]
        found = layout(a.order, tensor.shape)
        if found is not None:
            self.b.tensors[a.tensor] = replace(tensor, aliases=(*tensor.aliases, Alias(name=name, layout=found)))

    def _integer_concat(self, node: onnx.NodeProto, inputs: list[Any]) -> Value:
        types = {self.b.type(i) for i in inputs}
        if len(types) > 1:
            raise UnsupportedError("its integer inputs have differing scales", "put DequantizeLinear before it")
        return concat(self.b, node, tuple(inputs), types.pop())

    def _sum(self, node: onnx.NodeProto, inputs: list[Any]) -> Pending:
        x, y = inputs
        if x.order.shape != y.order.shape or self.b.shape(x) != self.b.shape(y) or (x.order != y.order).any():
            raise UnsupportedError(f"its inputs {x.order.shape} and {y.order.shape} must be laid out alike", "do not broadcast")
        return Pending(kind="operator", nodes=(node,), inputs=(x, y), shape=x.order.shape)

    def _elementwise(self, node: onnx.NodeProto, inputs: list[Any]) -> Pending:
        """A function of one activation, perhaps in several operators (x * sigmoid(x))."""
        sources: list[tuple[Activation, str]] = []
        before: list[onnx.NodeProto] = []
        for name, value in zip(node.input, inputs, strict=True):
            match value:
                case None:
                    continue
                case Constant() if value.array.size == 1:
                    continue
                case Weights() if value.integers.size == 1:
                    before += [n for n in self.nodes if name in n.output]
                case Activation(real=True):
                    sources.append((value, name))
                case Pending(kind="function"):
                    sources.append(value.inputs)
                    before += value.nodes
                case Constant() | Weights():
                    raise UnsupportedError(f"its constant {name} must be one number", ADVICE.get(node.op_type, NO_ADVICE))
                case _:
                    must_be_real(node, value)
        if not sources:
            raise UnsupportedError("its inputs are constant", "compute it when exporting")
        first = sources[0]
        if any(name != first[1] for _, name in sources):
            raise UnsupportedError("it combines two activations", ADVICE.get(node.op_type, "only Add joins branches"))
        unique = {n.name: n for n in (*before, node)}
        ordered = tuple(n for n in self.nodes if n.name in unique)
        return Pending(kind="function", nodes=ordered, inputs=first, shape=first[0].order.shape)
