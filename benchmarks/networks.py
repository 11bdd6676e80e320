"""Networks by their shapes alone, as ONNX models without weights: ten made by people, four found by searches.

Each follows the paper that describes it; batch normalisation is left out, since it joins the convolution before it.
"""

from collections.abc import Callable, Sequence

import onnx
from onnx import TensorProto, helper

__all__ = ["NETWORKS"]


class Net:
    """A graph under construction; values are names, whose channels (dimension 1) are known."""

    def __init__(self, *shape: int):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])
        self.channels = {"x": shape[0]}
        self.rank = len(shape) - 1

    def op(self, kind: str, *inputs: str, channels: int | None = None, **attributes: object) -> str:
        """One node; its output has as many channels as its first input unless given."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        self.channels[name] = self.channels[inputs[0]] if channels is None else channels
        return name

    def constant(self, *dims: int) -> str:
        name = f"w{len(self.constants)}"
        self.constants.append(TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims))
        return name

    def numbers(self, *values: int) -> str:
        name = f"w{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def conv(
        self,
        x: str,
        out: int,
        kernel: int | Sequence[int] = 1,
        stride: int | Sequence[int] = 1,
        groups: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> str:
        """Convolution with padding that keeps the size (before striding), and Relu."""
        k = [kernel] * self.rank if isinstance(kernel, int) else list(kernel)
        s = [stride] * self.rank if isinstance(stride, int) else list(stride)
        weights = self.constant(out, self.channels[x] // groups, *k)
        pads = [dilation * (n - 1) // 2 for n in k] * 2
        attributes = {"group": groups, "strides": s, "pads": pads, "dilations": [dilation] * self.rank}
        y = self.op("Conv", x, weights, channels=out, **attributes)
        return self.op("Relu", y) if relu else y

    def pool(self, kind: str, x: str, kernel: int = 3, stride: int = 1) -> str:
        pads = [(kernel - 1) // 2] * 2 * self.rank
        return self.op(kind, x, kernel_shape=[kernel] * self.rank, strides=[stride] * self.rank, pads=pads)

    def add(self, a: str, b: str, relu: bool = False) -> str:
        y = self.op("Add", a, b)
        return self.op("Relu", y) if relu else y

    def concat(self, *xs: str) -> str:
        return self.op("Concat", *xs, channels=sum(self.channels[x] for x in xs), axis=1)

    def linear(self, x: str, out: int) -> str:
        """Matrix product over the last dimension, which has as many elements as x has channels."""
        return self.op("MatMul", x, self.constant(self.channels[x], out), channels=out)

    def resize(self, x: str, *size: int) -> str:
        """To ``size`` (all dimensions)."""
        return self.op("Resize", x, "", "", self.numbers(*size), mode="linear")

    def classify(self, x: str, classes: int = 1000) -> onnx.ModelProto:
        flat = self.op("Flatten", self.op("GlobalAveragePool", x))
        return self.model(self.linear(flat, classes))

    def model(self, *outputs: str) -> onnx.ModelProto:
        infos = [onnx.ValueInfoProto(name=o) for o in outputs]
        graph = helper.make_graph(self.nodes, "net", [self.input], infos, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def _residual(net: Net, groups: int = 1, width: int = 1, strides: Sequence[int] = (1, 2, 2, 2)) -> list[str]:
    """The four stages of a residual network of 50 layers (He 2015); a stride of 1 dilates instead."""
    x = net.pool("MaxPool", net.conv("x", 64, 7, 2), 3, 2)
    stages, dilation = [], 1
    for blocks, planes, stride in zip((3, 4, 6, 3), (64, 128, 256, 512), strides, strict=True):
        before = dilation
        dilation *= 2 if stride == 1 and planes > 64 else 1
        for k in range(blocks):
            step, spread = (stride, before) if k == 0 else (1, dilation)
            y = net.conv(x, planes * width)
            y = net.conv(y, planes * width, 3, step, groups, spread)
            y = net.conv(y, planes * 4, relu=False)
            x = net.add(y, net.conv(x, planes * 4, 1, step, relu=False) if k == 0 else x, relu=True)
        stages.append(x)
    return stages


def resnet50() -> onnx.ModelProto:
    net = Net(3, 224, 224)
    return net.classify(_residual(net)[-1])


def resnext50() -> onnx.ModelProto:
    """32 × 4d (Xie 2017)."""
    net = Net(3, 224, 224)
    return net.classify(_residual(net, groups=32, width=2)[-1])


def fcn() -> onnx.ModelProto:
    """Fully convolutional segmentation (Long 2015) on a dilated ResNet-50, 21 classes."""
    net = Net(3, 224, 224)
    x = _residual(net, strides=(1, 2, 1, 1))[-1]
    x = net.conv(net.conv(x, 512, 3), 21, relu=False)
    return net.model(net.resize(x, 1, 21, 224, 224))


def deeplabv3() -> onnx.ModelProto:
    """Atrous spatial pyramid pooling (Chen 2017) on a dilated ResNet-50, 21 classes."""
    net = Net(3, 224, 224)
    x = _residual(net, strides=(1, 2, 1, 1))[-1]
    branches = [net.conv(x, 256), *(net.conv(x, 256, 3, dilation=d) for d in (12, 24, 36))]
    pooled = net.conv(net.op("GlobalAveragePool", x), 256)
    x = net.conv(net.concat(*branches, net.resize(pooled, 1, 256, 28, 28)), 256)
    x = net.conv(net.conv(x, 256, 3), 21, relu=False)
    return net.model(net.resize(x, 1, 21, 224, 224))


MOBILE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
)  # fmt: skip  # MobileNetV3-Large, dilated: kernel, expansion, channels, squeeze and excite, hard swish, stride


def lraspp() -> onnx.ModelProto:
    """Lite R-ASPP on MobileNetV3-Large (Howard 2019), 21 classes."""
    net = Net(3, 224, 224)

    def activate(y: str, swish: int) -> str:
        return net.op("HardSwish" if swish else "Relu", y)

    x = activate(net.conv("x", 16, 3, 2, relu=False), 1)
    low = x
    for kernel, wide, out, excite, swish, stride in MOBILE:
        y = activate(net.conv(x, wide, relu=False), swish) if wide != net.channels[x] else x
        y = activate(net.conv(y, wide, kernel, stride, groups=wide, relu=False), swish)
        if excite:
            gate = net.conv(net.conv(net.op("GlobalAveragePool", y), wide // 4), wide, relu=False)
            y = net.op("Mul", y, net.op("HardSigmoid", gate))
        y = net.conv(y, out, relu=False)
        x = net.add(y, x) if stride == 1 and out == net.channels[x] else y
        low = x if out == 40 else low
    x = activate(net.conv(x, 960, relu=False), 1)
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", x), 128, relu=False))
    x = net.resize(net.op("Mul", net.conv(x, 128), gate), 1, 128, 28, 28)
    x = net.add(net.conv(low, 21, relu=False), net.conv(x, 21, relu=False))
    return net.model(net.resize(x, 1, 21, 224, 224))


def r2plus1d() -> onnx.ModelProto:
    """R(2+1)D-18 (Tran 2018): convolutions in space, then in time; 16 frames of 112 × 112."""
    net = Net(3, 16, 112, 112)

    def both(x: str, out: int, stride: int = 1, relu: bool = True) -> str:
        middle = out * net.channels[x] * 27 // (9 * net.channels[x] + 3 * out)
        x = net.conv(x, middle, (1, 3, 3), (1, stride, stride))
        return net.conv(x, out, (3, 1, 1), (stride, 1, 1), relu=relu)

    x = net.conv(net.conv("x", 45, (1, 7, 7), (1, 2, 2)), 64, (3, 1, 1))
    for out, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        y = both(both(x, out, stride), out, relu=False)
        x = net.add(y, net.conv(x, out, 1, stride, relu=False) if stride > 1 else x, relu=True)
    return net.classify(x, 400)


S3D = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None, (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip  # channels of the four branches of each inception block; None: pooling


def s3d() -> onnx.ModelProto:
    """S3D (Xie 2018): inception blocks whose convolutions are separated into space and time; 16 frames of 224 × 224."""
    net = Net(3, 16, 224, 224)

    def both(x: str, out: int, kernel: int = 3, stride: int = 1) -> str:
        x = net.conv(x, out, (1, kernel, kernel), (1, stride, stride))
        return net.conv(x, out, (kernel, 1, 1), (stride, 1, 1))

    def shrink(x: str, time: int) -> str:
        sizes = {"kernel_shape": [3 if time > 1 else 1, 3, 3], "strides": [time, 2, 2], "pads": [int(time > 1), 1, 1] * 2}
        return net.op("MaxPool", x, **sizes)

    x = shrink(both("x", 64, 7, 2), 1)
    x = shrink(both(net.conv(x, 64), 192), 1)
    for widths in S3D:
        if widths is None:
            x = shrink(x, 2)
            continue
        a, b, c, d, e, f = widths
        pooled = net.pool("MaxPool", x)
        x = net.concat(net.conv(x, a), both(net.conv(x, b), c), both(net.conv(x, d), e), net.conv(pooled, f))
    return net.classify(x, 400)


def _attention(net: Net, x: str, memory: str, tokens: int, others: int, heads: int = 8) -> str:
    """Multi-head attention (Vaswani 2017) of ``tokens`` to ``others``."""
    wide = net.channels[x]

    def split(y: str, count: int, *perm: int) -> str:
        shaped = net.op("Reshape", y, net.numbers(1, count, heads, wide // heads))
        return net.op("Transpose", shaped, perm=list(perm), channels=wide)

    q = split(net.linear(x, wide), tokens, 0, 2, 1, 3)
    k = split(net.linear(memory, wide), others, 0, 2, 3, 1)
    v = split(net.linear(memory, wide), others, 0, 2, 1, 3)
    weights = net.op("Softmax", net.op("MatMul", q, k), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    return net.linear(net.op("Reshape", mixed, net.numbers(1, tokens, wide), channels=wide), wide)


def _norm(net: Net, x: str) -> str:
    return net.op("LayerNormalization", x, net.constant(net.channels[x]))


def _feed(net: Net, x: str, wide: int) -> str:
    return net.linear(net.op("Gelu", net.linear(x, wide)), net.channels[x])


def transformer() -> onnx.ModelProto:
    """Base model (Vaswani 2017): 6 + 6 layers of width 512, 128 tokens in and out, embedded already; no last projection."""
    net, tokens, wide = Net(512, 256), 128, 512
    joined = net.op("Transpose", "x", perm=[0, 2, 1])
    parts = [f"part{k}" for k in range(2)]
    net.nodes.append(helper.make_node("Split", [joined, net.numbers(tokens, tokens)], parts, "split", axis=1))
    net.channels.update(dict.fromkeys(parts, wide))
    memory, x = parts
    for _ in range(6):
        memory = _norm(net, net.add(memory, _attention(net, memory, memory, tokens, tokens)))
        memory = _norm(net, net.add(memory, _feed(net, memory, 2048)))
    for _ in range(6):
        x = _norm(net, net.add(x, _attention(net, x, x, tokens, tokens)))
        x = _norm(net, net.add(x, _attention(net, x, memory, tokens, tokens)))
        x = _norm(net, net.add(x, _feed(net, x, 2048)))
    return net.model(x)


def vit() -> onnx.ModelProto:
    """ViT-B/16 (Dosovitskiy 2021), without class token: 196 patches."""
    net = Net(3, 224, 224)
    patches = net.op("Conv", "x", net.constant(768, 3, 16, 16), channels=768, strides=[16, 16])
    flat = net.op("Reshape", patches, net.numbers(1, 768, 196))
    x = net.op("Transpose", flat, perm=[0, 2, 1])
    for _ in range(12):
        y = _norm(net, x)
        x = net.add(x, _attention(net, y, y, 196, 196, heads=12))
        x = net.add(x, _feed(net, _norm(net, x), 3072))
    return net.model(net.linear(net.op("ReduceMean", _norm(net, x), net.numbers(1), keepdims=0), 1000))


Cell = tuple[tuple[tuple[str, int, str, int], ...], tuple[int, ...]]
"""Blocks (operation, its input, operation, its input), added; inputs 0 and 1 are the outputs of the two cells before. Then the
blocks that are concatenated. ``s3``: separable convolution of 3 × 3, twice; ``d3``: separable, dilated; ``c1``: plain; ``c33``,
``c17``: in a bottleneck, the latter as 1 × 7 and 7 × 1; ``m3``, ``a3``: pooling; ``i``: nothing."""

NASNET: tuple[Cell, Cell] = (
    ((("s5", 1, "s3", 0), ("s5", 0, "s3", 0), ("a3", 1, "i", 0), ("a3", 0, "a3", 0), ("s3", 1, "i", 1)), (0, 2, 3, 4, 5, 6)),
    ((("s5", 1, "s7", 0), ("m3", 1, "s7", 0), ("a3", 1, "s5", 0), ("i", 3, "a3", 2), ("s3", 2, "m3", 1)), (3, 4, 5, 6)),
)  # Zoph 2018
PNASNET: tuple[Cell, Cell] = (
    ((("s5", 0, "m3", 0), ("s7", 1, "m3", 1), ("s5", 1, "s3", 1), ("s3", 4, "m3", 1), ("s3", 0, "i", 1)), (2, 3, 4, 5, 6)),
) * 2  # Liu 2018
AMOEBANET: tuple[Cell, Cell] = (
    ((("c1", 1, "m3", 1), ("i", 1, "a3", 0), ("i", 0, "c17", 2), ("c1", 1, "c17", 0), ("i", 1, "c1", 5)), (0, 3, 4, 6)),
    ((("s3", 0, "s3", 1), ("m3", 0, "c17", 1), ("m3", 0, "c1", 2), ("m3", 3, "c33", 1), ("a3", 0, "i", 4)), (5, 6)),
)  # D: Real 2019
DARTS: tuple[Cell, Cell] = (
    ((("s3", 0, "s3", 1), ("s3", 0, "s3", 1), ("s3", 1, "i", 0), ("i", 0, "d3", 2)), (2, 3, 4, 5)),
    ((("m3", 0, "m3", 1), ("i", 2, "m3", 1), ("m3", 0, "i", 2), ("i", 2, "m3", 1)), (2, 3, 4, 5)),
)  # V2: Liu 2019


def _edge(net: Net, kind: str, x: str, wide: int, stride: int) -> str:
    """One operation of a cell."""
    size = int(kind[1]) if len(kind) > 1 else 1
    match kind:
        case "i":
            return net.conv(net.op("Relu", x), wide, 1, stride, relu=False) if stride > 1 else x
        case "m3" | "a3":
            return net.pool("MaxPool" if kind == "m3" else "AveragePool", x, 3, stride)
        case "s3" | "s5" | "s7":
            y = net.conv(net.op("Relu", x), wide, size, stride, groups=wide, relu=False)
            y = net.conv(net.conv(y, wide), wide, size, groups=wide, relu=False)
            return net.conv(y, wide, relu=False)
        case "d3":
            y = net.conv(net.op("Relu", x), wide, 3, stride, groups=wide, dilation=2, relu=False)
            return net.conv(y, wide, relu=False)
        case "c17":
            y = net.conv(net.op("Relu", x), wide // 4)
            y = net.conv(net.conv(y, wide // 4, (1, 7), (1, stride)), wide // 4, (7, 1), (stride, 1))
            return net.conv(y, wide, relu=False)
        case "c33":
            y = net.conv(net.conv(net.op("Relu", x), wide // 4), wide // 4, 3, stride)
            return net.conv(y, wide, relu=False)
        case _:
            return net.conv(net.op("Relu", x), wide, size, stride, relu=False)


def _searched(cells: tuple[Cell, Cell], repeats: int, wide: int, first: int) -> onnx.ModelProto:
    """Three groups of ``repeats`` normal cells; before the second and the third a reduction cell doubles ``wide``."""
    net = Net(3, 224, 224)
    stem = net.conv("x", first, 3, 2)
    before, x = net.conv(stem, wide, 3, 2, relu=False), net.conv(net.conv(stem, wide, 3, 2), wide, 3, 2, relu=False)
    shrunk = True  # whether x is half as large as before
    for number in range(3 * repeats + 2):
        reduce = number in (repeats, 2 * repeats + 1)
        wide *= 2 if reduce else 1
        blocks, kept = cells[reduce]
        states = [
            net.conv(net.op("Relu", before), wide, 1, 2 if shrunk else 1, relu=False),
            net.conv(net.op("Relu", x), wide, relu=False),
        ]
        for one, i, other, j in blocks:
            edges = [_edge(net, k, states[n], wide, 2 if reduce and n < 2 else 1) for k, n in ((one, i), (other, j))]
            states.append(net.add(*edges))
        before, x, shrunk = x, net.concat(*(states[n] for n in kept)), reduce
    return net.classify(net.op("Relu", x))


def nasnet() -> onnx.ModelProto:
    return _searched(NASNET, 4, 44, 32)


def pnasnet() -> onnx.ModelProto:
    return _searched(PNASNET, 3, 54, 32)


def amoebanet() -> onnx.ModelProto:
    return _searched(AMOEBANET, 3, 64, 32)


def darts() -> onnx.ModelProto:
    return _searched(DARTS, 4, 48, 24)


NETWORKS: tuple[Callable[[], onnx.ModelProto], ...] = (
    resnet50, resnext50, fcn, deeplabv3, lraspp, r2plus1d, s3d, transformer, vit, nasnet, pnasnet, amoebanet, darts,
)  # fmt: skip
