"""How a call is refused: one form for every message."""

from __future__ import annotations

from typing import NoReturn

from ifa_fusion._operands import Operand, TensorSpec


def refuse(error: type[Exception], name: str, allowed: str, given: object) -> NoReturn:
    """Raise an exception that names the argument, what is allowed and what was given."""
    raise error(f"incre_flash_attention: '{name}' must be {allowed}, but got {given}.")


def text_of(operand: Operand) -> str:
    """Return what was given, as text for a message."""
    if isinstance(operand, TensorSpec):
        return str(operand)
    if isinstance(operand, tuple):
        return f"a sequence ({', '.join(map(text_of, operand))})"
    return f"{operand!r} of type {type(operand).__name__}"
