"""The AscendC kernel's way into MindSpore's Ascend backend, run without a device.

`ascend_stand_in.cc` stands for MindSpore's Ascend libraries and for an operator package with CANN behind it. It is
compiled against the same headers of MindSpore as the glue.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import pytest

from ifa_fusion import _ascend_kernel

SOURCE = Path(__file__).with_name("ascend_stand_in.cc")
ROOT = SOURCE.parents[3]
LIBRARY = Path("op_api", "lib", "libcust_opapi.so")
HEADER = Path("op_api", "include", "aclnn_ifa_decode.h")


def make_package(folder: Path, library: Path) -> Path:
    """An operator package as CANN's tools build it: its library, and the header that tells what is in there."""
    for file in (LIBRARY, HEADER):
        (folder / file).parent.mkdir(parents=True)
    (folder / LIBRARY).symlink_to(library)
    (folder / HEADER).touch()
    return folder


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library. 20 seconds."""
    library = tmp_path_factory.mktemp("stand_in") / "libstand_in.so"
    libraries = Path(ms.__file__).parent / "lib"
    folders = ms.ops.CustomOpBuilder("unused", str(SOURCE), backend="CPU").get_include_paths()
    command = [
        *(os.environ.get("CXX", "c++"), "-std=c++17", "-shared", "-fPIC"),
        *("-D_GLIBCXX_USE_CXX11_ABI=0", "-DENABLE_FAST_HASH_TABLE=1"),  # as MindSpore's libraries are compiled
        *(f"-isystem{folder}" for folder in folders),
        *(str(SOURCE), "-o", str(library), f"-L{libraries}"),
        *("-lmindspore_core", "-lmindspore_common", "-lmindspore_hardware_abstract", "-lmindspore_ops_host"),
    ]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    return library


RUN = """
import ctypes, json, sys
from pathlib import Path
from ifa_fusion import _ascend_kernel
_ascend_kernel._BACKEND = Path(sys.argv[1])
_ascend_kernel.register()
library = ctypes.CDLL(sys.argv[1])
library.run_kernel.argtypes = [ctypes.c_int, ctypes.c_int]
library.run_kernel.restype = ctypes.c_char_p
calls = {"int32": (32, 0), "int64": (64, 0), "absent": (0, 0), "refused": (64, 161002)}
print(json.dumps({name: library.run_kernel(*call).decode().splitlines() for name, call in calls.items()}))
"""


def run(folder: Path, stand_in: Path, library: Path) -> subprocess.CompletedProcess[str]:
    packages = f"/nowhere:{make_package(folder / 'package', library)}"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, str(stand_in)],
        env={**os.environ, "ASCEND_CUSTOM_OPP_PATH": packages},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def calls(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was written down in calls with lengths of both types, with all absent that may be, and of one refused."""
    finished = run(tmp_path_factory.mktemp("calls"), stand_in, stand_in)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


# Types and format are CANN's numbers: fp32 0, fp16 1, int8 2, int32 3, int64 9, bool 12, bf16 27; ND 2.
EVERYTHING = """
query: type 1, format 2, shape 2 6 1 16, strides 96 16 16 1, offset 0 of 2 6 1 16, at 1
key: type 2, format 2, shape 2 3 10 16, strides 960 320 32 1, offset 5 of 2 3 20 16, at 2
value: type 2, format 2, shape 2 3 11 16, strides 528 176 16 1, offset 0 of 2 3 11 16, at 3
pse_shift: type 1, format 2, shape 1 6 1 10, strides 60 10 10 1, offset 0 of 1 6 1 10, at 6
attn_mask: type 12, format 2, shape 2 1 1 10, strides 10 10 10 1, offset 0 of 2 1 1 10, at 4
actual_seq_lengths: values 7 9
dequant_scale1: None
quant_scale1: None
dequant_scale2: None
quant_scale2: type 0, format 2, shape 1, strides 1, offset 0 of 1, at 10
quant_offset2: type 0, format 2, shape 2, strides 1, offset 0 of 2, at 11
antiquant_scale: type 27, format 2, shape 2 3 1 16, strides 48 16 16 1, offset 0 of 2 3 1 16, at 12
antiquant_offset: type 27, format 2, shape 2 48, strides 48 1, offset 0 of 2 48, at 13
block_table: type 3, format 2, shape 2 4, strides 4 1, offset 0 of 2 4, at 14
kv_padding_size: type 9, format 2, shape, strides, offset 0 of, at 15
attention_out: type 2, format 2, shape 2 6 1 16, strides 96 16 16 1, offset 0 of 2 6 1 16, at 22
attributes: 6 0.25 BNSD 3 128 1
run: workspace 23 of 4096 stream 24
launched: 1
""".strip().splitlines()


