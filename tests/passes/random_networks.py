"""The network of a draw: put together from stages, each with its meaning in NumPy.

So a network knows its result in float64, and how far rounding may carry a fused one from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import networks as net
import numpy as np
import quantised_networks as quant
from mindspore import Parameter, Tensor, nn, ops
from random_draws import MASKS_WHERE_TRUE, Draw

Array = np.ndarray


@dataclass(frozen=True)
class Stage:
    """A part of a network, its meaning in NumPy, and inputs that only it takes.

    `magnitude` bounds what goes out where what comes in is bounded: |NumPy's of the bound|, unless it says else.
    """

    cell: Callable[..., Any]
    numpy: Callable[..., Array]
    inputs: tuple[Tensor, ...] = ()
    magnitude: Callable[..., Array] | None = None

    def bound(self, x: Array, *inputs: Array) -> Array:
        if self.magnitude is not None:
            return self.magnitude(x, *inputs)
        return np.abs(self.numpy(x, *(np.abs(i) if i.dtype.kind == "f" else i for i in inputs)))


@dataclass(frozen=True)
class Chain:
    """Stages, one after another."""

    stages: tuple[Stage, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(x for stage in self.stages for x in stage.inputs)

    def numpy(self, x: Array, *inputs: Array) -> Array:
        return self._follow([stage.numpy for stage in self.stages], x, inputs)

    def bound(self, x: Array, *inputs: Array) -> Array:
        return self._follow([stage.bound for stage in self.stages], x, inputs)

    def _follow(self, steps: list[Callable[..., Array]], x: Array, inputs: tuple[Array, ...]) -> Array:
        for stage, step in zip(self.stages, steps, strict=True):
            taken = len(stage.inputs)
            x, inputs = step(x, *inputs[:taken]), inputs[taken:]
        return x


def chain(*parts: Stage | Chain) -> Chain:
    return Chain(tuple(stage for part in parts for stage in (part.stages if isinstance(part, Chain) else (part,))))


SAME = chain()


class Begin(nn.Cell):
    def construct(self, x, inputs):
        return x


class Then(nn.Cell):
    """A stage after those before it. `inputs` are the network's, of which the stage's own begin at `first`.

    To pass each stage `*inputs[first:last]` instead takes MindSpore half as long again to compile.
    """

    def __init__(self, before, stage, first):
        super().__init__()
        self.before = before
        self.stage = stage
        self.first = first
        self.second = first + 1

    def construct(self, x, inputs):
        return self.stage(self.before(x, inputs))


class ThenWithOne(Then):
    def construct(self, x, inputs):
        return self.stage(self.before(x, inputs), inputs[self.first])


class ThenWithTwo(Then):
    def construct(self, x, inputs):
        return self.stage(self.before(x, inputs), inputs[self.first], inputs[self.second])


def cell_of(chained: Chain, first: int) -> nn.Cell:
    """Takes a tensor and all inputs of the network, of which those of the stages begin at a number."""
    cell: nn.Cell = Begin()
    for stage in chained.stages:
        cell = (Then, ThenWithOne, ThenWithTwo)[len(stage.inputs)](cell, stage.cell, first)
        first += len(stage.inputs)
    return cell


# Movements of elements.


class With(nn.Cell):
    """An operation with a constant argument."""

    def __init__(self, operation, argument):
        super().__init__()
        self.operation = operation
        self.argument = argument

    def construct(self, x):
        return self.operation(x, self.argument)


def reshape_method(x, shape):
    return x.reshape(shape)


def transpose_method(x, axes):
    return x.transpose(axes)


def repeat_heads(x, times):
    return ops.repeat_interleave(x, times, 1)


def repeat_heads_by_method(x, times):
    return x.repeat_interleave(times, 1)


def repeat_heads_early(x, times):
    return ops.repeat_interleave(x, times, 2)


def group_axis_by_index(x):
    return x[:, :, None]


class Stacked(nn.Cell):
    """Copies along a new axis."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def construct(self, x):
        return ops.stack((x,) * self.times, 2)


