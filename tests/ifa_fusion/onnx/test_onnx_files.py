"""ifa_fusion.onnx.load on files that are broken, hostile or large: one sentence, and nothing else is read or run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import pytest
from onnx import TensorProto, external_data_helper, helper

from ifa_fusion.onnx import OnnxError, load

FLOAT = TensorProto.FLOAT


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    return tmp_path / "models"


def saved(model: onnx.ModelProto) -> Path:
    return onnx_models.save(model, Path("model.onnx"))


def chain(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A model of one input x and one output y."""
    return onnx_models.model_of(nodes, {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})


def external(**entries: str | int) -> onnx.ModelProto:
    """y = x + weight, whose 400 bytes are kept where the entries say."""
    model = onnx_models.model_of(
        [helper.make_node("Add", ["x", "weight"], ["y"])],
        {"x": (FLOAT, [100])},
        {"y": (FLOAT, [100])},
        {"weight": np.ones(100, np.float32)},
    )
    external_data_helper.set_external_data(model.graph.initializer[0], **entries)
    model.graph.initializer[0].ClearField("raw_data")
    return model


def weights(path: Path, size: int = 400) -> Path:
    path.write_bytes(np.full(size // 4, 2.0, np.float32).tobytes())
    return path


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere\.onnx"):
        load("nowhere.onnx")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(".")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 1000, b"\x08\x0a"])
def test_a_file_that_is_no_model(content):
    Path("model.onnx").write_bytes(content)
    with pytest.raises(OnnxError, match=r"model\.onnx"):
        load("model.onnx")


def test_a_file_cut_anywhere_is_refused():
    whole = saved(onnx_models.attention()).read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        Path("model.onnx").write_bytes(whole[:length])
        with pytest.raises(OnnxError):
            load("model.onnx")


