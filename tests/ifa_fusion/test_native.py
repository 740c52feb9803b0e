"""Loading the library: one sentence that says what is wrong and what to do."""

from __future__ import annotations

import os
import re

import pytest
from attention_networks import run_python

import ifa_fusion._native as native
from tests.ifa_fusion.broken_installations import (
    MISSING_LIBRARY,
    NO_MINDSPORE,
    NOT_BUILT,
    OTHER_MINDSPORE,
    OTHER_PROCESSOR,
    UNIMPORTABLE_MINDSPORE,
)

REPORT = """
try:
    import ifa_fusion
except ImportError as error:
    print(error)
else:
    print("imported")
"""


@pytest.mark.parametrize(
    ("preparation", "parts"),
    [
        (OTHER_MINDSPORE, ("MindSpore 2.10", "MindSpore 2.9.1 is installed", "`pip install mindspore==2.10")),
        (NO_MINDSPORE, ("MindSpore 2.10", "none is installed", "`pip install mindspore==2.10")),
        (
            UNIMPORTABLE_MINDSPORE,
            ("MindSpore 2.10", "can't be imported (import of mindspore halted", "--force-reinstall"),
        ),
        (NOT_BUILT, ("no native library", "make setup", "pip install")),
        (OTHER_PROCESSOR, ("built for a processor of", "this one is aarch64", "`pip install .`")),
        (MISSING_LIBRARY, ("libifa_fusion.so", "libstdc++.so.6: cannot open", "`pip install .`")),
    ],
    ids=["other MindSpore", "no MindSpore", "broken MindSpore", "not built", "other processor", "missing library"],
)
def test_import_fails_with_one_sentence(preparation, parts, tmp_path):
    run = run_python(preparation + REPORT, tmp_path)
    assert run.returncode == 0, run.stderr
    message = run.stdout.strip().splitlines()[-1]
    for part in parts:
        assert part in message
    assert message.endswith(".")
    assert not re.search(r"\. [A-Z]", message)


def test_what_the_library_says_of_the_machine():
    assert native.LIBRARY_PATH.name == "libifa_fusion.so"
    assert native.LIBRARY_PATH.is_file()
    assert native.instruction_set()
    assert native.thread_count() >= 1


@pytest.fixture
def unlimited(monkeypatch):
    """As if the user had said nothing of threads; afterwards what was said counts again."""
    with monkeypatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        native.set_thread_count(0)
        yield
    native.set_thread_count(0)


@pytest.mark.usefixtures("unlimited")
def test_default_thread_count_does_not_depend_on_where_the_caller_is_pinned():
    before, allowed = native.thread_count(), os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        native.set_thread_count(0)
        assert native.thread_count() == before
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("unlimited")
def test_thread_count_can_be_set_and_returned():
    before = native.thread_count()
    try:
        native.set_thread_count(1)
        assert native.thread_count() == 1
    finally:
        native.set_thread_count(0)
    assert native.thread_count() == before