def reshape(*shape: int) -> Stage:
    return Stage(With(ops.reshape, shape), lambda x: x.reshape(shape))


def transpose(*axes: int) -> Stage:
    return Stage(With(ops.transpose, axes), lambda x: x.transpose(axes))


def expand(axis: int) -> Stage:
    return Stage(With(ops.expand_dims, axis), lambda x: np.expand_dims(x, axis))


def tile(*times: int) -> Stage:
    return Stage(With(ops.tile, times), lambda x: np.tile(x, times))


def broadcast(*shape: int) -> Stage:
    return Stage(With(ops.broadcast_to, shape), lambda x: np.broadcast_to(x, shape))


def repeat(name: str, times: int, shape: tuple[int, ...]) -> Stage | Chain:
    """From (B, kvN, ...) to (B, N, ...)."""
    b, n, *rest = shape
    heads = reshape(b, n * times, *rest)
    copies, ones = (b, n, times, *rest), (1,) * len(rest)
    by_index = Stage(group_axis_by_index, lambda x: x[:, :, None])
    return {
        "repeat_interleave": lambda: Stage(With(repeat_heads, times), lambda x: x.repeat(times, 1)),
        "method": lambda: Stage(With(repeat_heads_by_method, times), lambda x: x.repeat(times, 1)),
        "broadcast_to": lambda: chain(expand(2), broadcast(*copies), heads),
        "index": lambda: chain(by_index, broadcast(*copies), heads),
        "tile": lambda: chain(expand(2), tile(1, 1, times, *ones), heads),
        "tile of flat heads": lambda: chain(reshape(b, n, 1, -1), tile(1, 1, times, 1), heads),
        "stack": lambda: chain(Stage(Stacked(times), lambda x: np.stack((x,) * times, 2)), heads),
        "early": lambda: SAME,
        "tile in wrong order": lambda: tile(1, times, *ones),
        "broadcast_to in wrong order": lambda: chain(expand(1), broadcast(b, times, n, *rest), heads),
    }[name]()


# Caches.


class Appended(nn.Cell):
    def __init__(self, axis):
        super().__init__()
        self.axis = axis

    def construct(self, past, new):
        return ops.concat((past, new), self.axis)


def written_where(past, here, new):
    return ops.where(here, new, past)


def written_by_one_hot(past, here, new):
    return past * (1.0 - here) + new * here


@dataclass(frozen=True)
class Stored:
    """What a cache holds, and the way from there to (B, kvN, S, D)."""

    array: Array
    length_axis: int
    stages: tuple[Stage, ...]


def store(x: Array, layout: str, early: int = 1) -> Stored:
    """Lays out (B, kvN, S, D). `early` repeats heads that stand behind the positions."""
    b, n, s, d = x.shape
    repeated = [Stage(With(repeat_heads_early, early), lambda x: x.repeat(early, 2))] * (early > 1)
    back = transpose(0, 2, 1, 3)
    return {
        "BNSD": lambda: Stored(x, 2, ()),
        "BSND": lambda: Stored(x.transpose(0, 2, 1, 3), 1, (*repeated, back)),
        "BSH": lambda: Stored(x.transpose(0, 2, 1, 3).reshape(b, s, n * d), 1, (reshape(b, s, n, d), *repeated, back)),
        "view": lambda: Stored(x.reshape(b, s, n * d), 1, (reshape(b, n, s, d),)),
        "SBND": lambda: Stored(x.transpose(2, 0, 1, 3), 0, (transpose(1, 2, 0, 3),)),
        "rows": lambda: Stored(x.reshape(b * n, s, d), 1, (reshape(b, n, s, d),)),
        "BNDS": lambda: Stored(x.transpose(0, 1, 3, 2), 3, ()),
    }[layout]()


def tensor(x: Array, dtype: Any) -> Tensor:
    """Numbers in the type; int8 and bool as they are."""
    return Tensor(x.astype(np.float32)).astype(dtype) if x.dtype.kind == "f" else Tensor(np.ascontiguousarray(x))


