"""ifa_fusion.onnx.load: what it gives for models that are as they should be, and what it refuses of them."""

from __future__ import annotations

import ast
import gc
import py_compile
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import onnx_models
import onnxruntime
import pytest
from mindspore import Tensor
from onnx import TensorProto, helper

import ifa_fusion
from ifa_fusion.onnx import OnnxError, load

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def saved(model: onnx.ModelProto) -> Path:
    return onnx_models.save(model, Path("model.onnx"))


def unary(*operators: str) -> onnx.ModelProto:
    """A chain of operators of one input and one output."""
    names = ["x", *(f"v{i}" for i in range(len(operators) - 1)), "y"]
    nodes = [
        helper.make_node(operator, [names[i]], [names[i + 1]], name=f"node {i}") for i, operator in enumerate(operators)
    ]
    return onnx_models.model_of(nodes, {"x": (FLOAT, ["batch", 3])}, {"y": (FLOAT, ["batch", 3])})


def test_names_order_and_parameters_are_the_models():
    path = saved(onnx_models.linear())
    network = load(path)
    assert network.input_names == ("x",)
    assert network.output_names == ("y",)
    assert {p.name: p.requires_grad for p in network.get_parameters()} == {"fc.weight": False, "fc.bias": False}
    onnx_models.assert_agree(network, path, {"batch": 2})
    onnx_models.assert_agree(network, path, {"batch": 5})


def test_a_checkpoint_of_the_network_is_loaded_by_name():
    network = load(saved(onnx_models.linear()))
    ms.save_checkpoint(network, "changed.ckpt")
    before = network(Tensor(np.ones((1, 3), np.float32))).asnumpy()
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(np.zeros(parameter.shape, np.float32)))
    assert ms.load_param_into_net(network, ms.load_checkpoint("changed.ckpt")) == ([], [])
    np.testing.assert_array_equal(network(Tensor(np.ones((1, 3), np.float32))).asnumpy(), before)


SHIPPED = """
import sys
sys.modules["onnx"] = sys.modules["onnx_ir"] = sys.modules["onnxscript"] = None  # importing them is an error
import mindspore as ms, numpy as np
ms.set_context(mode=ms.GRAPH_MODE)
from kept.decoder import Decoder
network = Decoder(ms.load_checkpoint("kept/decoder.ckpt"))
print(network(ms.Tensor(np.ones((4, 3), np.float32))).asnumpy().tolist())
"""


