"""Shape arithmetic as exporters write it, with sizes that are known when the network runs, against onnxruntime."""

from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx.parser
import onnxruntime
import pytest
from mindspore import Tensor

import ifa_fusion.onnx

MODELS = {
    "a tensor of a computed shape": """
        (float[n, m] x) => (int64[r, c] y) {
            s = Shape(x)
            y = ConstantOfShape<value = int64[1] {7}>(s)
        }""",
    "positions from past on": """
        (float[n, m] past, float[k, m] x) => (int64[c] y)
        <int64 zero = {0}, int64 one = {1}> {
            p = Shape(past)
            start = Gather(p, zero)
            s = Shape(x)
            count = Gather(s, zero)
            limit = Add(start, count)
            y = Range(start, limit, one)
        }""",
    "the target of Expand chosen by Where": """
        (float[n, 1] x, float[k, m] like) => (float[r, c] y)
        <int64[2] kept = {-1, 1}, int64 minus = {-1}, int64[1] axis = {0}, int64 zero = {0}> {
            s = Shape(like)
            rows = Gather(s, zero)
            rows1 = Unsqueeze(rows, axis)
            target = Concat<axis = 0>(rows1, rows1)
            keep = Equal(target, minus)
            ones = Shape(target)
            filled = ConstantOfShape<value = int64[1] {1}>(ones)
            chosen = Where(keep, filled, target)
            first = Slice(x, axis, ones_end)
            y = Expand(first, chosen)
        }""",
    "the largest and the smallest of many sizes": f"""
        (float[n, m] x, float[k] like) => (float[a] y, float[b] z)
        <int64[1] first = {{0}}, int64[1] second = {{1}}> {{
            s = Shape(x)
            rows = Gather(s, first)
            columns = Gather(s, second)
            more = Shape(like)
            largest = Max(rows, {", ".join(["columns", "more", "rows"] * 9)})
            smallest = Min(rows, {", ".join(["columns", "more", "rows"] * 9)})
            one = Gather(like, first)
            y = Expand(one, largest)
            z = Expand(one, smallest)
        }}""",
    "Expand in both directions": """
        (float[n, m] x) => (float[a, b, c] y)
        <int64[1] three = {3}, int64[1] one = {1}> {
            target = Concat<axis = 0>(three, one, one)
            y = Expand(x, target)
        }""",
    "heads split off and merged again": """
        (float[n, m, 4] x) => (float[a, b, c, d] heads, float[e, f, g] merged)
        <int64[1] rest = {-1}, int64[1] two = {2}, int64 zero = {0}, int64[1] axis = {0}> {
            s = Shape(x)
            batch = Gather(s, zero)
            batch1 = Unsqueeze(batch, axis)
            target = Concat<axis = 0>(batch1, rest, two, two)
            split = Reshape(x, target)
            heads = Transpose<perm = [0, 2, 1, 3]>(split)
            back = Transpose<perm = [0, 2, 1, 3]>(heads)
            same = Shape(x)
            merged = Reshape(back, same)
        }""",
    "Reshape that keeps sizes": """
        (float[n, m, 4] x) => (float[a, b, c, d] y)
        <int64[4] target = {0, 0, 2, -1}> {
            y = Reshape(x, target)
        }""",
    "Flatten": """
        (float[n, m, 4] x) => (float[a, b] y, float[c, d] z) {
            y = Flatten<axis = 2>(x)
            z = Flatten<axis = 0>(x)
        }""",
    "slices whose ends are computed": """
        (float[n, m] x, float[k, m] short) => (float[a, b] head, float[c, d] tail, float[e, f] last)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] end = {9223372036854775807}, int64[1] minus = {-1}> {
            s = Shape<start = 0, end = 1>(short)
            head = Slice(x, zero, s, zero)
            tail = Slice(x, s, end, zero, one)
            last = Slice(x, minus, end, one)
        }""",
    "slices that go beyond the ends": """
        (float[n, m] x) => (float[a, b] y)
        <int64[2] low = {-100, 1}, int64[2] high = {100, 100}, int64[2] axes = {0, 1}, int64[2] steps = {1, 2}> {
            y = Slice(x, low, high, axes, steps)
        }""",
    "slices backwards": """
        (float[n, m] x) => (float[a, b] y)
        <int64[2] starts = {-1, 9223372036854775807}, int64[2] ends = {-9223372036854775807, -9223372036854775807},
         int64[2] axes = {0, 1}, int64[2] steps = {-1, -2}> {
            y = Slice(x, starts, ends, axes, steps)
        }""",
    "arithmetic on sizes": """
        (float[n, m] x) => (int64[] sum, int64[] quotient, int64[] rest, int64[] most, int64[] least, int64[] kind)
        <int64 zero = {0}, int64 two = {2}, int64 five = {5}, int64 minus = {-3}> {
            s = Shape(x)
            n = Gather(s, zero)
            sum = Add(n, five)
            less = Sub(n, five)
            quotient = Div(less, two)
            rest = Mod(less, two)
            most = Max(less, minus)
            least = Min(n, two)
            large = Greater(n, two)
            kind = Where(large, n, five)
        }""",
    "comparisons of sizes as tensors": """
        (float[n, m] x) => (bool[] y, bool[] z)
        <int64 zero = {0}, int64 two = {2}> {
            s = Shape(x)
            n = Gather(s, zero)
            y = Less(n, two)
            z = Not(y)
        }""",
    "products of sizes": """
        (float[n, m] x) => (int64[] y, int64[c] z, float[] w) {
            s = Shape(x)
            y = Size(x)
            z = ReduceProd<keepdims = 1>(s)
            w = Cast<to = 1>(y)
        }""",
    "a shape in parts": """
        (float[n, m, 4] x) => (int64[a] first, int64[b] others, int64[c] turned, int64[] scalar)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] minus = {-1}> {
            s = Shape(x)
            first, others = Split<axis = 0>(s, sizes)
            end = Slice(s, zero, minus)
            turned = Concat<axis = 0>(others, end)
            scalar = Squeeze(first, zero)
        }""",
    "padding and tiling by sizes": """
        (float[n, m] x) => (float[a, b] y, float[c, d] z)
        <int64 zero = {0}, int64[1] axis = {0}, int64[3] none = {0, 0, 0}, int64[1] one = {1}, float two = {2.0}> {
            s = Shape(x)
            n = Gather(s, zero)
            n1 = Unsqueeze(n, axis)
            pads = Concat<axis = 0>(none, n1)
            y = Pad(x, pads, two)
            repeats = Concat<axis = 0>(one, n1)
            z = Tile(x, repeats)
        }""",
    "a causal mask": """
        (float[n, m] x) => (float[a, b] y, float[c, d] z)
        <int64 zero = {0}, int64 one = {1}, float low = {-10000.0}> {
            s = Shape(x)
            full = Expand(low, s)
            n = Gather(s, zero)
            diagonal = Sub(one, n)
            y = Trilu<upper = 1>(full, one)
            z = Trilu<upper = 0>(x, diagonal)
        }""",
    "a cache that grows": """
        (float[n, 2, p, 4] past, float[n, 2, k, 4] x) => (float[a, 2, b, 4] y, float[a, 2, b, 1] mean) {
            y = Concat<axis = -2>(past, x)
            mean = ReduceMean<keepdims = 1>(y, axes)
        }""",
    "indices from the end": """
        (float[n, m] x, int64[k, k] i) => (float[c] last, float[a, b] ends, float[d, e, f] rows)
        <int64 minus = {-1}, int64[2] both = {0, -1}> {
            last = Gather(x, minus)
            ends = Gather<axis = 1>(x, both)
            rows = Gather(x, i)
        }""",
}

