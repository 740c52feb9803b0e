"""Activation functions."""

from __future__ import annotations

from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.precision import SMALL, computed
from ifa_fusion.onnx.operators.table import operator

_PLAIN = {
    "Elu": "ops.where({0} > 0, {0}, {alpha} * (ops.exp({0}) - 1))",
    "Celu": "ops.maximum({0}, 0) + ops.minimum({alpha} * (ops.exp({0} / {alpha}) - 1), 0)",
    "HardSigmoid": "ops.clamp({alpha} * {0} + {beta}, 0, 1)",
    "HardSwish": "ops.hardswish({0})",
    "LeakyRelu": "ops.leaky_relu({0}, {alpha})",
    "Mish": "{0} * ops.tanh(ops.softplus({0}))",
    "PRelu": "ops.where({0} < 0, {1} * {0}, {0})",
    "Selu": "{gamma} * ops.where({0} > 0, {0}, {alpha} * (ops.exp({0}) - 1))",
    "Sigmoid": "ops.sigmoid({0})",
    "Softplus": "ops.softplus({0})",
    "Softsign": "{0} / (1 + ops.abs({0}))",
    "Swish": "{0} * ops.sigmoid({alpha} * {0})",
    "ThresholdedRelu": "ops.where({0} > {alpha}, {0}, 0)",
}
"""By operator what it computes of its inputs ``{0}``, ``{1}`` and its attributes."""

_DEFAULTS = {
    "Elu": {"alpha": 1.0},
    "Celu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Swish": {"alpha": 1.0},
    "ThresholdedRelu": {"alpha": 1.0},
}


@operator(*_PLAIN)
def activation(node: Node) -> str:
    """A function of one element, with constants from the attributes."""
    call = _PLAIN[node.op_type]
    for name, default in _DEFAULTS.get(node.op_type, {}).items():
        call = call.replace(f"{{{name}}}", repr(node.attribute(name, default)))
    return computed(node, call)


@operator("Relu")
def relu(node: Node) -> str:
    """What is negative becomes zero."""
    return computed(node, "ops.relu({0})", SMALL)


@operator("Gelu")
def gelu(node: Node) -> str:
    """The Gaussian error linear unit, exact or by tanh."""
    return computed(node, f'ops.gelu({{0}}, approximate="{node.attribute("approximate", "none")}")')
