"""Which operators are known, and what to say about others."""

from .rewriting import LAYOUT

__all__ = ["ADVICE", "ELEMENTWISE", "NO_ADVICE", "OPERATORS", "SUPPORTED"]

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
