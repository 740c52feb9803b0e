"""Random decode attention: a draw is one choice for each concept that the pass knows.

It knows by construction whether the pass must fuse it, or with which reason it must be refused. What MindSpore can't
run on a CPU is left out: nearly everything in bf16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import mindspore as ms
import numpy as np


def among(default: Any, *others: Any) -> Any:
    return field(default=default, metadata={"among": (default, *others)})


SCALES = ("none", "Times", "FactorTimes", "Over", "OpsOver", "MintTimes", "MintOver")
LAYOUTS = ("BNSD", "BSND", "BSH", "SBND", "rows")
REPEATS = ("repeat_interleave", "method", "broadcast_to", "index", "tile", "tile of flat heads", "stack", "early")
WRONG_REPEATS = ("tile in wrong order", "broadcast_to in wrong order")
MASKS_WHERE_FALSE = (
    *("AdditiveKeep", "AdditiveOneMinus", "AdditiveNot", "AdditiveKeptMinusOne"),
    *("SelectKeep", "SelectMint", "SelectNot"),
)
MASKS_WHERE_TRUE = (
    *("Additive", "AdditiveSelect", "AdditiveMintWhere", "AdditiveTimes", "AdditiveMaskedFill"),
    *("AdditiveFirst", "AdditiveMint"),
    *("Select", "SelectMaskedFill", "SelectMaskedFillMethod", "SelectMaskedFillTensor", "SelectBroadcast"),
)
MASKS = (*MASKS_WHERE_TRUE, *MASKS_WHERE_FALSE)
#: Those that multiply 0 with the large number.
MASKS_BY_PRODUCT = ("AdditiveOneMinus", "AdditiveTimes", "AdditiveNot", "AdditiveKeptMinusOne")

#: What the pass says of a network that only looks like attention; nothing at all where there is no softmax.
MISSES = {
    "scale that is an input": "score_op",
    "scale that differs by head": "score_op",
    "soft capping": "score_op",
    "score subtracted": "score_op",
    "bias subtracted": "score_op",
    "mask made of the scores": "scores_used",
    "scores returned": "scores_used",
    "softmax over heads": "softmax_axis",
    "weights returned": "probabilities_used",
    "halved weights": "probability_op",
    "shifted weights": "probability_op",
    "head mask": "probability_op",
    "two query positions": "query_length",
    "key of one sequence": "kv_layout",
    "value of one sequence": "kv_layout",
    "value of another head size": "head_size",
    "sigmoid": None,
}
#: Without an operator of that name; the last divides what the value product gives.
SPELLED_OUT_SOFTMAXES = ("exp over sum", "exp of log_softmax", "divided after")
#: Of `product` and `values`: these take no batches that broadcast.
BATCH_MATMULS = {"bmm", "flag", "both flags"}
#: Choices that each bring one thing that keeps the pass from fusing, by the name that `Draw.misses` has for it.
NEAR_MISSES: dict[str, dict[str, Any]] = {
    **{miss: {"miss": miss} for miss in MISSES},
    **{f"key: {repeat}": {"key_repeat": repeat} for repeat in WRONG_REPEATS},
    **{f"value: {repeat}": {"value_repeat": repeat} for repeat in WRONG_REPEATS},
    "rows of a group that could be positions": {"form": "grouped", "kv_heads": 1, "query_layout": "BSND"},
    "fill that does not hide": {"mask": "Select", "negative": -5000.0},
    "selecting mask by head": {"mask": "Select", "mask_shape": "head"},
    "selecting mask by row of 3-D scores": {"mask": "Select", "form": "3-D"},
}


@dataclass(frozen=True, repr=False)
class Draw:
    """One network. The first choice of each field is the plainest; `seed` is that of the numbers."""

    seed: int = 0
    batch: int = among(2, 1, 3)
    kv_heads: int = among(2, 1, 3)
    group: int = among(3, 1, 2, 4)
    length: int = among(5, 1, 2, 3, 6, 8, 17)
    head_size: int = among(8, 2, 3, 6, 16)
    dtype: str = among("float32", "float16")
    form: str = among("4-D", "3-D", "3-D, softmax in 4-D", "grouped", "grouped in 5-D", "broadcast")
    query_layout: str = among("BNSD", "BSND", "BSH", "view", "rows")
    key_layout: str = among(*LAYOUTS, "BNDS")
    value_layout: str = among(*LAYOUTS)
    cache: str = among("input", "concat", "where", "one-hot", "the key is the value")
    key_repeat: str = among(*REPEATS, *WRONG_REPEATS)
    value_repeat: str = among(*REPEATS, *WRONG_REPEATS)
    product: str = among("operator", "matmul", "mint", "bmm", "flag", "both flags")
    values: str = among("matmul", "mint", "bmm", "flag")
    query_scale: str = among(*SCALES, "tensor")
    key_scale: str = among(*SCALES, "tensor")
    late_key_scale: str = among(*SCALES)
    value_scale: str = among(*SCALES)
    score_scale: str = among(*SCALES, "RealOver")
    late_scale: str = among(*SCALES, "RealOver")
    factor: float = among(0.3, 8**-0.25, 1.5, -0.3)
    late_factor: float = among(0.3, 0.125, 1.5, 1e-3)
    mask: str = among("none", *MASKS)
    negative: float = among(-1e4, -65504.0, -1e9, -3.4e38, float("-inf"), -5000.0)
    mask_shape: str = among("sequence", "shared", "row", "head")
    mask_views: str = among("none", "reshape", "index", "broadcast", "reshape of numbers", "broadcast of numbers")
    second_mask: str = among("none", *MASKS)
    bias: str = among("none", "head", "all", "row", "constant")
    bias_by: str = among("add", "add_first", "add_mint")
    order: str = among("mask first", "bias first", "merged")
    casts: str = among("none", "softmax", "softmax by mint", "scores", "operands")
    softmax: str = among(
        *("softmax", "softmax_mint", "softmax_operator", "cell", "softmax_positive_axis"),
        *SPELLED_OUT_SOFTMAXES,
    )
    int8: str = among(
        *("none", "Scaled", "ScaleTimes", "ScaledMint", "ScaledMethod", "Divided", "DividedOps"),
        *("Shifted", "OffsetPlus", "ShiftedMint", "ZeroPoint", "ZeroPointMint"),
    )
    int8_parameters: str = among("numbers", "channels", "heads and channels", "Parameters")
    finish: str = among("none", "merged", "merged by view", "used twice")
    output: str = among("none", "cast", "Quantised", "QuantisedClip", "QuantisedMint", "QuantisedMethods")
    miss: str = among("none", *MISSES)
    nan_guard: str = among("none", "select", "fill")

    def __repr__(self) -> str:
        chosen = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"Draw({', '.join(chosen)})".replace("=-inf", "=float('-inf')")

    @property
    def heads(self) -> int:
        return self.kv_heads * self.group

    @property
    def positions(self) -> int:
        """Of the query."""
        return 2 if self.miss == "two query positions" else 1

    @property
    def rank(self) -> int:
        """Of the matmuls' factors."""
        return {"3-D": 3, "3-D, softmax in 4-D": 3, "grouped in 5-D": 5}.get(self.form, 4)

    @property
    def score_shape(self) -> tuple[int, ...]:
        """Where masks and biases are added."""
        b, n, kv, g = self.batch, self.heads, self.kv_heads, self.group
        rows = {"3-D": (b * n,), "grouped": (b, kv), "grouped in 5-D": (b, kv, g)}.get(self.form, (b, n))
        return (*rows, g if self.form == "grouped" else self.positions, self.length)

    @property
    def factor_type(self) -> Any:
        """Of the matmuls' factors."""
        return ms.float32 if self.casts == "operands" else getattr(ms, self.dtype)

    @property
    def score_type(self) -> Any:
        """Where masks and biases are added."""
        return ms.float32 if self.casts == "scores" else self.factor_type

    @property
    def late(self) -> float:
        return 1.0 if self.late_scale == "none" else self.late_factor

    @property
    def masks(self) -> tuple[str, ...]:
        return tuple(mask for mask in (self.mask, self.second_mask) if mask != "none")

    @property
    def subtracts_twice(self) -> bool:
        """Whether a softmax that is spelled out begins with a score that is subtracted: that is a softmax as well."""
        between = self.masks or self.bias != "none" or self.late_scale != "none"
        return self.miss == "score subtracted" and self.softmax in SPELLED_OUT_SOFTMAXES and not between

    def reasons(self) -> set[str | None]:
        """Of which the pass must give one; none for a network that it must fuse."""
        return {*self.misses().values()}

    def misses(self) -> dict[str, str | None]:
        """What keeps the pass from fusing, each with the reason that it gives for it alone."""
        found: dict[str, str | None] = {}
        if self.miss != "none" and not self.subtracts_twice:
            found[self.miss] = MISSES[self.miss]
            if MISSES[self.miss] == "kv_layout" and self.kv_heads == 1:  # which all heads of all sequences could share
                found[self.miss] = "kv_mismatch"
        if self.kv_heads > 1 and self.group > 1:
            repeats = (("key", self.key_repeat), ("value", self.value_repeat))
            found |= {f"{name}: {repeat}": "head_order" for name, repeat in repeats if repeat in WRONG_REPEATS}
        # Rows of a group that come from an axis of heads that was moved could be positions of the single KV head.
        stays = self.query_layout == "BNSD" and self.product != "both flags"
        proved = stays or self.query_layout in ("BSH", "view") or self.query_scale == "tensor"
        if self.form == "grouped" and self.kv_heads == 1 and self.group > 1 and not proved:
            found["rows of a group that could be positions"] = "query_length"
        return found | self._misses_of_selecting_masks()

    def _misses_of_selecting_masks(self) -> dict[str, str]:
        found = {}
        if any(mask.startswith("Select") for mask in self.masks) and self.negative * self.late > -1e4:
            found["fill that does not hide"] = "mask_value"
        if self.mask.startswith("Select") and self.heads > 1:
            by_sequence = self.mask_shape == "sequence" and self.batch > 1
            if self.mask_shape == "head":
                found["selecting mask by head"] = "mask_heads"
            if by_sequence and self.form == "3-D":
                found["selecting mask by row of 3-D scores"] = "mask_heads"
        return found

    def features(self) -> set[str]:
        """Of those that a fused site must have."""
        found = {f"length {self.length}", f"head size {self.head_size}"}
        # What is repeated before a transpose may become new heads; where sequences and heads are neighbours in memory,
        # the pass may take one for the other.
        told_apart = not {self.key_layout, self.value_layout} & {"rows", "SBND"}
        if "early" not in (self.key_repeat, self.value_repeat) and told_apart:
            kind = "MHA" if self.group == 1 else "MQA" if self.kv_heads == 1 else "GQA"
            found.add(f"{kind} {self.heads}/{self.kv_heads}")
        if self.int8 != "none":
            found.add("int8 cache")
        if self.output.startswith("Quantised") and self.finish != "used twice":
            found.add("int8 output")
        return found

    def is_valid(self) -> bool:
        """Whether the choices go together and each of them means something."""
        clashes = (self._clashes_of_layout(), self._clashes_of_scores(), self._clashes_of_int8())
        return not any(map(any, (self._choices_without_a_meaning(), *clashes)))

    def _choices_without_a_meaning(self) -> Iterator[bool]:
        scales = {self.query_scale, self.key_scale, self.late_key_scale, self.value_scale, self.score_scale}
        yield scales == {"none"} and self.factor != 0.3
        yield self.late_scale == "none" and self.late_factor != 0.3
        if self.mask == "none":
            yield (self.negative, self.mask_shape, self.mask_views) != (-1e4, "sequence", "none")
            yield self.second_mask != "none"
        yield self.bias in ("none", "constant") and self.bias_by != "add"
        yield "none" in (self.mask, self.bias) and self.order != "mask first"
        yield self.int8 == "none" and self.int8_parameters != "numbers"

    def _clashes_of_layout(self) -> Iterator[bool]:
        repeats = {self.key_repeat, self.value_repeat}
        shares_heads = self.form in ("grouped", "grouped in 5-D", "broadcast")
        yield shares_heads and repeats != {"repeat_interleave"}
        if self.form == "broadcast":
            yield self.kv_heads != 1 or (self.group > 1 and bool({self.product, self.values} & BATCH_MATMULS))
        for repeat, layout in ((self.key_repeat, self.key_layout), (self.value_repeat, self.value_layout)):
            yield repeat == "early" and layout not in ("BSND", "BSH")
        yield self.cache == "concat" and self.length == 1
        yield self.cache == "the key is the value" and self.key_layout != self.value_layout
        if self.miss in ("key of one sequence", "value of one sequence"):
            yield self.batch == 1 or self.form != "4-D" or self.cache != "input" or self.key_layout == "BNDS"
            product = self.product if self.miss.startswith("key") else self.values
            yield product in BATCH_MATMULS
        yield self.miss in ("scores returned", "weights returned") and self.finish == "used twice"
        yield self.miss == "value of another head size" and self.cache == "the key is the value"
        if self.miss == "two query positions":
            yield self.query_layout == "view" or self.finish == "merged by view" or self.form == "grouped"

    def _clashes_of_scores(self) -> Iterator[bool]:
        narrow = self.score_type == ms.float16
        yield self.dtype == "float32" and self.casts != "none"
        yield self.casts.startswith("softmax") and self.softmax != "softmax"
        if self.softmax == "divided after":  # what comes between would be divided by its own sum
            yield self.nan_guard != "none" or self.miss in ("halved weights", "shifted weights", "head mask")
        yield self.softmax in SPELLED_OUT_SOFTMAXES and self.miss in ("softmax over heads", "sigmoid")
        yield narrow and ("RealOver" in (self.score_scale, self.late_scale) or self.late == 1e-3)
        yield self.negative < (-65504 if narrow else -3.4e38) and bool({*self.masks} & {*MASKS_BY_PRODUCT})
        yield self.mask_views.endswith("numbers") and not self.mask.startswith("Additive")
        yield self.mask_views == "index" and (len(self.score_shape) != 4 or self.mask_shape in ("row", "head"))
        if self.order == "merged":
            yield self.bias in ("none", "constant") or not self.mask.startswith("Additive") or self.mask_views != "none"
        yield self.miss in ("scale that differs by head", "head mask") and self.heads == 1
        yield self.miss == "softmax over heads" and self.mask != "none"

    def _clashes_of_int8(self) -> Iterator[bool]:
        if self.int8 == "none":
            return
        yield bool({self.key_repeat, self.value_repeat} & {"stack", "early", *WRONG_REPEATS})
        yield self.cache in ("one-hot", "the key is the value") or self.key_layout == "BNDS"
        yield self.key_scale == "tensor"


CHOICES = tuple(f for f in fields(Draw) if f.metadata)
#: Of choices that are made more often or less often than others; misses have networks of their own.
CHANCES = {"int8": 0.4, "miss": 0.1}


def draw(seed: int) -> Draw:
    """Each choice is made with a chance of its own, where it goes together with those that were made before it.

    Every fourth network misses for one reason alone, and these take turns: of two reasons one could hide the other.
    """
    rng = np.random.default_rng([12, seed])
    chosen = Draw(seed)
    alone = seed % 4 == 0
    if alone:
        chosen = replace(chosen, **tuple(NEAR_MISSES.values())[seed // 4 % len(NEAR_MISSES)])
    misses = chosen.misses().keys()
    for choice in CHOICES:
        among = choice.metadata["among"]
        changed = replace(chosen, **{choice.name: among[rng.integers(len(among))]})
        fits = changed.is_valid() and (not alone or changed.misses().keys() == misses)
        if rng.random() < CHANCES.get(choice.name, 0.3) and fits:
            chosen = changed
    return chosen
