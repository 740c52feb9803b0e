"""A Max or Min of sizes that is decided whatever the sizes are."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from ifa_fusion.onnx.bounds import decide_extrema


@pytest.mark.parametrize(
    "extremum, expected",
    [
        ("Max(zero, below)", "zero"),
        ("Max(below, zero)", "zero"),
        ("Min(zero, below)", "below"),
        ("Max(size, zero)", "size"),
        ("Max(size, one)", "extremum"),  # a size can be 0
        ("Max(zero, room)", "extremum"),
        ("Min(size, room)", "extremum"),
        ("Max(zero, given)", "extremum"),
        ("Max(zero, belows)", "extremum"),  # is as long as the other operand
    ],
)
def test_an_extremum_is_decided_by_bounds(extremum, expected):
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 20]>
        sizes (float[n] x, float[m, n] z, int64[1] given) => (int64[k] y)
        <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] many = {{64}}> {{
            size = Shape(x)
            longer = Add(size, one)
            below = Sub(zero, longer)
            both = Shape(z)
            longest = Add(both, one)
            belows = Sub(zero, longest)
            room = Sub(many, size)
            extremum = {extremum}
            y = Neg(extremum)
        }}""")
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    decide_extrema(graph)
    assert graph.node(-1).inputs[0].name == expected
