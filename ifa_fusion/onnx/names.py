"""Python names for what an ONNX file names: nothing of the file's text gets into the code but letters, digits and _."""

import builtins
import keyword
import re
from collections.abc import Iterable

_TAKEN = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "self", "ms", "mint", "np", "nn", "ops"})
_LONGEST = 120


def plain(text: str) -> str:
    """The text with all that can't stand in a comment or an identifier replaced by underscores, at most 120 long."""
    return re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_")[-_LONGEST:].lstrip("_")


class Names:
    """Identifiers of one scope, each given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {*_TAKEN, *taken}
        self._counts: dict[str, int] = {}

    def new(self, text: str) -> str:
        """An identifier that reads like the text and that was not given before."""
        stem = plain(text) or "value"
        stem = f"v_{stem}" if stem[0].isdigit() else stem
        name = stem
        while name in self._taken:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}_{self._counts[stem]}"
        self._taken.add(name)
        return name