def test_kept_code_runs_without_onnx():
    network = load(saved(onnx_models.linear()), source_dir="kept")
    assert sorted(file.name for file in Path("kept").iterdir()) == ["decoder.ckpt", "decoder.py"]
    wanted = network(Tensor(np.ones((4, 3), np.float32))).asnumpy().tolist()
    printed = subprocess.run([sys.executable, "-c", SHIPPED], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == str(wanted)


def test_code_kept_over_older_code_is_what_runs():
    """Also if there is bytecode of the older code that Python takes for current (graph mode would read the source)."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    load(saved(unary("Neg")), source_dir="kept")
    py_compile.compile("kept/decoder.py", invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    network = load(saved(unary("Identity", "Abs")), source_dir="kept")
    assert network(Tensor([[1.0, -2.0, 3.0]])).asnumpy().tolist() == [[1, 2, 3]]


def test_without_a_folder_the_code_goes_with_the_network():
    network = load(saved(unary("Neg")))
    name = type(network).__module__
    file = Path(sys.modules[name].__file__ or "")
    assert file.exists()
    del network
    gc.collect()
    assert not file.parent.exists()
    assert name not in sys.modules


def test_bound_dimensions_leave_no_shape_arithmetic():
    path = saved(onnx_models.attention())
    load(path, {"past": 5}, source_dir="bound")
    load(path, source_dir="open")
    assert ".shape[" not in Path("bound/decoder.py").read_text()
    assert "shape=[1, 2, 5, 8]" in Path("bound/decoder.py").read_text()
    assert ".shape[" in Path("open/decoder.py").read_text()
    assert "shape=[1, 2, None, 8]" in Path("open/decoder.py").read_text()


def test_attention_is_fused_and_agrees_at_every_length():
    path = saved(onnx_models.attention())
    network = load(path, source_dir="decoder")
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion():
        for length in (1, 6):
            onnx_models.assert_agree(network, path, {"past": length})
    report = ifa_fusion.report(reset=True)
    assert len(report.fused) >= 1
    assert not report.refused
    lines = Path("decoder/decoder.py").read_text().splitlines()
    for site in report.fused:
        file, line = site.location.rsplit(":", 1)
        assert file.endswith("decoder/decoder.py")
        assert "exponentials = ops.exp(scaled" in lines[int(line) - 1]
    onnx_models.assert_agree(network, path, {"past": 6})


def test_it_exports_to_mindir_which_is_fused():
    path = saved(onnx_models.attention())
    inputs = onnx_models.inputs_of(path, {"past": 5})
    network = load(path, {"past": 5})
    tensors = [Tensor(inputs[name]) for name in network.input_names]
    ms.export(network, *tensors, file_name="decoder", file_format="MINDIR")
    report = ifa_fusion.fuse_mindir("decoder.mindir", "fused.mindir")
    assert (len(report.fused), len(report.refused)) == (1, 0)
    outputs = ms.nn.GraphCell(ms.load("fused.mindir"))(*tensors)
    for got, want in zip(outputs, onnx_models.expected(path, inputs), strict=True):
        np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-5, atol=1e-5)


def test_sums_of_names_are_bound_with_the_names():
    kind = {"x": (FLOAT, ["past", 2]), "y": (FLOAT, ["past + step", 2])}
    model = onnx_models.model_of(
        [helper.make_node("Concat", ["x", "y"], ["z"], axis=0)], kind, {"z": (FLOAT, [None, 2])}
    )
    load(saved(model), {"past": 3, "step": 1}, source_dir="kept")
    assert "shape=[3, 2]" in Path("kept/decoder.py").read_text()
    assert "shape=[4, 2]" in Path("kept/decoder.py").read_text()
    with pytest.raises(OnnxError, match="'y' has a negative size: -2"):
        load(
            saved(
                onnx_models.model_of(
                    [helper.make_node("Neg", ["y"], ["z"])], {"y": (FLOAT, ["past - 5"])}, {"z": (FLOAT, [None])}
                )
            ),
            {"past": 3},
        )


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"batches": 1}, "dims names 'batches'; the model's dimensions are 'batch'"),
        ({"batch": -1}, r"dims\['batch'\] must be an integer of 0 or more, not -1"),
        ({"batch": True}, r"dims\['batch'\] must be an integer of 0 or more, not True"),
        ({"batch": "1"}, r"dims\['batch'\] must be an integer of 0 or more, not '1'"),
    ],
)
def test_wrong_dims_are_named(dims, message):
    with pytest.raises(OnnxError, match=message):
        load(saved(onnx_models.linear()), dims)


def test_a_call_with_other_shapes_than_the_models_is_refused():
    network = load(saved(onnx_models.linear()), {"batch": 2})
    with pytest.raises(ValueError, match="shape"):
        network(Tensor(np.ones((3, 3), np.float32)))
    with pytest.raises(TypeError, match="Float32"):
        network(Tensor(np.ones((2, 3), np.float16)))


def test_all_that_is_not_supported_is_listed_at_once():
    model = unary("Neg", "NoSuchOperator", "Abs", "LpNormalization")
    model.graph.node.add(op_type="Relu", domain="example.org", input=["x"], output=["z"], name="other")
    model.graph.output.append(helper.make_tensor_value_info("z", FLOAT, ["batch", 3]))
    model.opset_import.append(helper.make_opsetid("example.org", 1))
    with pytest.raises(OnnxError) as error:
        load(saved(model))
    lines = str(error.value).splitlines()[1:]
    assert {line.strip() for line in lines} == {
        "'node 1' (com.microsoft.NoSuchOperator): this operator is not supported",
        "'node 3' (LpNormalization): this operator is not supported",
        "'other' (example.org.Relu): this operator is not supported",
    }


def test_an_input_that_mindspore_has_no_type_for_is_named():
    model = onnx_models.model_of(
        [helper.make_node("Identity", ["text"], ["y"])],
        {"text": (TensorProto.STRING, [1])},
        {"y": (TensorProto.STRING, [1])},
    )
    with pytest.raises(OnnxError, match="the input 'text': MindSpore has no type STRING"):
        load(saved(model))


@pytest.mark.parametrize("version", [10, onnx.defs.onnx_opset_version() + 1])
def test_operator_sets_out_of_range_are_refused(version):
    model = unary("Neg")
    model.opset_import[0].version = version
    with pytest.raises(OnnxError, match=f"operator set {version}; 11 to {onnx.defs.onnx_opset_version()} are"):
        load(saved(model))


def test_shapes_that_contradict_each_other_are_refused():
    model = onnx_models.linear(size=3)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(OnnxError, match=r"the shapes at node '/fc/MatMul' .MatMul. contradict each other"):
        load(saved(model))


def test_outputs_that_are_not_as_declared_are_refused():
    model = onnx_models.linear()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    with pytest.raises(OnnxError, match=r"the output 'y' is declared with shape .* but has"):
        load(saved(model))
    model = onnx_models.linear()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(OnnxError, match="the output 'y' is declared FLOAT16 but is FLOAT"):
        load(saved(model))


def branch(operator: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("chosen", FLOAT, None)
    return helper.make_graph([helper.make_node(operator, ["x"], ["chosen"])], operator, [], [value])


def test_constants_identities_functions_and_decided_branches_leave_plain_code():
    """`If` on a rank, as torch writes it for squeeze; a function called twice; initialisers listed as inputs."""
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Size", ["shape"], ["rank"]),
        helper.make_node("Constant", [], ["two"], value_int=2),
        helper.make_node("Equal", ["rank", "two"], ["is_matrix"]),
        helper.make_node("If", ["is_matrix"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs")),
        helper.make_node("Identity", ["y"], ["same"]),
        helper.make_node("Twice", ["same"], ["doubled"], domain="local"),
        helper.make_node("Twice", ["doubled"], ["quadrupled"], domain="local"),
        helper.make_node("Mul", ["quadrupled", "weight"], ["out"]),
    ]
    kind = (FLOAT, ["batch", 3])
    model = onnx_models.model_of(
        nodes, {"x": kind}, {"out": kind}, {"weight": np.arange(3, dtype=np.float32)}, functions=[function]
    )
    model.graph.input.append(helper.make_tensor_value_info("weight", FLOAT, [3]))
    path = saved(model)
    network = load(path, source_dir="kept")
    assert network.input_names == ("x",)
    construct = Path("kept/decoder.py").read_text().partition("def construct")[2]
    assert [line.split()[1] for line in construct.splitlines() if line.strip().startswith("#")] == [
        "Neg", "Add", "Add", "Mul"
    ]  # fmt: skip
    value = np.array([[1, -2, 3]], np.float32)
    np.testing.assert_array_equal(network(Tensor(value)).asnumpy(), -4 * value * np.arange(3))


@pytest.mark.parametrize(
    ("dtype", "shape", "constant"),
    [
        (np.float32, [2], np.float32(0.1)),
        (np.float32, [], np.array([[0.1]], np.float32)),
        (np.float32, [2], np.float32(-np.inf)),
        (np.float64, [2], np.float64(0.1)),
        (np.int64, [2], np.int64(-(1 << 62))),
        (np.int64, [2], np.int64(-(1 << 63))),
    ],
)
def test_constants_of_one_element_decide_neither_rank_nor_type(dtype, shape, constant):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = onnx_models.model_of(
        [helper.make_node("Add", ["constant", "x"], ["y"])],
        {"x": (kind, shape)},
        {"y": (kind, np.broadcast_shapes(tuple(shape), constant.shape))},
        {"constant": constant},
    )
    path = saved(model)
    onnx_models.assert_agree(load(path), path, {}, tolerance=1e-12 if dtype == np.float64 else 1e-6)


def swapped(flat: list[int], last: list[int], perm: tuple[int, ...] = (0, 2, 1)) -> onnx.ModelProto:
    """The transposition of a key as torch's dynamo exporter writes it, of a tensor (2, 3, 4, 5), and its negative."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=perm),
        helper.make_node("Reshape", ["b", "last"], ["c"]),
        helper.make_node("Neg", ["c"], ["y"]),
    ]
    weights = {"flat": np.array(flat), "last": np.array(last)}
    return onnx_models.model_of(nodes, {"x": (FLOAT, [2, 3, 4, 5])}, {"y": (FLOAT, last)}, weights)


