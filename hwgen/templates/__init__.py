"""Every template hwgen can build. Add one line here to add a template."""

from .fifo import FifoParams

__all__ = ["TEMPLATES"]

TEMPLATES = (FifoParams,)