@dataclass(frozen=True)
class Operand:
    """An input and what is made of it."""

    source: Tensor
    chain: Chain

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.source, *self.chain.inputs)

    def then(self, *parts: Stage | Chain) -> Operand:
        return Operand(self.source, chain(self.chain, *parts))


def write(stored: Stored, how: str, dtype: Any) -> Operand:
    """What a cache held before, brought to what it holds."""
    array, axis = stored.array, stored.length_axis
    place = [1] * array.ndim
    place[axis] = -1
    here = (np.arange(array.shape[axis]) == array.shape[axis] - 1).reshape(place)
    past, new = (tensor(x, dtype) for x in np.split(array, [-1], axis))
    full = tensor(np.where(here, 1, array).astype(array.dtype), dtype)
    if how == "concat":
        return Operand(past, chain(Stage(Appended(axis), lambda x, y: np.concatenate((x, y), axis), (new,))))
    if how == "where":
        return Operand(full, chain(Stage(written_where, lambda x, h, y: np.where(h, y, x), (Tensor(here), new))))
    if how == "one-hot":
        one_hot = tensor(here.astype(float), dtype)
        return Operand(full, chain(Stage(written_by_one_hot, lambda x, h, y: x * (1 - h) + y * h, (one_hot, new))))
    return Operand(tensor(array, dtype), SAME)


def head_size(chosen: Draw, which: int) -> int:
    """Of the key, which is 0, or the value, which is 1."""
    return chosen.head_size + (which == 1 and chosen.miss == "value of another head size")


def dequantised(chosen: Draw, which: int) -> Stage:
    """(x + offset) * scale of an int8 key, which is 0, or value, which is 1."""
    kind, dtype, d = chosen.int8, chosen.factor_type, head_size(chosen, which)
    shape = {"numbers": (), "channels": (d,)}.get(chosen.int8_parameters, (chosen.kv_heads, 1, d))
    rng = np.random.default_rng([5, chosen.seed, which])
    scale, offset = rng.integers(1, 9, shape) / 256, rng.integers(-30, 30, shape).astype(float)  # exact in fp16

    def given(x: Array) -> Any:
        if not shape:
            return float(x)
        return Parameter(tensor(x, dtype)) if chosen.int8_parameters == "Parameters" else tensor(x, dtype)

    if kind.startswith("Divided"):
        return Stage(getattr(quant, kind)(given(1 / scale), dtype), lambda x: x * scale)
    if kind.startswith("Scale"):
        return Stage(getattr(quant, kind)(given(scale), dtype), lambda x: x * scale)
    sign = -1 if kind.startswith("ZeroPoint") else 1
    return Stage(
        getattr(quant, kind)(given(offset), given(scale), dtype),
        lambda x: (x + sign * offset) * scale,
        magnitude=lambda x: (x + np.abs(offset)) * scale,
    )


# Factors of the matmuls.


def scaled(kind: str, factor: float) -> Stage | Chain:
    if kind == "none":
        return SAME
    given = 1 / factor if "Over" in kind else factor
    return Stage(getattr(net, kind)(given), lambda x: x * factor)


def times(x, scale):
    return x * scale


def operand_scale(kind: str, chosen: Draw) -> Stage | Chain:
    if kind != "tensor":
        return scaled(kind, chosen.factor)
    return Stage(times, np.multiply, (tensor(np.array([chosen.factor]), chosen.factor_type),))


def numbers(chosen: Draw, which: int, *shape: int) -> Array:
    """Normal numbers that fp16 holds exactly."""
    return np.random.default_rng([which, chosen.seed]).standard_normal(shape).astype(np.float16).astype(np.float64)


def up(chosen: Draw) -> Stage | Chain:
    return Stage(net.in_fp32, lambda x: x) if chosen.casts == "operands" else SAME