def test_a_cycle():
    model = chain(helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Neg", ["y"], ["b"]))
    with pytest.raises(OnnxError, match="contains a cycle"):
        load(saved(model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (chain(helper.make_node("Neg", ["nothing"], ["y"])), "nothing"),
        (chain(helper.make_node("Neg", ["x"], ["z"])), "nothing computes the output 'y'"),
        (chain(helper.make_node("Neg", ["x", "x"], ["y"])), "input size 2"),
        (chain(helper.make_node("Concat", ["x"], ["y"])), "axis"),
        (chain(helper.make_node("Concat", ["x"], ["y"], axis=1.5)), "axis"),
        (chain(helper.make_node("Neg", ["x"], ["y"], nonsense=1)), "nonsense"),
        (chain(helper.make_node("Split", ["x"], ["y", "z"], num_outputs=1)), "2 outputs, but num_outputs is 1"),
    ],
)
def test_a_graph_that_breaks_the_rules(model, message):
    with pytest.raises(OnnxError, match=message):
        load(saved(model))


def test_the_sizes_of_inputs_take_no_memory():
    assert load(saved(onnx_models.linear(batch=1 << 40))).input_names == ("x",)


def test_weights_of_another_size_than_their_shape():
    model = onnx_models.linear()
    model.graph.initializer[0].raw_data = b"\0" * 20
    with pytest.raises(OnnxError, match=r"the tensor 'fc.weight' is broken"):
        load(saved(model))
    model = onnx_models.linear()
    model.graph.initializer[0].dims[0] = -3
    with pytest.raises(OnnxError, match=r"the tensor 'fc.weight' has a negative size"):
        load(saved(model))


def test_weights_beside_the_model_are_read(folder):
    weights(folder / "weights.bin", 512)
    (parameter,) = load(saved(external(location="weights.bin", offset=112, length=400))).get_parameters()
    np.testing.assert_array_equal(parameter.asnumpy(), np.full(100, 2.0))
    (folder / "sub").mkdir()
    weights(folder / "sub" / "weights.bin")
    (parameter,) = load(saved(external(location="sub/weights.bin"))).get_parameters()
    assert parameter.shape == (100,)


@pytest.mark.parametrize("elements", [100, 1000])
def test_weights_beside_a_model_in_another_folder_than_the_current_one_are_read(folder, monkeypatch, elements):
    kind = (FLOAT, [elements])
    model = onnx_models.model_of(
        [helper.make_node("Add", ["x", "weight"], ["y"])], {"x": kind}, {"y": kind}, {"weight": np.ones(elements, "f")}
    )
    onnx.save(model, "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    monkeypatch.chdir(folder.parent)
    (parameter,) = load(folder / "model.onnx").get_parameters()
    np.testing.assert_array_equal(parameter.asnumpy(), np.ones(elements))


@pytest.mark.parametrize(
    "location", ["../outside.bin", "sub/../../outside.bin", "{absolute}", "link.bin", "links/outside.bin"]
)
def test_weights_outside_the_folder_are_not_read(folder, location):
    outside = weights(folder.parent / "outside.bin")
    (folder / "sub").mkdir()
    (folder / "link.bin").symlink_to(outside)
    (folder / "links").symlink_to(folder.parent)
    with pytest.raises(OnnxError, match="which is outside the model's folder: copy the file into it"):
        load(saved(external(location=location.format(absolute=outside))))


def test_links_into_the_folder_that_the_file_lies_in_are_followed(folder):
    """As in the cache of Hugging Face, where all files of a model are links to files named by their content."""
    (folder / "blobs").mkdir()
    snapshot = folder / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    saved(external(location="decoder.onnx_data", offset=112)).rename(folder / "blobs" / "0a1b")
    (snapshot / "decoder.onnx").symlink_to("../../blobs/0a1b")
    weights(folder / "blobs" / "2c3d", 512)
    (snapshot / "decoder.onnx_data").symlink_to("../../blobs/2c3d")
    (parameter,) = load(snapshot / "decoder.onnx").get_parameters()
    np.testing.assert_array_equal(parameter.asnumpy(), np.full(100, 2.0))
    (snapshot / "decoder.onnx_data").unlink()
    (snapshot / "decoder.onnx_data").symlink_to(weights(folder.parent / "outside.bin", 512))
    with pytest.raises(OnnxError, match="outside the model's folder"):
        load(snapshot / "decoder.onnx")


def test_the_model_alone_may_be_a_link(folder):
    (folder / "model").mkdir()
    weights(folder / "model" / "weights.bin")
    saved(external(location="weights.bin")).rename(folder / "model" / "decoder.onnx")
    (folder / "decoder.onnx").symlink_to("model/decoder.onnx")
    (parameter,) = load("decoder.onnx").get_parameters()
    assert parameter.shape == (100,)


def test_weights_that_another_folder_shares_are_not_read(folder):
    os.link(weights(folder.parent / "outside.bin"), folder / "weights.bin")
    with pytest.raises(OnnxError, match="hard link"):
        load(saved(external(location="weights.bin")))


def test_weights_that_are_missing_or_short(folder):
    with pytest.raises(
        FileNotFoundError, match=r"'weight' is kept in 'weights\.bin', which is not in the model's folder"
    ):
        load(saved(external(location="weights.bin")))
    (folder / "pipe").mkdir()
    with pytest.raises(FileNotFoundError):
        load(saved(external(location="pipe")))
    os.mkfifo(folder / "fifo")
    with pytest.raises(FileNotFoundError):
        load(saved(external(location="fifo")))
    weights(folder / "weights.bin", 396)
    with pytest.raises(OnnxError, match=r"needs the bytes 0 to 400 of 'weights\.bin', which is shorter"):
        load(saved(external(location="weights.bin")))
    weights(folder / "weights.bin")
    for entries in ({"offset": 4}, {"length": 396}, {"offset": 1 << 62}):
        with pytest.raises(OnnxError, match="'weight'"):
            load(saved(external(location="weights.bin", **entries)))
    with pytest.raises(OnnxError):
        load(saved(external(location="weights.bin", offset=-4)))


def function(name: str, *calls: str) -> onnx.FunctionProto:
    """A function that calls others, one after the other."""
    nodes = [
        helper.make_node(call, [f"v{i}"], [f"v{i + 1}"], domain="" if call == "Neg" else "local")
        for i, call in enumerate(calls)
    ]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["v0"], [f"v{len(calls)}"], nodes, imports)


def test_functions_that_call_themselves_or_grow_without_bound():
    call = [helper.make_node("F0", ["x"], ["y"], domain="local")]
    kind = {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])}
    doubling = [function(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(60)] + [function("F60", "Neg")]
    cases = [
        ([function("F0", "F0")], "Cycle detected"),
        ([function("F0", "F1"), function("F1", "F0")], "Cycle detected"),
        (doubling, "more than 100000 nodes"),
    ]
    for functions, message in cases:
        with pytest.raises(OnnxError, match=message):
            load(saved(onnx_models.model_of(call, *kind, functions=functions)))


MEASURE = """
import resource, sys
import mindspore as ms, ifa_fusion.onnx
import onnx_models  # all that costs memory is imported before
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
network = ifa_fusion.onnx.load(sys.argv[1])
assert sum(parameter.size for parameter in network.get_parameters()) == int(sys.argv[2])
print(peak() - before)
"""


@pytest.mark.parametrize("outside", [True, False], ids=["weights beside the file", "weights in the file"])
def test_memory_stays_at_twice_the_weights(folder, outside):
    names = [f"weight{i}" for i in range(8)]
    size = 1 << 22  # elements of each: 16 MiB
    nodes = [helper.make_node("Add", [f"v{i}", name], [f"v{i + 1}"]) for i, name in enumerate(names)]
    kind = (FLOAT, [size])
    model = onnx_models.model_of(nodes, {"v0": kind}, {"v8": kind}, dict.fromkeys(names, np.ones(size, np.float32)))
    onnx.save(model, "model.onnx", save_as_external_data=outside, location="weights.bin")
    del model
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, "model.onnx", str(8 * size)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    structure = 1 << 20  # all that is not weights
    assert int(run.stdout.splitlines()[-1]) < 2 * 8 * 4 * size + structure
