"""Walk a normalised model, operator by operator, and build its graph."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..arith import IntType
from ..errors import HwgenError
from ..graph import Alias, Graph, HostTensor, QuantType, Tensor
from .normalise import LAYOUT, Normalised
from .operators import Builder, argmax, attributes, concat, finish, maxpool, reinterpret, requantise
from .peephole import simplify
from .values import Activation, Constant, HostValue, Pending, Unknown, UnsupportedError, Value, Weights, image_order, layout

__all__ = ["ADVICE", "ELEMENTWISE", "NO_ADVICE", "OPERATORS", "SUPPORTED", "Walk"]

ELEMENTWISE = (
    "Abs", "Add", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "FastGelu", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuickGelu", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
OPERATORS = ("AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "Pad", "Softmax")  #: become Pending
SUPPORTED = (*ELEMENTWISE, *OPERATORS, *LAYOUT, "ArgMax", "DequantizeLinear", "MaxPool", "QuantizeLinear")
ADVICE = {
    "BatchNormalization": "fold it into the convolution before quantising (quant_pre_process of ONNX Runtime does)",
    "ConvTranspose": "replace it by a resize before the accelerator and a convolution",
    "LSTM": "replace recurrence by convolutions over time",
    "GRU": "replace recurrence by convolutions over time",
    "LayerNormalization": "use batch normalisation, folded into convolutions",
    "Mul": "only functions of one tensor and products with one number are supported",
    "ReduceMean": "average over the axes 2 and 3 of an image only, between DequantizeLinear and QuantizeLinear",
}  #: for those that cannot be imported
NO_ADVICE = "replace it by supported operators, or compute it on the host"


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
        self.elements = int(np.prod(shape))
        if self.elements > 1 << 24:
            raise HwgenError(f"input {self.host.name}: {self.elements} elements are more than fit; use a smaller input")
        self.dtype = {1: "float32", 2: "uint8", 3: "int8"}[self.host.type.tensor_type.elem_type]
        flat = np.arange(self.elements).reshape(shape)
        hwc, order = _geometry(flat, self._views(self.host.name, flat))
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
                        array_out = self._reshaped(node, array)
                    except UnsupportedError:
                        continue
                    waiting.append((node.output[0], array_out))
                elif node.op_type in ("QuantizeLinear", "DequantizeLinear", *ELEMENTWISE):
                    waiting.append((node.output[0], array))
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
                    return self._type(node, integer)
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
                return replace(x, order=self._reshaped(node, x.order))
            case "MaxPool" if isinstance(x, Activation):
                return maxpool(self.b, node, x)
            case "ArgMax" if isinstance(x, Activation):
                return argmax(self.b, node, x)
            case "Concat" if all(isinstance(i, Activation) and not i.real for i in inputs):
                return self._integer_concat(node, inputs)
            case "Relu" | "Clip" if isinstance(x, Pending) and x.kind == "operator":
                return self._clamped(node, inputs)
            case "Add" if self._is_bias(inputs):
                return self._biased(node, inputs)
            case "Add" if len(inputs) == 2 and all(isinstance(i, Activation) and i.real for i in inputs):
                return self._sum(node, inputs)
            case op if op in ELEMENTWISE:
                return self._elementwise(node, inputs)
            case op if op in OPERATORS:
                data = inputs if op == "Concat" else inputs[:1]
                for i in data:
                    self._must_be_real(node, i)
                return Pending(kind="operator", nodes=(node,), inputs=tuple(inputs), shape=())
            case _:
                self._must_be_real(node, x)
                raise UnsupportedError(
                    f"{node.op_type} of this kind of input is not supported", ADVICE.get(node.op_type, NO_ADVICE)
                )

    def _must_be_real(self, node: onnx.NodeProto, x: Any) -> None:
        if isinstance(x, Pending):
            last = x.nodes[-1]
            raise UnsupportedError(
                f"its input is the float result of {last.op_type} {last.name}, not quantised in between",
                "put QuantizeLinear and DequantizeLinear behind each layer (ONNX Runtime's quantize_static does)",
            )
        if isinstance(x, HostValue):
            raise UnsupportedError("its input is the model's float input, not quantised yet", "put QuantizeLinear first")
        if not isinstance(x, Activation):
            raise UnsupportedError("its input is a constant", "compute it when exporting")
        if not x.real:
            raise UnsupportedError("its input is an integer tensor", "put DequantizeLinear before it")

    def _type(self, node: onnx.NodeProto, integer: IntType | None) -> QuantType:
        """Per-tensor scale and zero point of a QuantizeLinear or DequantizeLinear."""
        given = [self.values.get(i) if i else None for i in node.input[1:3]]
        scale, zero = given[0], given[1] if len(given) > 1 else None
        if attributes(node).get("block_size", 0):
            raise UnsupportedError("quantisation in blocks is not supported", "quantise activations per tensor")
        if not isinstance(scale, Constant) or scale.array.dtype != np.float32 or not isinstance(zero, Constant | None):
            raise UnsupportedError("its scale and zero point must be float32 and integer constants", "quantise statically")
        if scale.array.size != 1 or (zero is not None and zero.array.size != 1):
            raise UnsupportedError("activations must have one scale and zero point", "quantise activations per tensor")
        dtype = zero.array.dtype if zero is not None else np.dtype(np.uint8)
        if zero is None and integer is not None:
            dtype = np.dtype(np.int8 if integer.signed else np.uint8)
        if dtype not in (np.int8, np.uint8):
            raise UnsupportedError(f"its type must be int8 or uint8, not {dtype}", "quantise to 8 bits")
        number = float(scale.array.ravel()[0])
        if not number > 0:
            raise UnsupportedError(f"its scale must be positive, not {number}", "quantise the model again")
        zero_point = int(zero.array.ravel()[0]) if zero is not None else 0
        return QuantType(integer=IntType(8, dtype == np.int8), scale=number, zero_point=zero_point)

    def _dequantise(self, node: onnx.NodeProto, x: Any) -> Value:
        if isinstance(x, Constant):
            return self._dequantise_constant(node, x)
        if not isinstance(x, Activation) or x.real or self.b.type(x).integer.bits != 8:
            raise UnsupportedError("its input must be an int8 or uint8 tensor", "export the model again")
        type = self._type(node, self.b.type(x).integer)
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

    def _dequantise_constant(self, node: onnx.NodeProto, x: Constant) -> Weights:
        given = [self.values.get(i) if i else None for i in node.input[1:3]]
        scale, zero = given[0], given[1] if len(given) > 1 else None
        if attributes(node).get("block_size", 0):
            raise UnsupportedError("quantisation in blocks is not supported", "quantise weights per channel")
        if x.array.dtype not in (np.int8, np.uint8, np.int32):
            raise UnsupportedError(f"its input must be int8, uint8 or int32, not {x.array.dtype}", "quantise to 8 bits")
        if not isinstance(scale, Constant) or scale.array.dtype != np.float32 or not isinstance(zero, Constant | None):
            raise UnsupportedError("its scale and zero point must be float32 and integer constants", "quantise statically")
        zero_point = zero.array if zero is not None else np.zeros((), x.array.dtype)
        if zero_point.dtype != x.array.dtype:
            raise UnsupportedError(
                f"its zero point must be {x.array.dtype} as its input, not {zero_point.dtype}", "export it again"
            )
        axis = int(attributes(node).get("axis", 1))
        sizes = {scale.array.size, zero_point.size} - {1}
        if sizes:
            if not -x.array.ndim <= axis < x.array.ndim:
                raise UnsupportedError(f"its axis {axis} must be one of the input's {x.array.ndim}", "export the model again")
            axis %= x.array.ndim
            if sizes != {x.array.shape[axis]} or scale.array.ndim > 1 or zero_point.ndim > 1:
                raise UnsupportedError(
                    f"its scale and zero point must have 1 or {x.array.shape[axis]} elements", "export it again"
                )
        if not (scale.array > 0).all():
            raise UnsupportedError("its scale must be positive", "quantise the model again")
        return Weights(name=node.output[0], integers=x.array, scale=scale.array, zero_point=zero_point, axis=axis)

    def _quantise(self, node: onnx.NodeProto, x: Any) -> Value:
        type = self._type(node, None)
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

    def _reshaped(self, node: onnx.NodeProto, order: np.ndarray) -> np.ndarray:
        """A layout operator on an array of positions."""
        a = attributes(node)
        second = self.values.get(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        if not isinstance(second, Constant | None):
            raise UnsupportedError("its shape or axes must be constant", "export with static shapes")
        given = [int(v) for v in second.array.ravel()] if second is not None else None
        try:
            match node.op_type:
                case "Flatten":
                    axis = a.get("axis", 1)
                    axis = axis + order.ndim if axis < 0 else axis
                    return order.reshape(int(np.prod(order.shape[:axis])), -1)
                case "Reshape":
                    shape = given if given is not None else [int(v) for v in a.get("shape", ())]
                    if not a.get("allowzero", 0):
                        shape = [order.shape[k] if d == 0 else d for k, d in enumerate(shape)]
                    return order.reshape(shape)
                case "Transpose":
                    return order.transpose(a.get("perm", range(order.ndim)[::-1]))
                case "Squeeze":
                    axes = given if given is not None else a.get("axes")
                    return order.squeeze(tuple(axes) if axes is not None else None)
                case "Unsqueeze":
                    return np.expand_dims(order, tuple(given if given is not None else a.get("axes", ())))
                case _:
                    if len([o for o in node.output if o]) > 1:
                        raise UnsupportedError("its second output is not supported", "export for inference")
                    return order
        except (ValueError, IndexError) as error:
            raise UnsupportedError(
                f"it does not fit its input of shape {order.shape} ({error})", "export the model again"
            ) from None

    def _integer_concat(self, node: onnx.NodeProto, inputs: list[Any]) -> Value:
        types = {self.b.type(i) for i in inputs}
        if len(types) > 1:
            raise UnsupportedError("its integer inputs have differing scales", "put DequantizeLinear before it")
        return concat(self.b, node, tuple(inputs), types.pop())

    def _clamped(self, node: onnx.NodeProto, inputs: list[Any]) -> Pending:
        """Relu or Clip behind a sum: narrows its bounds."""
        p: Pending = inputs[0]
        lo, hi = 0.0, np.inf
        if node.op_type == "Clip":
            a = attributes(node)
            ends = [*inputs[1:], None, None][:2]
            if any(not isinstance(e, Constant | None) or (e is not None and e.array.size != 1) for e in ends):
                raise UnsupportedError("its bounds must be constants", "export with constant bounds")
            lo = float(ends[0].array.ravel()[0]) if ends[0] is not None else a.get("min", -np.inf)
            hi = float(ends[1].array.ravel()[0]) if ends[1] is not None else a.get("max", np.inf)
        if p.nodes[0].op_type not in ("Conv", "Gemm", "MatMul", "Add"):
            self._must_be_real(node, p)
        return replace(p, nodes=(*p.nodes, node), lo=min(max(p.lo, lo), hi), hi=min(p.hi, hi))

    def _is_bias(self, inputs: list[Any]) -> bool:
        kinds = {type(i) for i in inputs}
        products = [i for i in inputs if isinstance(i, Pending) and i.nodes[-1].op_type == "MatMul"]
        return kinds == {Pending, Weights} and len(products) == 1

    def _biased(self, node: onnx.NodeProto, inputs: list[Any]) -> Pending:
        p, bias = inputs if isinstance(inputs[0], Pending) else inputs[::-1]
        if p.inputs[0].order.ndim != 2:
            raise UnsupportedError("the product before it must have rank 2", "flatten the input of MatMul")
        return replace(p, nodes=(*p.nodes, node), bias=bias)

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
                    self._must_be_real(node, value)
        if not sources:
            raise UnsupportedError("its inputs are constant", "compute it when exporting")
        first = sources[0]
        if any(name != first[1] for _, name in sources):
            raise UnsupportedError("it combines two activations", ADVICE.get(node.op_type, "only Add joins branches"))
        unique = {n.name: n for n in (*before, node)}
        ordered = tuple(n for n in self.nodes if n.name in unique)
        return Pending(kind="function", nodes=ordered, inputs=first, shape=first[0].order.shape)


def _geometry(flat: np.ndarray, views: list[np.ndarray]) -> tuple[tuple[int, int, int], np.ndarray]:
    """(H, W, C) of the model's input, and its order, from how the first operators see it."""
    for rank in (4, 3):
        for view in views:
            if view.ndim == rank and view.shape[0] == 1:
                _, c, h, w = view.shape if rank == 4 else (1, view.shape[1], 1, view.shape[2])
                order = np.empty(flat.size, np.int64)
                order[view.ravel()] = image_order((h, w, c)).ravel()
                return (h, w, c), order.reshape(flat.shape)
    return (1, 1, flat.size), flat