def query(chosen: Draw) -> Operand:
    b, n, rows, d = chosen.batch, chosen.heads, chosen.positions, chosen.head_size
    stored = store(numbers(chosen, 1, b, n, rows, d), chosen.query_layout)
    last = {
        "3-D": (reshape(b * n, rows, d),),
        "grouped": (reshape(b, chosen.kv_heads, -1, d),),
        "grouped in 5-D": (reshape(b, chosen.kv_heads, -1, rows, d),),
    }.get(chosen.form.split(",")[0], ())
    source = write(stored, "input", getattr(ms, chosen.dtype))
    return source.then(up(chosen), *stored.stages, operand_scale(chosen.query_scale, chosen), *last)


def cache_array(chosen: Draw, which: int) -> Array:
    alone = chosen.miss == ("key of one sequence", "value of one sequence")[which]
    same = which == 1 and chosen.cache == "the key is the value"
    b, d = 1 if alone else chosen.batch, head_size(chosen, which)
    if chosen.int8 != "none":
        rng = np.random.default_rng([7, chosen.seed, which])
        return rng.integers(-128, 128, (b, chosen.kv_heads, chosen.length, d)).astype(np.int8)
    return numbers(chosen, 2 if same else 2 + which, b, chosen.kv_heads, chosen.length, d)


def cache(chosen: Draw, which: int) -> Operand:
    """The key, which is 0, or the value, which is 1."""
    layout, repeats, scale, late = (
        (chosen.key_layout, chosen.key_repeat, chosen.key_scale, chosen.late_key_scale),
        (chosen.value_layout, chosen.value_repeat, chosen.value_scale, "none"),
    )[which]
    array = cache_array(chosen, which)
    stored = store(array, layout, chosen.group if repeats == "early" else 1)
    source = write(stored, chosen.cache, getattr(ms, chosen.dtype))
    to_floats = up(chosen) if chosen.int8 == "none" else SAME
    to_heads = [*stored.stages] if chosen.int8 == "none" else [*stored.stages, dequantised(chosen, which)]
    b, _, *matrix = array.transpose(0, 1, 3, 2).shape if layout == "BNDS" else array.shape
    shape = (b, chosen.kv_heads, *matrix)
    last = {
        "3-D": (repeat(repeats, chosen.group, shape), reshape(-1, *matrix)),
        "grouped": (),
        "grouped in 5-D": (expand(2),),
        "broadcast": (),
    }.get(chosen.form.split(",")[0], (repeat(repeats, chosen.group, shape),))
    return source.then(to_floats, *to_heads, operand_scale(scale, chosen), *last, scaled(late, chosen.factor))


def score_product(chosen: Draw) -> Callable[..., Any]:
    if chosen.key_layout == "BNDS":
        return net.scores_of_transposed_cache
    products = {
        3: {"matmul": net.scores_3d, "mint": net.scores_3d_mint, "bmm": net.scores_3d, "flag": net.scores_by_bmm_flag},
        4: {
            "matmul": net.scores_by_matmul,
            "mint": net.scores_by_mint,
            "bmm": net.scores_by_bmm,
            "flag": net.scores_by_bmm_flag,
            "both flags": net.scores_by_bmm_both_flags,
        },
        5: {"matmul": net.scores_5d},
    }[chosen.rank]
    return products.get(chosen.product, net.scores_by_operator)


def value_product(chosen: Draw) -> Callable[..., Any]:
    products = {
        3: {"matmul": net.values_3d, "mint": net.values_3d_mint},
        4: {"mint": net.values_by_mint, "bmm": net.values_by_bmm, "flag": net.values_by_bmm_flag},
        5: {"mint": net.values_by_mint},
    }[chosen.rank]
    return products.get(chosen.values, net.values_by_matmul)


# Between the scores and the softmax.


class ViewedCondition(nn.Cell):
    """A mask whose condition is moved first."""

    def __init__(self, mask, view):
        super().__init__()
        self.mask = mask
        self.view = view

    def construct(self, scores, condition):
        return self.mask(scores, self.view(condition))


