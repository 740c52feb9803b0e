"""info, and the command line as a process of its own."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import subprocess
import sys

import pytest

from ifa_fusion import _native
from tests.ifa_fusion.broken_installations import NOT_BUILT, OTHER_MINDSPORE, UNIMPORTABLE_MINDSPORE

STARTED = """
import sys
sys.argv = ["/usr/bin/ifa-fusion", *sys.argv[1:]]
from ifa_fusion.cli import main
sys.exit(main())
"""

INTERRUPTED_IMPORT = """
import signal, sys
class Finder:
    @staticmethod
    def find_spec(name, *rest):
        if name == "mindspore":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code + STARTED, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_all_that_a_bug_report_needs(command):
    found = command("info")
    assert found.code == 0
    table = dict(line.split("  ", 1) for line in found.out.splitlines())
    assert table["MindSpore"].strip() == importlib.metadata.version("mindspore")
    assert table["Python"].strip() == platform.python_version()
    assert table["instruction set"].strip() == _native.instruction_set()
    assert table["threads"].split()[0] == str(_native.thread_count())
    assert "GNU" in table["built for"] or "Clang" in table["built for"]
    assert "not found" in table["CANN"]
    assert found.out.isascii()


def test_ascend(command, monkeypatch, tmp_path):
    package = tmp_path / "vendors" / "ifa" / "op_api"
    for file in (package / "lib" / "libcust_opapi.so", package / "include" / "aclnn_ifa_decode.h"):
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path))
    found = command("info", "--json").document
    assert found["CANN"] == str(tmp_path)
    assert found["AscendC kernel"] == str(package / "lib" / "libcust_opapi.so")


@pytest.mark.parametrize(
    ("preparation", "parts"),
    [
        (OTHER_MINDSPORE, ("MindSpore 2.9.1 is installed", "`pip install mindspore==2.10")),
        (UNIMPORTABLE_MINDSPORE, ("can't be imported", "`pip install --force-reinstall mindspore==2.10")),
        (NOT_BUILT, ("no native library", "`make setup`")),
    ],
    ids=["other MindSpore", "no MindSpore", "not built"],
)
def test_works_where_the_library_does_not_load(preparation, parts):
    found = run(preparation, "info")
    assert found.returncode == 1
    assert "not loaded" in found.stdout
    assert "NumPy" in found.stdout
    message = found.stderr.splitlines()[-1]
    for part in parts:
        assert part in message
    assert "Traceback" not in found.stderr


def test_other_commands_say_why_the_library_does_not_load():
    found = run(OTHER_MINDSPORE, "explain", "x.onnx")
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("ifa-fusion explain: ifa_fusion was built for MindSpore")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(("option", "warned"), [([], False), (["--debug"], True)], ids=["by default", "debug"])
def test_module_finds_networks_in_the_current_folder(tmp_path, monkeypatch, option, warned):
    monkeypatch.delenv("GLOG_v", raising=False)
    (tmp_path / "mine.py").write_text(
        "import mindspore as ms\ndef net():\n    ms.log.warning('a word')\n    return ms.nn.ReLU(), ms.Tensor([1.0])\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "ifa_fusion", "explain", "mine:net", *option],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0
    assert "no attention sites" in found.stdout
    assert (found.stderr != "", "a word" in found.stderr) == (warned, warned)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["bench", "--help"], 0), (["fly"], 2), (["bench", "--rounds=0"], 2)]
)
def test_help_and_bad_usage_do_not_wait_for_mindspore(arguments, code):
    found = run("import atexit, sys\natexit.register(lambda: print('mindspore' in sys.modules))\n", *arguments)
    assert found.returncode == code
    assert found.stdout.endswith("False\n")


def test_an_interrupt_while_mindspore_is_imported():
    found = run(INTERRUPTED_IMPORT, "explain", "x.onnx")
    assert (found.returncode, found.stdout, found.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [([], ("required: COMMAND",)), (["fly"], ("'fly'", "'explain'")), (["info", "--fly"], ("--fly",))],
)
def test_bad_usage(command, arguments, parts):
    found = command(*arguments)
    assert found.code == 2
    assert found.err.count("\n") == 1
    for part in parts:
        assert part in found.err


def test_help_names_every_command(command):
    found = command("--help")
    assert found.code == 0
    for name in ("info", "explain", "fuse", "verify"):
        assert name in found.out