@pytest.mark.parametrize("lengths", ["int32", "int64"])
def test_every_operand_reaches_cann_in_its_order(calls, lengths):
    """Operand i of the node is at the address i + 1; the key is a view. It is planned before there is memory."""
    planned = [re.sub(r"at \d+$", "at 0", line) for line in EVERYTHING[:-2]]
    first = "on the host: actual_seq_lengths"
    assert calls[lengths] == [first, *planned, "resized: 0", *EVERYTHING, "alive: 0"]


def test_absent_operands(calls):
    launched = calls["absent"][calls["absent"].index("resized: 0") + 1 :]
    assert [line.split(":")[0] for line in launched if not line.endswith(": None")] == [
        *("query", "key", "value", "attention_out", "attributes", "run", "launched", "alive")
    ]
    assert "attributes: 6 0.25 BSH 3 128 1" in launched
    assert len(launched) == len([*EVERYTHING, "alive"])
    assert launched[-1] == "alive: 0"


def test_refusal_of_cann(calls):
    said, *_, left = calls["refused"]
    assert "aclnnIfaDecodeGetWorkspaceSize must return 0, but got 161002: said by CANN" in said
    assert left == "alive: 0"


def test_package_without_the_operator(stand_in, tmp_path):
    finished = run(tmp_path, stand_in, _ascend_kernel._GLUE)
    assert finished.returncode == 1
    assert "RuntimeError: the operator package of IfaDecode can't be used" in finished.stderr
    assert "has no function aclnnIfaDecode" in finished.stderr


def symbols(library: Path, *, defined: bool) -> set[str]:
    command = ["nm", "-D", "--defined-only" if defined else "--undefined-only", str(library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listed.splitlines()}


def test_what_the_glue_leaves_open_is_in_mindspores_ascend_library():
    factory = {name for name in symbols(_ascend_kernel._GLUE, defined=False) if "CustomKernelFactory" in name}
    assert factory
    assert factory <= symbols(_ascend_kernel._BACKEND.with_name("libmindspore_ops_ascend.so"), defined=True)
    assert _ascend_kernel._BACKEND.is_file()


def test_where_packages_are_looked_for(monkeypatch, tmp_path):
    installed = make_package(tmp_path / "opp/vendors/ours", _ascend_kernel._GLUE)
    (make_package(tmp_path / "opp/vendors/another", _ascend_kernel._GLUE) / HEADER).unlink()
    monkeypatch.delenv("ASCEND_CUSTOM_OPP_PATH", raising=False)
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path / "opp"))
    assert _ascend_kernel.operator_library() == installed / LIBRARY
    own = make_package(tmp_path / "own", _ascend_kernel._GLUE)
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", f"{tmp_path / 'gone'}:{own}")
    assert _ascend_kernel.operator_library() == own / LIBRARY


def test_import_warns_of_a_package_that_cannot_be_used(tmp_path):
    package = make_package(tmp_path / "own", _ascend_kernel._GLUE)
    finished = subprocess.run(
        [sys.executable, "-c", "import ifa_fusion"],
        env={**os.environ, "ASCEND_CUSTOM_OPP_PATH": str(package)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0
    assert "RuntimeWarning: the " in finished.stderr