class ViewedNumbers(ViewedCondition):
    """An additive mask that is moved after it has become numbers."""

    def construct(self, scores, condition):
        return scores + self.view(self.mask.mask(condition))


class MergedWithBias(nn.Cell):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def construct(self, scores, condition, bias):
        return scores + (bias + self.mask.mask(condition))


def of_scores(chosen: Draw, x: Array) -> Array:
    """(1|B, 1|N, 1, ...) in a shape that broadcasts to the scores'; (S,) stays."""
    if x.ndim == 1 or (len(chosen.score_shape) == 4 and chosen.form != "grouped"):
        return x
    b, n, *last = x.shape
    if chosen.form == "3-D":
        return x.reshape(1, *last) if b * n == 1 else broadcast_rows(chosen, x)
    heads = (1, 1) if n == 1 else (chosen.kv_heads, chosen.group)
    return x.reshape(b, *heads, *last) if chosen.rank == 5 else x.reshape(b, *heads, *last[1:])


def broadcast_rows(chosen: Draw, x: Array) -> Array:
    return np.broadcast_to(x, (chosen.batch, chosen.heads, *x.shape[2:])).reshape(-1, *x.shape[2:])


def mask_cell(chosen: Draw, mask: str) -> Any:
    return getattr(net, mask)(chosen.negative, chosen.score_type)


def hidden_positions(chosen: Draw, which: int) -> Array:
    """Of the first mask or the second; the last position of each row stays visible."""
    b, n, s = chosen.batch, chosen.heads, chosen.length
    shapes = {"sequence": (b, 1, 1, s), "shared": (1, 1, 1, s), "row": (s,), "head": (1, n, 1, s)}
    hidden = np.random.default_rng([8, chosen.seed, which]).random((s,) if which else shapes[chosen.mask_shape]) < 0.5
    hidden[..., -1] = False
    return of_scores(chosen, hidden)


def masked(chosen: Draw, mask: str, scores: Array, hidden: Array) -> Array:
    filled = chosen.negative if mask.startswith("Select") else scores + chosen.negative
    return np.where(hidden, filled, scores)


def mask_stage(chosen: Draw, mask: str, which: int) -> Stage | Chain:
    if mask == "none":
        return SAME
    hidden = hidden_positions(chosen, which)
    cell, source, shape, full = mask_cell(chosen, mask), hidden, hidden.shape, chosen.score_shape
    view = "none" if which else chosen.mask_views
    if view.startswith("reshape"):
        source = hidden.reshape(-1, shape[-1])
        cell = (ViewedNumbers if "numbers" in view else ViewedCondition)(cell, reshape(*shape).cell)
    elif view.startswith("broadcast"):
        cell = (ViewedNumbers if "numbers" in view else ViewedCondition)(cell, broadcast(*full).cell)
    elif view == "index":
        source = hidden.reshape(-1, shape[-1])
        cell = ViewedCondition(cell, rows_by_index)
    true_hides = mask in MASKS_WHERE_TRUE
    return Stage(
        cell,
        lambda x, c: masked(chosen, mask, x, (c == true_hides).reshape(shape)),
        (Tensor(source == true_hides),),
        lambda x, c: x + np.where((c == true_hides).reshape(shape), min(-chosen.negative, 1e4), 0),
    )


def rows_by_index(condition):
    return condition[:, None, None, :]


def bias_stage(chosen: Draw) -> Stage | Chain:
    if chosen.bias == "none":
        return SAME
    b, n, s = chosen.batch, chosen.heads, chosen.length
    shape = {"head": (1, n, 1, s), "all": (b, n, 1, s), "row": (s,), "constant": (1, n, 1, s)}[chosen.bias]
    bias = of_scores(chosen, numbers(chosen, 4, *shape))
    given = tensor(bias, chosen.score_type)
    if chosen.bias == "constant":
        return Stage(net.Plus(given), lambda x: x + bias, magnitude=lambda x: x + np.abs(bias))
    return Stage(getattr(net, chosen.bias_by), np.add, (given,))


