"""bench: a tiny shape, as a process of its own because MindSpore's threads are set once."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from ifa_fusion.benchmarks import ring

from ifa_fusion.cli import bench


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def run(figures):
    arguments = ["bench", "--shape", "1,4,2,64,16", "--dtype", "fp32", "--rounds", "1", "--json", "--figures", figures]
    code = "import sys; from ifa_fusion.benchmarks import ring; ring.cold_bytes = lambda: 1 << 20; "
    code += "from ifa_fusion.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_figures_of_each_context(run):
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert [row["shape"][3] for row in found["results"]] == [8, 16, 32, 64]
    for row in found["results"]:
        assert row["absent"] == {}
        assert set(row["others"]) == {"MindSpore unfused", "MindSpore fused"}
        assert row["percent"] > 0


def test_pictures(run, figures):
    assert {file.name for file in figures.iterdir()} == {
        "bandwidth.png", "bandwidth.svg", "contexts.png", "contexts.svg"
    }  # fmt: skip
    assert (figures / "contexts.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (figures / "contexts.svg").read_text()


def test_table(command, monkeypatch):
    monkeypatch.setattr(ring, "cold_bytes", lambda: 1 << 20)
    monkeypatch.setattr(bench, "_SHORTER", (1,))
    run = command("bench", "--shape", "1,4,2,64,16", "--dtype", "int8", "--rounds", 1)
    assert run.code == 0
    assert "1,4,2,64,16" in run.out
    assert "Medians of 1 rounds" in run.out
    assert "Not run: MindSpore unfused: no int8; MindSpore fused: no int8." in run.out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--shape", "1,2,3"], ("--shape is '1,2,3'", "B,N,kvN,S,D")),
        (["--dtype", "fp8"], ("argument --dtype", "'fp8'", "'int8'")),
        (["--rounds", "none"], ("argument --rounds", "'none'", "1 or more")),
        (["--figures", "file"], ("--figures is 'file'", "must be a folder")),
    ],
)
def test_bad_input(command, arguments, parts, tmp_path):
    (tmp_path / "file").touch()
    run = command("bench", *arguments)
    assert (run.code, run.out) == (2, "")
    for part in parts:
        assert part in run.err


def test_figures_without_matplotlib(command, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    run = command("bench", "--figures", "figures")
    assert run.code == 2
    assert "pip install 'ifa-fusion[bench]'" in run.err