@pytest.mark.parametrize(
    ("model", "operators"),
    [
        (swapped([-1, 4, 5], [2, 3, 5, 4]), ["Transpose", "Neg"]),
        (swapped([6, 4, 5], [3, 2, 5, 4]), ["Reshape", "Transpose", "Reshape", "Neg"]),
        (swapped([6, 5, 4], [2, 3, 4, 5]), ["Reshape", "Transpose", "Reshape", "Neg"]),
        (swapped([6, 4, 5], [2, 3, 4, 5]), ["Reshape", "Transpose", "Reshape", "Neg"]),
        (swapped([6, 4, 5], [2, 3, 5, 4], perm=(2, 1, 0)), ["Reshape", "Transpose", "Reshape", "Neg"]),
    ],
)
def test_a_transposition_between_reshapes_is_found(model, operators):
    path = saved(model)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    onnx_models.assert_agree(load(path, source_dir="kept"), path, {})
    construct = Path("kept/decoder.py").read_text().partition("def construct")[2]
    assert [line.split()[1] for line in construct.splitlines() if line.strip().startswith("#")] == operators


def test_constants_that_would_be_huge_are_not_computed():
    nodes = [
        helper.make_node("Expand", ["one", "huge"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    weights = {"one": np.ones(1, np.float32), "huge": np.array([1 << 20, 1 << 20])}
    path = saved(onnx_models.model_of(nodes, {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, weights))
    network = load(path, source_dir="kept")
    assert "1048576" in Path("kept/decoder.py").read_text()
    assert not list(network.get_parameters())


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.int32, np.bool_])
def test_weights_keep_their_type(dtype):
    values = np.arange(300).reshape(100, 3).astype(dtype)
    kind = (helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [100, 3])
    model = onnx_models.model_of(
        [helper.make_node("Where", ["which", "x", "weight"], ["y"])],
        {"which": (BOOL, [100, 3]), "x": kind},
        {"y": kind},
        {"weight": values},
    )
    (parameter,) = load(saved(model)).get_parameters()
    assert parameter.dtype == ms.Tensor(values).dtype
    np.testing.assert_array_equal(parameter.asnumpy(), values)


def test_bfloat16_weights_keep_their_bits():
    tensor = helper.make_tensor("weight", TensorProto.BFLOAT16, [100], np.linspace(-3, 3, 100))
    model = onnx_models.model_of(
        [helper.make_node("Mul", ["x", "weight"], ["y"])],
        {"x": (TensorProto.BFLOAT16, [100])},
        {"y": (TensorProto.BFLOAT16, [100])},
    )
    model.graph.initializer.append(tensor)
    (parameter,) = load(saved(model)).get_parameters()
    assert parameter.dtype == ms.bfloat16
    wanted = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    np.testing.assert_array_equal(parameter.astype(ms.float32).asnumpy(), wanted)


HOSTILE = [
    "x\n    import os; os.system('touch broken')\n    y",
    '"""\nimport os; os.system("touch broken")\n"""',
    "';__import__('os').system('touch broken')#",
    "\\",
    "lambda",
    "None",
    "self",
    "ops",
    "Tensor",
    "float",
    "construct",
    "training",
    "_params",
    "__class__",
    "名前",
    "\uff53\uff45\uff4c\uff46",  # fullwidth: Python reads it as self
    "a.b",
    "a/b",
    "a_b",
    "1",
    "",
    "\u202e\x00\x1b[31m{0}%s",
    "n" * 5000,
]


def test_names_can_neither_run_nor_break():
    """Every name in every place: inputs, results, outputs, weights, nodes, dimensions, the graph, the file."""
    names = [name for name in HOSTILE if name]
    nodes, outputs, weights = [], {}, {}
    for i, name in enumerate(names):
        weights[f"{name} w"] = np.full(100, i, np.float32)
        outputs[f"{name} out"] = (FLOAT, [100])
        nodes += [
            helper.make_node("Add", [name, f"{name} w"], [f"{name} sum"], name=name, doc_string=name),
            helper.make_node("Neg", [f"{name} sum"], [f"{name} out"], name=name),
        ]
    model = onnx_models.model_of(nodes, {name: (FLOAT, [100]) for name in names}, outputs, weights)
    model.graph.name = model.producer_name = model.doc_string = names[0]
    path = onnx_models.save(model, Path("a'; import os #\n.onnx"))
    network = load(path, source_dir="kept")
    assert network.input_names == tuple(names)
    assert network.output_names == tuple(f"{name} out" for name in names)
    source = Path("kept/decoder.py").read_text()
    assert source.isascii() and source.replace("\n", "").isprintable()
    imported = {
        alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported <= {"mindspore", "numpy"}
    ones = np.ones(100, np.float32)
    for i, output in enumerate(network(*[Tensor(ones)] * len(names))):
        np.testing.assert_array_equal(output.asnumpy(), -ones - i)
    assert not Path("broken").exists()
    restored = ms.load_checkpoint("kept/decoder.ckpt")
    assert sorted(float(value[0]) for value in restored.values()) == list(range(len(names)))


def test_hostile_names_in_errors_are_shown_on_one_line():
    model = unary("NoSuchOperator")
    model.graph.node[0].name = "\x1b[31mred\n" + "n" * 5000
    with pytest.raises(OnnxError) as error:
        load(saved(model))
    (line,) = str(error.value).splitlines()[1:]
    assert line.isprintable() and len(line) < 400


def test_onnxruntime_is_what_is_compared_with():
    """The helper compares: it notices a network of another function."""
    path = saved(unary("Neg"))
    network = load(path)
    other = onnx_models.save(unary("Abs"), Path("other.onnx"))
    assert onnxruntime.InferenceSession(other).get_inputs()[0].name == "x"
    with pytest.raises(AssertionError):
        onnx_models.assert_agree(network, other, {"batch": 2})
