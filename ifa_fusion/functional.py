"""The standalone operator: the document's signature in front of MindSpore's own primitive.

Every call is validated first, in graph mode while the graph is compiled. What computes is the kernel of the
device: on a CPU the one that this package brings.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import PrimitiveWithInfer

from ifa_fusion._operands import operand_of, operand_of_inferred
from ifa_fusion._validation import Call, check_call

__all__ = ["incre_flash_attention"]


class _CheckArguments(PrimitiveWithInfer):
    """Validates a call: at once in PyNative mode, while inferring in graph mode, where it leaves no node.

    A primitive rather than a ``constexpr`` function, because a primitive is told the data type and shape of
    every argument, inside lists as well, also where dimensions are dynamic.
    """

    def __init__(self) -> None:
        super().__init__("IfaCheckArguments")
        self.set_const_prim(True)

    def __infer__(self, *arguments: dict[str, Any]) -> dict[str, None]:
        check_call(Call(*map(operand_of_inferred, arguments)))
        return {"dtype": None, "shape": None, "value": None}

    def __call__(self, *arguments: object) -> None:
        check_call(Call(*map(operand_of, arguments)))


_check_arguments = _CheckArguments()


def incre_flash_attention(
    query: Tensor,
    key: list[Tensor] | tuple[Tensor, ...],
    value: list[Tensor] | tuple[Tensor, ...],
    attn_mask: Tensor | None = None,
    actual_seq_lengths: Tensor | list[int] | tuple[int, ...] | None = None,
    pse_shift: Tensor | None = None,
    dequant_scale1: Tensor | None = None,
    quant_scale1: Tensor | None = None,
    dequant_scale2: Tensor | None = None,
    quant_scale2: Tensor | None = None,
    quant_offset2: Tensor | None = None,
    antiquant_scale: Tensor | None = None,
    antiquant_offset: Tensor | None = None,
    block_table: Tensor | None = None,
    num_heads: int = 1,
    input_layout: str = "BSH",
    scale_value: float = 1.0,
    num_key_value_heads: int = 0,
    block_size: int = 0,
    inner_precise: int = 1,
    kv_padding_size: Tensor | None = None,
) -> Tensor:
    r"""Attention of one query position per sequence over a cache of keys and values.

    For batch :math:`b`, query head :math:`n` and its KV head :math:`h = \lfloor n / (N / kvN) \rfloor`:

    .. math::
        s_j = \text{scale\_value} \cdot (q_n \cdot k_{h,j}) + \text{pse\_shift}_{n,j}, \qquad
        out_n = \sum_j \mathrm{softmax}_j(s) \, v_{h,j}

    over the positions :math:`j < \text{actual\_seq\_lengths}_b` (others with ``kv_padding_size``), where
    :math:`s_j` is replaced by :math:`-10^{12}` at the positions that ``attn_mask`` hides. A length of 0 gives
    zeros; a row in which every position is hidden gives the mean of its values.

    B is the batch size, N is ``num_heads``, kvN is ``num_key_value_heads`` (N if that is 0), S the length of
    the cache, D the head size, H = N * D and kvH = kvN * D.

    NaN and infinity spread as the formula says, within their own head and sequence. On a CPU a weight below
    :math:`2^{-126}` is 0, and most of what ``attn_mask`` hides, or ``pse_shift`` with -inf for all query heads of a KV
    head, is not read, which is an extension: NaN or infinity in a hidden position of ``key`` or ``value`` may or may
    not reach the output.

    It may be called in PyNative mode, in ``nn.Cell.construct`` under ``GRAPH_MODE`` and inside
    ``@mindspore.jit``. On a CPU everything is computed in fp32 and rounded once.

    Args:
        query: Shape :math:`(B, 1, H)` in layout BSH, :math:`(B, N, 1, D)` in layout BNSD. Float16 or
            BFloat16; on a CPU Float32 as well, with ``key`` and ``value`` of Float32 or Int8, which is an extension.
        key: A list or tuple of exactly one Tensor of shape :math:`(B, S, kvH)` or :math:`(B, kvN, S, D)` and
            of the data type of ``query``, or Int8 with ``antiquant_scale``.
        value: Like ``key``: the same shape and data type.
        attn_mask: Shape :math:`(B, S)`, :math:`(B, 1, S)` or :math:`(B, 1, 1, S)`; Bool, Int8 or UInt8. A
            value other than 0 hides the position.
        actual_seq_lengths: The valid positions of each sequence, in [0, S]: a Tensor of Int64 or Int32 of
            shape :math:`(B,)`, or :math:`(1,)` for all sequences, or a list or tuple of int. ``None``: S.
        pse_shift: Shape :math:`(1, N, 1, S)` or :math:`(B, N, 1, S)`, the data type of ``query``. Added to
            the scaled scores.
        dequant_scale1: Reserved; must be ``None``.
        quant_scale1: Reserved; must be ``None``.
        dequant_scale2: Reserved; must be ``None``.
        quant_scale2: Makes the output Int8: :math:`out \cdot \text{quant\_scale2} + \text{quant\_offset2}`,
            rounded half to even and saturated, NaN to 0. Float32 of shape :math:`(1,)`, or, without a block table, one
            value for each channel: :math:`(1, N, 1, D)`, :math:`(N, 1, D)`, :math:`(N, D)`,
            :math:`(1, 1, N, D)`, :math:`(1, N, D)`, :math:`(1, H)`, :math:`(1, 1, H)` or :math:`(H,)`.
        quant_offset2: Like ``quant_scale2``, which it needs: the same shape. ``None``: 0.
        antiquant_scale: Dequantises an Int8 cache: ``key`` stands for
            :math:`(key + \text{antiquant\_offset}) \cdot \text{antiquant\_scale}`, ``value`` alike. The data
            type of ``query``; shape :math:`(2,)`, the first for ``key`` and the second for ``value``, or one
            pair for each channel: :math:`(2, kvN, 1, D)`, :math:`(2, 1, kvN, D)`, :math:`(2, kvN, D)` or
            :math:`(2, kvH)`. Where it is infinite, which of NaN and infinity comes out is not specified.
        antiquant_offset: Like ``antiquant_scale``, of the same rank; may be fractional. ``None``: 0.
        block_table: Makes the cache a paged one, of M blocks: ``key`` and ``value`` have the shape
            :math:`(M, \text{block\_size}, kvH)`, or in layout BNSD :math:`(M, kvN, \text{block\_size}, D)`.
            Int32 of shape :math:`(B, \text{blocks of a sequence})`, at most 16384 of them; position :math:`j`
            of batch :math:`b` is row :math:`j \bmod \text{block\_size}` of block
            :math:`\text{block\_table}_{b, \lfloor j / \text{block\_size} \rfloor}`. Blocks may be shared and
            lie in any order; entries behind those that the lengths need are ignored.
            ``actual_seq_lengths`` has to be given, S is the room of a row of the table, and the rows of
            ``attn_mask`` and ``pse_shift`` may be longer than S.
        num_heads: N.
        input_layout: ``'BSH'`` or ``'BNSD'``.
        scale_value: Multiplies the scores. Nothing else does: pass ``D ** -0.5`` for the usual attention.
        num_key_value_heads: kvN, a divisor of N; 0 means N.
        block_size: Positions of a block, a multiple of 16, of 32 in an Int8 cache, up to 512; not used without
            ``block_table``.
        inner_precise: 0 (high precision) or 1 (high performance); on a CPU both compute the same.
        kv_padding_size: Makes the cache left-padded: the valid positions of a sequence end before the last
            ``kv_padding_size`` ones, at :math:`S - \max(\text{kv\_padding\_size}, 0)`, instead of starting at
            0. A sequence for which that leaves too few positions gives zeros. Int64 of shape :math:`()` or
            :math:`(1,)`. Ignored without ``actual_seq_lengths`` and with ``block_table``.

    Returns:
        A Tensor of the shape of ``query``, and of its data type, or Int8 with ``quant_scale2``.

    Raises:
        TypeError: ``query``, ``attn_mask``, ``pse_shift``, ``actual_seq_lengths``, ``block_table``,
            ``kv_padding_size``, ``quant_scale2`` or ``quant_offset2`` has another data type than above;
            ``antiquant_scale`` or ``antiquant_offset`` is not of a floating-point type; Float32 is mixed with
            ``query`` or ``key`` of Float16 or BFloat16, other than as ``quant_scale2`` or ``quant_offset2``;
            ``key`` and ``value`` differ in data type, or are not a list or tuple of Tensors; ``scale_value`` is
            not a float, ``input_layout`` not a str, one of the other attributes not an int; ``quant_scale1`` is
            not a Tensor of Float32.
        ValueError: ``input_layout`` is another str; the size of ``actual_seq_lengths`` is not 1 or B; H is
            not a multiple of ``num_heads``; ``num_heads`` is not a multiple of ``num_key_value_heads``. All
            but the first are an :class:`~ifa_fusion.errors.IfaValueError`, which is a RuntimeError as well.
        RuntimeError: ``num_heads`` is not greater than 0; a shape or data type does not agree with the
            others; a length is not in [0, S]; ``inner_precise`` is not 0 or 1; a reserved argument is given;
            ``antiquant_scale`` is missing with an Int8 cache, or it or ``antiquant_offset`` is given without
            one; ``quant_offset2`` is given without ``quant_scale2``; a limit of the operator is exceeded
            (N / kvN at most 64, kvN at most 256, D at most 512, B at most 65536; with a block table kvH at
            most 65535 in a cache of rank 3, and at most 2147483647 elements in a cache); a block that a
            length needs is not in the cache.

    Examples:
        >>> import numpy as np
        >>> from mindspore import Tensor
        >>> import ifa_fusion
        >>> query = Tensor(np.ones((1, 4, 1, 64), np.float16))
        >>> cache = Tensor(np.ones((1, 2, 10, 64), np.float16))
        >>> out = ifa_fusion.incre_flash_attention(
        ...     query, [cache], [cache], actual_seq_lengths=[7], num_heads=4, input_layout="BNSD",
        ...     scale_value=64 ** -0.5, num_key_value_heads=2)
        >>> print(out.shape)
        (1, 4, 1, 64)
    """
    _check_arguments(
        query,
        key,
        value,
        attn_mask,
        actual_seq_lengths,
        pse_shift,
        dequant_scale1,
        quant_scale1,
        dequant_scale2,
        quant_scale2,
        quant_offset2,
        antiquant_scale,
        antiquant_offset,
        block_table,
        num_heads,
        input_layout,
        scale_value,
        num_key_value_heads,
        block_size,
        inner_precise,
        kv_padding_size,
    )
    return ops.incre_flash_attention(
        query,
        key,
        value,
        attn_mask,
        actual_seq_lengths,
        pse_shift,
        dequant_scale1,
        quant_scale1,
        dequant_scale2,
        quant_scale2,
        quant_offset2,
        antiquant_scale,
        antiquant_offset,
        block_table,
        num_heads,
        input_layout,
        scale_value,
        num_key_value_heads,
        block_size,
        inner_precise,
        kv_padding_size,
    )
