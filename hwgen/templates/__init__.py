"""Every template hwgen can build. Add one line here to add a template."""

from .add import AddParams
from .argmax import ArgMaxParams
from .average import AverageParams
from .concat import ConcatParams
from .depthwise import DepthwiseParams
from .fifo import FifoParams
from .fork import ForkParams
from .matrix_vector import MatrixVectorParams
from .pair_table import PairTableParams
from .pool import GlobalSumParams, WindowMaxParams
from .requant import RequantParams
from .softmax import SoftmaxParams
from .table import TableParams
from .width import WidthParams
from .window import WindowParams

__all__ = ["TEMPLATES"]

TEMPLATES = (
    AddParams, ArgMaxParams, AverageParams, ConcatParams, DepthwiseParams, FifoParams, ForkParams, GlobalSumParams,
    MatrixVectorParams, PairTableParams, RequantParams, SoftmaxParams, TableParams, WidthParams, WindowMaxParams, WindowParams,
)  # fmt: skip
