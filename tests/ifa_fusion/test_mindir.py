"""fuse_mindir: files in, files out, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from attention_networks import Attention, Projected, RefusedAttention, operands, run_python, values_of
from mindspore import Tensor, nn
from mindspore.train import mind_ir_pb2

import ifa_fusion


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=ms.GRAPH_MODE)
    ifa_fusion.report(reset=True)
    yield
    ifa_fusion.disable()
    ms.set_context(mode=ms.PYNATIVE_MODE)


def export(network: nn.Cell, path: Path, *inputs: Tensor) -> Path:
    ms.export(network, *inputs, file_name=str(path.with_suffix("")), file_format="MINDIR")
    return path


def operators_in(path: Path) -> list[str]:
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    graphs = (model.graph, *model.functions)
    return [node.op_type.removeprefix("REF::").split(":")[0] for graph in graphs for node in graph.node]


@pytest.fixture
def source(tmp_path) -> Path:
    return export(Attention(), tmp_path / "decoder.mindir", *operands())


LOAD = """
import json, numpy as np, mindspore as ms, ifa_fusion
from mindspore import Tensor
results = []
for path, inputs, dtype in json.load(open("work.json")):
    network = ms.nn.GraphCell(ms.load(path))
    output = network(*[Tensor(np.load(name)).astype(getattr(ms, dtype)) for name in inputs])
    results.append(output.astype(ms.float32).asnumpy().tolist())
print(json.dumps(results))
"""


def test_fused_files_run_in_a_process_that_only_imports_the_package(tmp_path):
    cache = Tensor(shape=[2, 2, None, 8], dtype=ms.float32)
    cases = [
        (Attention(), operands(), operands(), 1e-5),
        (Attention(), operands(dtype=ms.float16), operands(dtype=ms.float16), 4e-3),
        (Attention(), [operands()[0], cache, cache], operands(length=13), 1e-5),
        (Projected(), operands(), operands(), 1e-5),
    ]
    work, expected = [], []
    for number, (network, declared, inputs, _) in enumerate(cases):
        path = export(network, tmp_path / f"net{number}.mindir", *declared)
        fused = tmp_path / f"fused{number}.mindir"
        report = ifa_fusion.fuse_mindir(path, str(fused))
        assert [site.reason for site in report.sites] == ["fused"]
        assert operators_in(fused).count("IncreFlashAttention") == 1
        assert "Softmax" not in operators_in(fused)
        names = []
        for index, tensor in enumerate(inputs):
            names.append(f"input{number}-{index}.npy")
            np.save(tmp_path / names[-1], tensor.asnumpy())
        work.append((fused.name, names, str(inputs[0].dtype).lower()))
        expected.append(values_of(type(network)()(*inputs)))
    (tmp_path / "work.json").write_text(json.dumps(work))
    run = run_python(LOAD, tmp_path)
    assert run.returncode == 0, run.stderr
    for case, want, got in zip(cases, expected, json.loads(run.stdout.splitlines()[-1]), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=case[-1] * np.abs(want).max())


def test_source_stays_and_only_the_destination_appears(source, tmp_path):
    before = source.read_bytes()
    ifa_fusion.fuse_mindir(source, tmp_path / "fused.mindir")
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.mindir", "fused.mindir"]


def test_destination_may_exist_or_be_the_source(source, tmp_path):
    destination = tmp_path / "fused.mindir"
    destination.write_text("old")
    ifa_fusion.fuse_mindir(source, destination)
    ifa_fusion.fuse_mindir(source, source)
    for path in (source, destination):
        assert "IncreFlashAttention" in operators_in(path)


def test_fusing_a_fused_file_changes_nothing_more(source, tmp_path):
    ifa_fusion.fuse_mindir(source, tmp_path / "once.mindir")
    report = ifa_fusion.fuse_mindir(tmp_path / "once.mindir", tmp_path / "twice.mindir")
    assert report.sites == ()
    assert operators_in(tmp_path / "twice.mindir").count("IncreFlashAttention") == 1


def test_what_is_refused_is_written_as_it_was(tmp_path):
    source = export(RefusedAttention(), tmp_path / "net.mindir", *operands())
    report = ifa_fusion.fuse_mindir(source, tmp_path / "fused.mindir")
    assert [site.reason for site in report.sites] == ["probabilities_used"]
    assert "Softmax" in operators_in(tmp_path / "fused.mindir")


def test_leaves_no_trace_in_the_process(source, tmp_path):
    ifa_fusion.fuse_mindir(source, tmp_path / "fused.mindir")
    assert ifa_fusion.report().sites == ()
    Attention()(*operands())
    assert ifa_fusion.report().sites == ()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("source_name", "destination_name", "error", "argument"),
    [
        ("missing.mindir", "fused.mindir", FileNotFoundError, "source"),
        (".mindir", "fused.mindir", ValueError, "source"),
        ("folder.mindir", "fused.mindir", FileNotFoundError, "source"),
        ("decoder.onnx", "fused.mindir", ValueError, "source"),
        ("decoder", "fused.mindir", ValueError, "source"),
        ("decoder.mindir", "fused.onnx", ValueError, "destination"),
        ("decoder.mindir", "fused", ValueError, "destination"),
        ("decoder.mindir", "nowhere/fused.mindir", FileNotFoundError, "destination"),
        ("decoder.mindir", "folder.mindir", (ValueError, FileNotFoundError), "destination"),
    ],
)
def test_wrong_paths(source, tmp_path, source_name, destination_name, error, argument):
    (tmp_path / "folder.mindir").mkdir()
    before = files_in(tmp_path)
    with pytest.raises(error, match=f"^{argument} must be"):
        ifa_fusion.fuse_mindir(tmp_path / source_name, tmp_path / destination_name)
    assert files_in(tmp_path) == before
    assert not any((tmp_path / "folder.mindir").iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"not a graph" * 50, bytes(300), b"{}"], ids=["empty", "text", "zeros", "json"]
)
def test_files_that_are_no_mindir(tmp_path, content):
    source = tmp_path / "net.mindir"
    source.write_bytes(content)
    with pytest.raises(ValueError, match=r"^source must be a MindIR, but .*net\.mindir"):
        ifa_fusion.fuse_mindir(source, tmp_path / "fused.mindir")
    assert files_in(tmp_path) == {"net.mindir": content}


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files(source, tmp_path, share):
    content = source.read_bytes()
    source.write_bytes(content[: int(share * len(content))])
    before = files_in(tmp_path)
    with pytest.raises(ValueError, match=r"^source must be a MindIR"):
        ifa_fusion.fuse_mindir(source, tmp_path / "fused.mindir")
    assert files_in(tmp_path) == before


def test_failing_export_leaves_the_destination_alone(source, tmp_path, monkeypatch):
    destination = tmp_path / "fused.mindir"
    destination.write_text("old")

    def fail(*args: object, file_name: str, **kwargs: object) -> None:
        Path(file_name).with_suffix(".mindir").write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(ms, "export", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        ifa_fusion.fuse_mindir(source, destination)
    assert destination.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.mindir", "fused.mindir"]
