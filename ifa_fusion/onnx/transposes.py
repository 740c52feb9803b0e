"""Finds the transposition in what torch's dynamo exporter writes for that of a key: reshape, transpose, reshape.

The fusion pass then sees the repetition of KV heads behind it, which a reshape to three dimensions hides.
"""

from __future__ import annotations

import onnx_ir as ir


def merge_transposes(graph: ir.Graph) -> None:
    """Replaces (..., S, D) -> (P, S, D) -> (P, D, S) -> (..., D, S) by one Transpose of the last two dimensions.

    Sizes that are not known must be the same by their names, which inference gives where a size is taken from a shape.
    """
    for node in graph:
        flat = _flattened(node)
        if flat is None or node.outputs[0].is_graph_output():
            continue
        source, last = flat.inputs[0], node.outputs[0]
        if source is None or not _are_swapped(source.shape, flat.outputs[0].shape, last.shape):
            continue
        rank = len(source.shape or ())
        perm = [*range(rank - 2), rank - 1, rank - 2]
        swap = ir.node("Transpose", [source], {"perm": perm}, name=node.name)
        swap.outputs[0].type, swap.outputs[0].shape, swap.outputs[0].name = last.type, last.shape, last.name
        ir.convenience.replace_nodes_and_values(graph, node, [node], [swap], [last], swap.outputs)


def _flattened(node: ir.Node) -> ir.Node | None:
    """The first Reshape if the node is the second one around a transposition of three dimensions."""
    swap = _producer(node, "Reshape")
    if swap is None or swap.op_type != "Transpose" or _perm(swap) != (0, 2, 1):
        return None
    flat = _producer(swap, "Transpose")
    return flat if flat is not None and flat.op_type == "Reshape" else None


def _perm(node: ir.Node) -> tuple[int, ...] | None:
    attribute = node.attributes.get("perm")
    return None if attribute is None else tuple(attribute.as_ints())


def _producer(node: ir.Node, operator: str) -> ir.Node | None:
    """What computes the first input of a node of ONNX's operator."""
    if (node.domain, node.op_type) != ("", operator) or node.inputs[0] is None:
        return None
    return node.inputs[0].producer()


def _are_swapped(source: ir.Shape | None, flat: ir.Shape | None, last: ir.Shape | None) -> bool:
    if source is None or flat is None or last is None or len(source) != len(last) or len(source) < 3 or len(flat) != 3:
        return False
    *front, rows, columns = source
    named = all(isinstance(size, int) or size.value is not None for size in source)
    return named and flat[1:] == (rows, columns) and list(last) == [*front, columns, rows]
