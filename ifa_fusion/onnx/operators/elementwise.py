"""Arithmetic, comparisons, logic and casts, element by element."""

from __future__ import annotations

import operator as python
from functools import partial, reduce

import onnx_ir as ir

from ifa_fusion.onnx import types
from ifa_fusion.onnx.functions.arithmetic import floored_remainder
from ifa_fusion.onnx.functions.bits import shifted_left, shifted_right
from ifa_fusion.onnx.operators.integers import are_sizes, combined, either, infix, value_of
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import HALF, SMALL, computed, is_number, narrowed, widened
from ifa_fusion.onnx.operators.table import Numbers, Unsupported, operator

_UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "IsNaN": "isnan",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Round": "round",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}

_BINARY = {
    "And": "logical_and",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Or": "logical_or",
    "Xor": "logical_xor",
}

_ARITHMETIC = {"Add": ("+", python.add), "Sub": ("-", python.sub), "Mul": ("*", python.mul)}

_COMPARISONS = {
    "Equal": ("==", python.eq),
    "Greater": (">", python.gt),
    "GreaterOrEqual": (">=", python.ge),
    "Less": ("<", python.lt),
    "LessOrEqual": ("<=", python.le),
}


@operator(*_UNARY)
def unary(node: Node) -> str:
    """A function of one element."""
    return computed(node, f"ops.{_UNARY[node.op_type]}({{0}})")


@operator("Sign")
def sign(node: Node) -> str:
    """-1, 0 or 1."""
    return computed(node, "ops.sign({0})", SMALL)


@operator("IsInf")
def is_infinite(node: Node) -> str:
    """Where an element is infinite, of both signs or of one."""
    positive, negative = node.attribute("detect_positive", 1), node.attribute("detect_negative", 1)
    if positive and negative:
        return computed(node, "ops.isinf({0})")
    if not positive and not negative:
        return computed(node, "ops.not_equal({0}, {0}) & False")
    return computed(node, f"ops.logical_and(ops.isinf({{0}}), {{0}} {'>' if positive else '<'} 0)")


@operator(*_BINARY)
def binary(node: Node) -> str:
    """Logic on two operands that broadcast."""
    return computed(node, f"ops.{_BINARY[node.op_type]}({{0}}, {{1}})")


@operator(*_ARITHMETIC)
def arithmetic(node: Node) -> str | Numbers:
    """Arithmetic on two operands that broadcast."""
    if are_sizes(node):
        return combined(node, infix(*_ARITHMETIC[node.op_type]))
    return computed(node, f"{{0}} {_ARITHMETIC[node.op_type][0]} {{1}}")


@operator(*_COMPARISONS)
def comparison(node: Node) -> str | Numbers:
    """Comparison of two operands that broadcast."""
    if are_sizes(node):
        return combined(node, infix(*_COMPARISONS[node.op_type]))
    return computed(node, f"{{0}} {_COMPARISONS[node.op_type][0]} {{1}}")


@operator("Div")
def divide(node: Node) -> str | Numbers:
    """Division; that of integers rounds towards zero."""
    if are_sizes(node):
        return combined(node, _divided)
    if node.dtype(0).is_integer():
        return computed(node, 'ops.div({0}, {1}, rounding_mode="trunc")')
    return computed(node, "{0} / {1}")