INITIALISERS = {
    "the target of Expand chosen by Where": {"ones_end": np.array([1])},
    "a shape in parts": {"sizes": np.array([1, 2])},
    "a cache that grows": {"axes": np.array([-1])},
}

SIZES = [{"n": 2, "m": 3, "k": 1, "p": 0}, {"n": 5, "m": 2, "k": 4, "p": 3}, {"n": 1, "m": 1, "k": 1, "p": 1}]


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def _save(case: str, opset: int, path: Path) -> None:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> main {MODELS[case]}')
    for name, array in INITIALISERS.get(case, {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)


@pytest.mark.parametrize("bound", [False, True], ids=["open", "bound"])
@pytest.mark.parametrize("case", MODELS)
def test_results(case: str, bound: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    _save(case, 18, path)
    session = onnxruntime.InferenceSession(path)
    named = {size for value in session.get_inputs() for size in value.shape if isinstance(size, str)}
    network = None if bound else ifa_fusion.onnx.load(path)
    random = np.random.default_rng(0)
    for sizes in SIZES[:1] if bound else SIZES:
        dims = {name: sizes[name] for name in named}
        fed = {
            value.name: random.integers(-1, 1, [dims.get(size, size) for size in value.shape]).astype(
                np.float32 if value.type == "tensor(float)" else np.int64
            )
            for value in session.get_inputs()
        }
        expected = session.run(None, fed)
        results = (network or ifa_fusion.onnx.load(path, dims=dims))(*map(Tensor, fed.values()))
        results = results if isinstance(results, tuple) else (results,)
        for got, wanted in zip(results, expected, strict=True):
            assert got.shape == np.shape(wanted)
            np.testing.assert_array_equal(got.asnumpy(), wanted, strict=True)


def test_choices_between_sizes_are_no_branches(tmp_path: Path) -> None:
    """MindSpore makes control flow of a branch: slow, and a MindIR with it runs once in a process."""
    _save("the target of Expand chosen by Where", 18, tmp_path / "model.onnx")
    ifa_fusion.onnx.load(tmp_path / "model.onnx", source_dir=tmp_path)
    source = (tmp_path / "decoder.py").read_text()
    assert "* keep" in source and "* (first.shape[0] == 1)" in source
    assert " if " not in source
