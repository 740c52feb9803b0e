"""What is raised for a model that can't be imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 200


class OnnxError(ValueError):
    """An ONNX file that is broken, contradicts itself, or holds what can't be imported; the message says what."""


class Unsupported(Exception):
    """A node that can't be written as MindSpore code; the message says why, without naming the node."""


def shown(text: str | None) -> str:
    """A text of the file as it may stand in a message: no control characters, not too long."""
    quoted = f"{text or '':.{_LONGEST}}".encode("unicode_escape").decode("ascii")
    return f"'{quoted}'"


@contextmanager
def refused_as(what: str) -> Iterator[None]:
    """Turns whatever the libraries raise on a hostile or broken model into an OnnxError that begins with `what`."""
    try:
        yield
    except (OnnxError, Unsupported, FileNotFoundError):
        raise
    except Exception as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        reason = " ".join(str(first).split()) or type(first).__name__
        raise OnnxError(f"{what}: {shown(reason)[1:-1]}") from error
