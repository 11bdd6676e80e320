"""From a trained network to a verified FPGA accelerator: what the command line does, as functions."""

from typing import TYPE_CHECKING, Any

from .errors import HwgenError

if TYPE_CHECKING:
    from .exploring import explore
    from .flow import build, check, simulate
    from .host.device import Device
    from .implementation import bitstream
    from .scheduling import schedule

__all__ = ["Device", "HwgenError", "bitstream", "build", "check", "explore", "schedule", "simulate"]


def __getattr__(name: str) -> Any:
    """Import the pipeline when it is first asked for: that takes a second (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Device":
        from .host import device

        return device.Device
    if name == "bitstream":
        from . import implementation

        return implementation.bitstream
    if name == "explore":
        from . import exploring

        return exploring.explore
    if name == "schedule":
        from . import scheduling

        return scheduling.schedule
    from . import flow

    return getattr(flow, name)