def term_stages(chosen: Draw) -> tuple[Stage | Chain, ...]:
    """Masks and bias in their order."""
    mask, bias = mask_stage(chosen, chosen.mask, 0), bias_stage(chosen)
    second = mask_stage(chosen, chosen.second_mask, 1)
    if chosen.order == "merged":
        given = (*mask.inputs, *bias.inputs)
        n = len(mask.inputs)
        merged = Stage(
            MergedWithBias(mask_cell(chosen, chosen.mask)),
            lambda x, *extra: bias.numpy(mask.numpy(x, *extra[:n]), *extra[n:]),
            given,
            lambda x, *extra: bias.bound(mask.bound(x, *extra[:n]), *extra[n:]),
        )
        return merged, second
    return (mask, bias, second) if chosen.order == "mask first" else (bias, mask, second)


class Capped(nn.Cell):
    """At a value that most scores stay far from, as Gemma 2 has it: MindSpore's tanh is up to 1e-4 off around 5."""

    def construct(self, scores):
        return ops.tanh(scores / 50.0) * 50.0


def less_its_largest(scores):
    return scores - scores.max(-1, keepdims=True)


def masked_by_itself(scores):
    return ops.where(scores > -1e4, scores, -1e9)


def score_miss(chosen: Draw) -> Stage | Chain:
    by_head = of_scores(chosen, 0.5 + np.abs(numbers(chosen, 5, 1, chosen.heads, 1, 1)))
    row = numbers(chosen, 6, chosen.length)
    dtype = chosen.score_type
    return {
        "scale that is an input": Stage(times, np.multiply, (tensor(np.array([0.5]), dtype),)),
        "scale that differs by head": Stage(net.Times(tensor(by_head, dtype)), lambda x: x * by_head),
        "soft capping": Stage(Capped(), lambda x: np.tanh(x / 50) * 50),
        "score subtracted": Stage(
            less_its_largest,
            lambda x: x - x.max(-1, keepdims=True),
            magnitude=lambda x: x + x.max(-1, keepdims=True),
        ),
        "bias subtracted": Stage(net.subtract, np.subtract, (tensor(row, dtype),)),
        "mask made of the scores": Stage(masked_by_itself, lambda x: x),
    }.get(chosen.miss, SAME)


def adjustment(chosen: Draw) -> Chain:
    """From the product to what the softmax takes."""
    cast = Stage(net.in_fp32, lambda x: x) if chosen.casts == "scores" else SAME
    in_4d = reshape(*chosen.score_shape) if chosen.form == "3-D, softmax in 4-D" else SAME
    scale, late = scaled(chosen.score_scale, chosen.factor), scaled(chosen.late_scale, chosen.late_factor)
    return chain(cast, in_4d, scale, score_miss(chosen), *term_stages(chosen), late)


# From scores to weights.


def softmax_over_heads(scores):
    return ops.softmax(scores, 1 - scores.ndim)


def exponentials(scores):
    return ops.exp(scores - scores.max(-1, keepdims=True))


def exp_over_sum(scores):
    weights = exponentials(scores)
    return weights / weights.sum(-1, keepdims=True)


def exp_of_log_softmax(scores):
    return ops.exp(ops.log_softmax(scores, -1))


def halved(weights):
    return weights * 0.5


def shifted(weights):
    return weights + 0.5


def guarded_by_select(weights):
    return ops.where(ops.isnan(weights), 0.0, weights)


def guarded_by_fill(weights):
    return ops.masked_fill(weights, ops.isnan(weights), 0.0)


