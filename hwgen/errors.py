"""What hwgen says when the user's input is at fault."""

__all__ = ["HwgenError"]


class HwgenError(Exception):
    """Bad user input or an unsupported case: what, where, why, what to do. The command line exits with 2."""
