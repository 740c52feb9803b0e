"""What the fused attention operators have in common: how attention is written once its parts are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ifa_fusion.onnx.functions import attention as functions
from ifa_fusion.onnx.operators.node import Node
from ifa_fusion.onnx.operators.table import Unsupported

# Of the kernel's operator, on every target.
_LARGEST_HEAD_SIZE = 512
_LARGEST_GROUP = 64
_MOST_KV_HEADS = 256

_LEAST = -1e30
"""As good as -inf for a score: on a CPU MindSpore computes no row of a tensor in which one is -inf alone, and finds
-inf the greater of -inf and the least float32."""


@dataclass(frozen=True)
class Attending:
    """Attention with its parts as expressions of shapes (B, N, L, D), (B, kvN, S, D) and (B, kvN, S, Dv).

    Attributes:
        query: The queries.
        key: All keys, those of the past included.
        value: All values.
        heads: N.
        kv_heads: kvN.
        head_size: D.
        value_size: Dv.
        queries: L, if it is known while importing.
        scale: Multiplies the scores.
        mask: What is attended, bool, broadcastable to (B, N, L, S).
        mask_by_head: Whether the mask may differ by head.
        bias: Added to the scaled scores, broadcastable to (B, N, L, S).
        lengths: How many keys of each sequence count, of shape (B,).
        softcap: Limits the scores by tanh where it is not 0.
        sinks: A score of each head, of shape (N,), that takes its part of the softmax.
        quantised: Whether the keys or values are dequantised ones: the pass folds that into the kernel.
    """

    query: str
    key: str
    value: str
    heads: int
    kv_heads: int
    head_size: int
    value_size: int
    queries: int | None
    scale: float
    mask: str | None = None
    mask_by_head: bool = False
    bias: str | None = None
    lengths: str | None = None
    softcap: float = 0.0
    sinks: str | None = None
    quantised: bool = False

    def masked(self, node: Node, mask: str | None, by_head: bool = False) -> Attending:
        """The same with a further mask."""
        if mask is None:
            return self
        both = mask if self.mask is None else f"ops.logical_and({self.mask}, {mask})"
        return replace(self, mask=node.let(both, "mask"), mask_by_head=self.mask_by_head or by_head)

    def fits_kernel(self) -> bool:
        """Whether the kernel can compute it, called directly."""
        return (
            self.queries == 1
            and self.head_size == self.value_size <= _LARGEST_HEAD_SIZE
            and self.heads <= _LARGEST_GROUP * self.kv_heads
            and self.kv_heads <= _MOST_KV_HEADS
            and self.softcap == 0.0
            and self.sinks is None
            and not self.quantised
        )


@dataclass(frozen=True)
class Attended:
    """Names of results: the attention's, of shape (B, N, L, Dv), and those on the way to it that were written."""

    output: str
    scores: str = ""
    capped: str = ""
    masked: str = ""
    weights: str = ""


def write_attention(node: Node, what: Attending, zero_unseen: bool = False, on_the_way: bool = False) -> Attended:
    """Writes attention: as a call of the kernel where it fits, else in its parts.

    Args:
        node: The node that asks for it.
        what: Its parts.
        zero_unseen: Whether a query that attends nothing must give 0.
        on_the_way: Whether scores or weights are asked for as well.
    """
    if what.heads % what.kv_heads:
        raise Unsupported(f"its {what.heads} heads can't share {what.kv_heads} KV heads")
    return _by_kernel(node, what, zero_unseen) if what.fits_kernel() and not on_the_way else _in_parts(node, what)


def _by_kernel(node: Node, what: Attending, zero_unseen: bool) -> Attended:
    mask, bias = what.mask, what.bias
    if mask is not None and what.mask_by_head:
        shut = f"ops.where({mask}, 0.0, float('-inf'))"
        bias = node.let(shut if bias is None else f"{bias} + {shut}", "bias")
        mask = None
    given = {"mask": mask, "bias": bias, "lengths": what.lengths}
    extra = "".join(f", {name}={code}" for name, code in given.items() if code is not None)
    called = node.function(functions.decode_attention)
    output = node.let(f"{called}({what.query}, {what.key}, {what.value}, {what.scale!r}{extra})", "attention")
    if zero_unseen and (mask or bias):
        output = node.let(f"{node.function(functions.zero_unseen)}({output}, {mask}, {bias})", "attention")
    return Attended(output)


def _in_parts(node: Node, what: Attending) -> Attended:
    if what.lengths is not None:
        keys = f"ops.range(0, {what.key}.shape[2], 1)"
        what = what.masked(node, f"{keys} < {what.lengths}.reshape(-1, 1, 1, 1)")
    called = node.function(functions.attention_scores)
    scores = capped = node.let(f"{called}({what.query}, {what.key}, {what.scale!r})", "scores")
    if what.softcap:
        capped = node.let(f"{what.softcap!r} * ops.tanh({scores} / {what.softcap!r})", "scores")
    masked = capped
    if what.mask is not None or what.bias is not None:
        masked = node.let(f"{node.function(functions.mask_scores)}({capped}, {what.mask}, {what.bias})", "scores")
    weights = _weights(node, what, masked, hides=masked != capped)
    output = node.let(f"{node.function(functions.attend)}({weights}, {what.value})", "attention")
    return Attended(output, scores, capped, masked, weights)


def _weights(node: Node, what: Attending, scores: str, hides: bool) -> str:
    """Writes the softmax, in the network's own lines, which the pass names; uniform where all scores are -inf."""
    if what.sinks is not None:
        joined = f"{node.function(functions.with_sinks)}({scores}, {what.sinks})"
        return node.let(f"ops.softmax({joined}, -1)[..., :-1]", "weights")
    if not hides:
        return node.let(f"ops.softmax({scores}, -1)", "weights")
    weights = node.let(f"ops.softmax(ops.maximum({scores}, {_LEAST}), -1)", "weights")
    if what.quantised and what.queries == 1:  # the pass folds no second use of the scores
        return weights
    return node.let(f"{node.function(functions.zero_hidden)}({weights}, {scores})", "weights")
