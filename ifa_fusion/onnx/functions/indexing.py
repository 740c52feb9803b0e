"""Elements by their places, which may count from the end of an axis."""

import mindspore as ms
from mindspore import Tensor, ops


def counted_from_start(indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Indices of several axes, none of them negative.

    Args:
        indices: Integers of shape (..., n); those along the last axis belong to the first n axes of a tensor.
        sizes: The sizes of the tensor's axes.

    Returns:
        int64 of the shape of `indices`.
    """
    indices = ops.cast(indices, ms.int64)
    lengths = ops.stack([ops.scalar_to_tensor(size, ms.int64) for size in sizes[: indices.shape[-1]]])
    return ops.where(indices < 0, indices + lengths, indices)


def gather_nd(x: Tensor, indices: Tensor, batch_dims: int) -> Tensor:
    """Slices of a tensor by indices of several of its axes.

    Args:
        x: Any type, of shape (*batch, ...).
        indices: Integers of shape (*batch, ..., n); those along the last axis belong to the axes behind the batch.
        batch_dims: The number of axes that are the batch.

    Returns:
        Of the type of `x` and of shape (*indices.shape[:-1], *x.shape[batch_dims + n:]).
    """
    indices = counted_from_start(indices, x.shape[batch_dims:])
    for axis in range(batch_dims - 1, -1, -1):
        line = (1,) * axis + (x.shape[axis],) + (1,) * (indices.ndim - axis - 1)
        places = ops.reshape(ops.range(0, x.shape[axis], 1), line)
        indices = ops.concat((ops.broadcast_to(places, (*indices.shape[:-1], 1)), indices), -1)
    return ops.gather_nd(x, indices)


def scatter_range(x: Tensor, updates: Tensor, starts: Tensor, axis: int, circular: bool) -> Tensor:
    """A tensor with updates written over a range of one axis, which begins elsewhere in each element of the batch.

    Args:
        x: Any type but bfloat16, of shape (batch, ...).
        updates: Of the type of `x`, and of its shape but for the axis.
        starts: Where the range begins: integers of shape (batch,).
        axis: The axis, from 1 on.
        circular: Whether what goes beyond the end of the axis begins anew at its start.

    Returns:
        The shape and type of `x`.
    """
    behind = (1,) * (x.ndim - axis - 1)
    steps = ops.reshape(ops.range(0, updates.shape[axis], 1), (updates.shape[axis], *behind))
    first = ops.reshape(ops.cast(starts, ms.int64), (x.shape[0],) + (1,) * (x.ndim - 1))
    places = first + steps
    if circular:
        places = places % x.shape[axis]
    return ops.tensor_scatter_elements(x, ops.broadcast_to(places, updates.shape), updates, axis)


def one_hot(indices: Tensor, depth: int, values: Tensor, axis: int) -> Tensor:
    """A new axis that holds one value at an index and another elsewhere.

    Args:
        indices: Numbers of any shape; negative ones count from the end, others out of range give no such place.
        depth: The size of the new axis.
        values: What is elsewhere, and what is at the index: of shape (2,).
        axis: Where the new axis is, from 0 on.

    Returns:
        Of the type of `values`, with one axis more than `indices`.
    """
    indices = ops.cast(indices, ms.int64)
    indices = ops.expand_dims(ops.where(indices < 0, indices + depth, indices), axis)
    line = (1,) * axis + (depth,) + (1,) * (indices.ndim - axis - 1)
    places = ops.reshape(ops.range(0, depth, 1), line)
    return ops.where(ops.equal(indices, places), values[1], values[0])