def _divided(a: str, b: str) -> str:
    """A quotient that rounds towards zero; a divisor that is not known while importing is positive: it is a size."""
    dividend, divisor = value_of(a), value_of(b)
    if divisor == 0 or (divisor is not None and divisor < 0):
        raise Unsupported(f"it divides sizes by {divisor}")
    if dividend is None:
        return a if divisor == 1 else f"({a} + ({a} < 0) * ({b} - 1)) // {b}"
    if divisor is None:
        return f"{a} // {b}" if dividend >= 0 else f"-({-dividend} // {b})"
    return str(abs(dividend) // divisor * (1 if dividend >= 0 else -1))


@operator("Mod")
def modulo(node: Node) -> str | Numbers:
    """The remainder, of the divisor's sign or, with fmod, of the dividend's."""
    if node.attribute("fmod", 0):
        return computed(node, "ops.fmod({0}, {1})", SMALL)
    if are_sizes(node):
        return combined(node, infix("%", python.mod))
    if node.dtype(0).is_integer():
        return computed(node, "ops.floor_mod({0}, {1})", SMALL)
    return computed(node, f"{node.function(floored_remainder)}({{0}}, {{1}})")


@operator("BitwiseNot")
def bitwise_not(node: Node) -> str:
    """Each bit the other way: in two's complement what is left of -1."""
    return computed(node, "-1 - {0}")


@operator("BitShift")
def shift(node: Node) -> str:
    """Bits shifted by so many places."""
    bits = int(node.dtype(0).bitwidth)
    function = node.function(shifted_left if node.attribute("direction") == "LEFT" else shifted_right)
    return computed(node, f"{function}({{0}}, {{1}}, {bits})")


@operator("Pow")
def power(node: Node) -> str:
    """A power, of the base's type."""
    base, exponent = node.dtype(0), node.dtype(1)
    if base == exponent:
        return computed(node, "ops.pow({0}, {1})")
    dtype = base if base.is_floating_point() else exponent
    dtype = HALF.get(dtype, dtype)
    wide = [f"ops.cast({node.tensor(i)}, {types.code(dtype)})" for i in range(2)]
    code = f"ops.pow({wide[0]}, {wide[1]})"
    return code if dtype == base else f"ops.cast({code}, {types.code(base)})"


@operator("Max", "Min")
def extremum(node: Node) -> str | Numbers:
    """The largest or the smallest of several operands that broadcast."""
    if are_sizes(node):
        return combined(node, lambda *codes: reduce(partial(_better, node), codes))
    bounds = [code for i in range(len(node)) if is_number(code := node.operand(i))]
    if len(node) == 2 and len(bounds) == 1:
        # MindSpore's CPU finds -inf to be no less than the lowest finite float, but clamps rightly
        x = "{1}" if is_number(node.operand(0)) else "{0}"
        return computed(node, f"ops.clamp({x}, {'min' if node.op_type == 'Max' else 'max'}={bounds[0]})")
    return _chained(node, f"ops.{node.op_type.lower()}imum")


def _better(node: Node, a: str, b: str) -> str:
    """The larger of two integers, for Min the smaller; not by a branch, behind which graph mode loses reshapes."""
    larger, smaller = (a, b) if node.op_type == "Max" else (b, a)
    return node.let(either(f"({larger} > {smaller})", a, b), node.op_type.lower())


@operator("Sum")
def total(node: Node) -> str:
    """The sum of several operands that broadcast."""
    return _chained(node, "ops.add")


@operator("Mean")
def mean(node: Node) -> str:
    """The mean of several operands that broadcast."""
    return f"{node.let(_chained(node, 'ops.add'), 'total')} / {len(node)}"


def _chained(node: Node, function: str) -> str:
    """A function of two operands, applied to any number of them from the first on."""
    slots = [f"{{{i}}}" for i in range(len(node))]
    return computed(node, reduce(lambda a, b: f"{function}({a}, {b})", slots), SMALL if "imum" in function else HALF)


@operator("Clip")
def clip(node: Node) -> str:
    """Elements held between bounds, each of which may be missing; the upper one prevails."""
    given = [name for i, name in ((1, "min"), (2, "max")) if node.has(i)]
    if given and all(node.constant(i) is not None and is_number(node.operand(i)) for i in range(1, 3) if node.has(i)):
        bounds = ", ".join(f"{name}={{{1 if name == 'min' else 2}}}" for name in given)
        return computed(node, f"ops.clamp({{0}}, {bounds})")
    call = "ops.maximum({0}, {1})" if node.has(1) else "{0}"
    return computed(node, f"ops.minimum({call}, {{2}})" if node.has(2) else call)


@operator("Where")
def where(node: Node) -> str | Numbers:
    """Elements of one operand or of another, by a condition; all three broadcast."""
    if are_sizes(node):
        return combined(node, lambda c, a, b: {"True": a, "False": b}.get(c, either(c, a, b)))
    # two Python numbers would leave the type of the result to MindSpore
    chosen = [node.tensor(i) if node.constant(3 - i) is not None else node.operand(i) for i in (1, 2)]
    wide = [widened(node, code, node.dtype(i + 1)) for i, code in enumerate(chosen)]
    return narrowed(node, f"ops.where({node.tensor(0)}, {wide[0]}, {wide[1]})")


@operator("Cast", "CastLike")
def cast(node: Node) -> str | Numbers:
    """Elements in another type."""
    target = node.output_dtype()
    if target in (ir.DataType.INT32, ir.DataType.INT64) and node.are_numbers(0) and node.constant(0) is None:
        return Numbers(node.numbers(0), node.rank(0) == 0)
    return f"ops.cast({node.tensor(0)}, {types.code(target)})"


@operator("Identity", "Dropout")
def identity(node: Node) -> list[str | Numbers]:
    """The input itself; of Dropout the mask as well, which keeps everything."""
    if node.op_type == "Dropout" and _drops(node):
        raise Unsupported("it drops elements (training_mode)")
    if node.are_numbers(0) and node.constant(0) is None:
        return [Numbers(node.numbers(0), node.rank(0) == 0)]
    mask = [f"ops.ones_like({node.tensor(0)}, dtype=ms.bool_)"] if node.wants(1) else []
    return [node.tensor(0), *mask]


def _drops(node: Node) -> bool:
    """Whether elements may be dropped: while training, and with a ratio that is not known to be 0."""
    training = node.has(2) and (node.constant(2) is None or bool(node.constant(2)))
    ratio = node.constant(1) if node.has(1) else 0.5
    return training and (ratio is None or bool(ratio != 0))