def softmax(x: Array, axis: int = -1) -> Array:
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def softmax_stage(chosen: Draw) -> Stage:
    if chosen.miss == "softmax over heads":
        return Stage(softmax_over_heads, lambda x: softmax(x, 1 - x.ndim))
    if chosen.miss == "sigmoid":
        return Stage(ops.sigmoid, lambda x: (1 + np.tanh(x / 2)) / 2)
    if chosen.softmax == "divided after":
        return Stage(exponentials, lambda x: np.exp(x - x.max(-1, keepdims=True)))
    spelled = {"cell": net.SoftmaxCell(), "exp over sum": exp_over_sum, "exp of log_softmax": exp_of_log_softmax}
    casts = {"softmax": net.softmax_in_fp32, "softmax by mint": net.softmax_in_fp32_mint}
    if chosen.casts in casts:
        return Stage(casts[chosen.casts], softmax)
    if chosen.softmax in spelled:
        return Stage(spelled[chosen.softmax], softmax)
    name = chosen.softmax if len(chosen.score_shape) == 4 else chosen.softmax.removesuffix("_positive_axis")
    return Stage(getattr(net, name), softmax)


def weighting(chosen: Draw) -> Chain:
    """From the softmax's operand to the value product's."""
    head_mask = of_scores(chosen, np.abs(numbers(chosen, 5, 1, chosen.heads, 1, 1)))
    miss = {
        "halved weights": Stage(halved, lambda p: p * 0.5),
        "shifted weights": Stage(shifted, lambda p: p + 0.5),
        "head mask": Stage(times, np.multiply, (tensor(head_mask, chosen.score_type),)),
    }.get(chosen.miss, SAME)
    rows = chosen.batch * chosen.heads
    back = reshape(rows, chosen.positions, -1) if chosen.form == "3-D, softmax in 4-D" else SAME
    narrow = chosen.casts == "scores"
    guards = {"select": guarded_by_select, "fill": guarded_by_fill}
    guard = Stage(guards[chosen.nan_guard], lambda p: p) if chosen.nan_guard in guards else SAME
    return chain(softmax_stage(chosen), guard, miss, back, Stage(net.in_fp16, lambda p: p) if narrow else SAME)


# After the value product.


def finishing(chosen: Draw) -> Chain:
    b, n, rows = chosen.batch, chosen.heads, chosen.positions
    merged = (reshape(b, n, rows, -1), transpose(0, 2, 1, 3), reshape(b, rows, -1))
    heads = {"merged": merged, "merged by view": (reshape(b, 1, -1),)}.get(chosen.finish, ())
    if chosen.output == "cast":
        narrow = Stage(net.in_fp16 if chosen.factor_type == ms.float32 else net.in_fp32, lambda o: o)
        return chain(*heads, narrow)
    if chosen.output == "none":
        return chain(*heads)
    quantised = Stage(
        getattr(quant, chosen.output)(40.0, 3.0),
        lambda o: np.clip(o * 40 + 3, -128, 127),
        magnitude=lambda o: o * 40,
    )
    return chain(*heads, quantised)


def undivided(attended, weights):
    return attended


def divided_by_sums(attended, weights):
    return attended / weights.sum(-1, keepdims=True)


def output_alone(output, scores, weights, attended):
    return (output,)


def output_and_scores(output, scores, weights, attended):
    return output, scores


def output_and_weights(output, scores, weights, attended):
    return output, weights


def output_and_attended(output, scores, weights, attended):
    return output, attended * 2.0


class Decoder(nn.Cell):
    """Parts put together. `sources` are the numbers of the inputs that query, key and value begin with."""

    def __init__(self, cells, sources, products, divide, returned):
        super().__init__()
        self.query, self.key, self.value, self.adjust, self.weights, self.finish = cells
        self.query_source, self.key_source, self.value_source = sources
        self.score_product, self.value_product = products
        self.divide = divide
        self.returned = returned

    def construct(self, inputs):
        q = self.query(inputs[self.query_source], inputs)
        k = self.key(inputs[self.key_source], inputs)
        v = self.value(inputs[self.value_source], inputs)
        scores = self.adjust(self.score_product(q, k), inputs)
        weights = self.weights(scores, inputs)
        attended = self.divide(self.value_product(weights, v), weights)
        return self.returned(self.finish(attended, inputs), scores, weights, attended)


