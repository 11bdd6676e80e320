"""Schedule a network's operators on a scratchpad memory: order, addresses, and what is spilled to external memory."""

from .baseline import best_fit, largest_first
from .check import check
from .peak import Peak, least_peak
from .problem import InfeasibleError, Operator, Problem, Schedule, Stay, Tensor
from .solve import solve

__all__ = [
    "InfeasibleError", "Operator", "Peak", "Problem", "Schedule", "Stay", "Tensor", "best_fit", "check", "largest_first",
    "least_peak", "solve",
]  # fmt: skip
