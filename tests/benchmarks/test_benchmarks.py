import json
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from benchmarks import ring
from benchmarks.__main__ import main
from benchmarks.case import Case, Shape, parse_shape
from benchmarks.contestant import Peer
from benchmarks.measure import Settings, measure
from benchmarks.native import Half, load
from benchmarks.pinning import Pinning
from benchmarks.results import Results
from benchmarks.ring import Ring
from ifa_fusion import reference

SHAPE = "1,4,2,256,64"
README = "before\n<!-- the run: written by make bench -->\nold\n<!-- end of the run -->\nafter\n"


def table_rows(markdown):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]
    headings, rows = lines[0], [line for line in lines if re.match(r"\d+,", line[0])]
    return [dict(zip(headings, row, strict=True)) for row in rows]


def test_a_run_writes_the_same_figures_as_json_markdown_and_into_the_readme(tmp_path):
    (tmp_path / "README.md").write_text(README)
    options = ["--shape", SHAPE, "--dtype", "fp16", "--rounds", "2", "--no-peers", "--threads", "1", "2"]
    command = [sys.executable, "-m", "benchmarks", *options, "--json", tmp_path / "a.json", "--report", tmp_path]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    text = (tmp_path / "results/cpu.json").read_text()
    assert text == (tmp_path / "a.json").read_text()
    document = json.loads(text)
    markdown = (tmp_path / "results/cpu.md").read_text()
    found = table_rows(markdown)
    assert [row["threads"] for row in document["results"]] == [1, 2]
    assert len(found) == 2
    for shown, row in zip(found, document["results"], strict=True):
        assert shown["B,N,kvN,S,D"] == SHAPE
        assert float(shown["median us"]) == pytest.approx(row["median_us"], abs=0.051)
        assert float(shown["% of limit"]) == pytest.approx(row["percent"], abs=0.51)
        assert row["kv_gbps"] == pytest.approx(2 * 2 * 256 * 64 * 2 / row["median_us"] / 1e3)
        assert shown["paged 64"].endswith(f"({row['others']['paged 64']['ratio']:.2f} x)")
    assert (tmp_path / "README.md").read_text().startswith("before\n")
    assert (tmp_path / "README.md").read_text().endswith("after\n")
    assert markdown in (tmp_path / "README.md").read_text()
    assert (tmp_path / "results/cpu.png").read_bytes().startswith(b"\x89PNG")
    assert Results.from_json(text).to_json() == text


def test_every_peer_is_timed_or_said_to_be_absent(tmp_path):
    options = ["--shape", SHAPE, "--dtype", "fp16", "--rounds", "1", "--threads", "1", "--json", tmp_path / "a.json"]
    subprocess.run([sys.executable, "-m", "benchmarks", *options], check=True, stdout=subprocess.PIPE)
    text = (tmp_path / "a.json").read_text()
    document = json.loads(text)
    (row,) = document["results"]
    assert document["peers"]["MindSpore unfused"] == "2.10.0"
    for name, version in document["peers"].items():
        assert (name in row["others"]) == (version is not None)
        assert version is not None or row["absent"][name] == "not installed"
        assert f"{name} {version or 'not installed'}" in Results.from_json(text).to_markdown()


class Exact(Peer):
    """Computes with the reference."""

    name = "exact"
    package = "numpy"
    dtypes = frozenset({"fp32"})

    def __init__(self, ring, threads):
        self.ring = ring

    def attend(self, slot):
        self.result = reference.incre_flash_attention(
            self.ring.query[:, :, None],
            self.ring.keys[slot],
            self.ring.values[slot],
            num_heads=4,
            num_key_value_heads=2,
            input_layout="BNSD",
            scale_value=64**-0.5,
        )

    def output(self):
        return self.result


class Wrong(Exact):
    name = "wrong"

    def output(self):
        return np.roll(self.result, 1, axis=1)


class Broken(Exact):
    name = "broken"

    def attend(self, slot):
        raise RuntimeError("no such kernel\nmore")


class Other(Exact):
    name = "other"
    dtypes = frozenset()


class Missing(Exact):
    name = "missing"
    package = "a-package-that-nobody-installs"


@pytest.fixture(autouse=True)
def the_process_may_use_the_same_cpus_afterwards():
    before = os.sched_getaffinity(0)
    yield
    assert os.sched_getaffinity(0) == before


@pytest.fixture
def few_slots(monkeypatch):
    monkeypatch.setattr(ring, "_slot_count", lambda case: 3)


def test_only_peers_that_compute_the_same_are_timed(few_slots):
    peers = (Exact, Wrong, Broken, Other, Missing)
    row = measure(load(), Case(parse_shape(SHAPE), "fp32"), Settings(threads=1, rounds=1, block_size=48), peers)
    assert list(row.others) == ["warm", *(half.value for half in Half), "exact"]
    assert row.others["exact"].ratio == pytest.approx(row.others["exact"].median_us / row.median_us)
    assert row.percent == pytest.approx(100 * row.kv_gbps / row.probe_gbps)
    assert row.absent.pop("wrong").startswith("ArithmeticError: off by ")
    assert row.absent == {
        "paged 48": "48 does not divide S",
        "broken": "RuntimeError: no such kernel",
        "other": "no fp32",
        "missing": "not installed",
    }


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "int8"])
def test_the_kernel_is_checked_in_every_type(dtype, few_slots, monkeypatch):
    case = Case(Shape(2, 4, 2, 128, 64), dtype)
    settings = Settings(threads=1, rounds=1, block_size=64)
    assert {"paged 64", *(half.value for half in Half)} <= measure(load(), case, settings, ()).others.keys()
    right = reference.incre_flash_attention
    monkeypatch.setattr(reference, "incre_flash_attention", lambda *args, **options: 1.05 * right(*args, **options))
    with pytest.raises(ArithmeticError, match="off by"):
        measure(load(), case, settings, ())


def test_every_thread_has_a_cpu_of_its_own():
    cpus = sorted(os.sched_getaffinity(0))[:2]
    stop = threading.Event()
    with Pinning(2) as pinning:
        helper = threading.Thread(target=stop.wait)
        helper.start()
        pinning.pin_new_threads()
        pinning.pin_this_thread()
        pinned = os.sched_getaffinity(0), os.sched_getaffinity(helper.native_id)
        stop.set()
        helper.join()
    assert pinned == ({cpus[0]}, {cpus[-1]})


def test_a_ring_passes_enough_memory_between_two_uses_of_a_slot():
    made = Ring(Case(Shape(1, 4, 4, 2048, 64), "fp32"))
    assert (len(made) - 1) * (made.keys[0].nbytes + made.values[0].nbytes) >= 256 << 20
    assert sorted(made.next() for _ in range(len(made))) == list(range(len(made)))
    starts = {array.ctypes.data for array in (*made.keys, *made.values)}
    assert len(starts) == 2 * len(made)
    assert all(start % 4096 == 0 for start in starts)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shape", "1,4,3,16,8"], "--shape is '1,4,3,16,8'; it must be B,N,kvN,S,D"),
        (["--library", "nowhere.so"], "the benchmark's library 'nowhere.so' is not there"),
    ],
)
def test_bad_usage_is_one_sentence(arguments, said, capsys):
    assert main(["--threads", "1", *arguments]) == 2
    assert said in capsys.readouterr().err