#: Half the distance of two neighbours at 1.
UNIT = {"float32": 2.0**-24, "float16": 2.0**-11}


class Network:
    """A draw as a cell with its inputs, and what it gives.

    Attributes:
        outputs: How many it gives.
        exact: The first output in float64; not rounded where it becomes int8.
        rounding: How far from it the operator's own rounding can carry a fused network.
    """

    def __init__(self, chosen: Draw):
        self.draw = chosen
        operands = (query(chosen), cache(chosen, 0), cache(chosen, 1))
        chains = (*(operand.chain for operand in operands), adjustment(chosen), weighting(chosen), finishing(chosen))
        inputs = [part.inputs for part in (*operands, *chains[3:])]
        self.inputs = [x for part in inputs for x in part]
        self.cell, self.outputs = self._decoder(chains, [len(part) for part in inputs])
        self.exact, self.rounding = self._evaluate(chains, [[as_array(x) for x in part] for part in inputs])

    def _decoder(self, chains: tuple[Chain, ...], counts: list[int]) -> tuple[nn.Cell, int]:
        chosen = self.draw
        first = np.cumsum([0, *counts]).tolist()
        sources = first[:3] if chosen.cache != "the key is the value" else [*first[:2], first[1]]
        further = {
            "used twice": output_and_attended,
            "scores returned": output_and_scores,
            "weights returned": output_and_weights,
        }
        returned = further.get(chosen.finish, further.get(chosen.miss, output_alone))
        decoder = Decoder(
            [cell_of(part, at + (i < 3)) for i, (part, at) in enumerate(zip(chains, first, strict=False))],
            sources,
            (score_product(chosen), value_product(chosen)),
            divided_by_sums if chosen.softmax == "divided after" else undivided,
            returned,
        )
        return decoder, 1 if returned is output_alone else 2

    def _evaluate(self, chains: tuple[Chain, ...], inputs: list[list[Array]]) -> tuple[Array, Array]:
        *_, adjust, weights, output = chains
        sizes = [[np.abs(x) if x.dtype.kind == "f" else x for x in part] for part in inputs]
        q, k, v = (part.numpy(*x) for part, x in zip(chains[:3], inputs[:3], strict=True))
        q_size, k_size, v_size = (part.bound(*x) for part, x in zip(chains[:3], sizes[:3], strict=True))
        if self.draw.key_layout != "BNDS":
            k, k_size = k.swapaxes(-1, -2), k_size.swapaxes(-1, -2)
        p = weights.numpy(adjust.numpy(q @ k, *inputs[3]), *inputs[4])
        if self.draw.softmax == "divided after":
            p = p / p.sum(-1, keepdims=True)
        score_size = adjust.bound(q_size @ k_size, *sizes[3]).reshape(p.shape)

        # To first order, scores that are off by up to e * score_size move sum(p v) by up to e * spread, because of
        # dp = p (ds - sum(p ds)). The operator rounds query, scale, bias, and scale and offset of an int8 cache to
        # its type, once each, and its output; all else it computes in fp32, where D products, the softmax and S
        # summands take up to a unit each.
        size = p @ v_size
        spread = (p * score_size) @ v_size + (p * score_size).sum(-1, keepdims=True) * size
        unit, fp32 = UNIT[self.draw.dtype], UNIT["float32"]
        rounding = (5 * unit + (q.shape[-1] + 8) * fp32) * spread + (3 * unit + (p.shape[-1] + 8) * fp32) * size
        exact = output.numpy(p @ v, *inputs[5])
        if self.draw.output.startswith("Quantised"):
            return exact, output.bound(rounding, *sizes[5]) + 0.5
        if self.draw.output == "cast":
            return exact, output.bound(rounding, *sizes[5]) + UNIT["float16"] * np.abs(exact)
        return exact, output.bound(rounding, *sizes[5])


def as_array(x: Tensor) -> Array:
    array = x.asnumpy()
    return array.astype(np.float64) if array.dtype.kind in "fi" else array
