"""Runs the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import pytest

import ifa_fusion
from ifa_fusion.cli import main


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(capfd) -> Callable[..., Run]:
    """The exit code and both streams, as a process has them; bad usage ends as a process does."""

    def run(*arguments: object) -> Run:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        return Run(code, out, err)

    return run


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    ifa_fusion.disable()
    ms.set_context(mode=ms.PYNATIVE_MODE)
