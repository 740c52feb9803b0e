"""The decoders of `decoders/`, imported: unfused and fused they compute what onnxruntime computes.

The usual run takes one file of each architecture; IFA_TEST_ONNX=all takes every file.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import pytest
from decoder_table import BOUND, FILES, FOLDER, LENGTHS, STEP, Inputs, inputs_of, outputs_of, parts_of, run, session_of

import ifa_fusion
from ifa_fusion.onnx import load

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}
#: What the operator can't express; all else is fused.
REFUSED = {"gemma2": "score_op"}  # caps its scores by tanh


def usual(files: list[Path]) -> list[Path]:
    """All files, or a seeded choice of one of each architecture."""
    if os.environ.get("IFA_TEST_ONNX") == "all":
        return files
    choose = random.Random(6).choice
    return [choose(list(group)) for _, group in itertools.groupby(files, lambda path: parts_of(path)[0])]


def count(path: Path, operator: str) -> int:
    return sum(node.op_type == operator for node in onnx.load(path).graph.node)


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    ifa_fusion.report(reset=True)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.mark.parametrize(
    "path, dims",
    [
        *(pytest.param(path, STEP, id=path.stem) for path in usual(FILES)),
        *(pytest.param(path, BOUND, id=f"{path.stem}-bound") for path in usual(sorted(FOLDER.glob("llama-*")))),
    ],
)
def test_agrees_with_onnxruntime_and_fuses(path, dims):
    architecture, *_, dtype = parts_of(path)
    outcome = run(path, dims)
    assert outcome.unfused <= TOLERANCES[dtype]
    assert outcome.fused <= TOLERANCES[dtype]
    assert outcome.reasons == [REFUSED.get(architecture, "fused")] * count(path, "Softmax")


def test_attention_nodes_become_the_operator(tmp_path):
    path = FOLDER / "llama-dynamo23-sdpa-fp32.onnx"
    load(path, STEP, source_dir=tmp_path)
    (source,) = (file.read_text() for file in tmp_path.glob("*.py"))
    assert source.count(" decode_attention(") == count(path, "Attention") == 2


def generate(path: Path, step: Callable[[Inputs], list[np.ndarray]]) -> list[int]:
    """32 tokens, each the likeliest that is none of the eight before it, which small random models would repeat.

    The cache begins with one position that is masked, because one of no positions would have no elements.
    """
    inputs = inputs_of(path, LENGTHS | {"batch": 1, "past_length": 1, "total_length": 2})
    inputs["attention_mask"][:, 0] = 0
    cache = [name for name in inputs if name.startswith("past_key_values")]
    tokens: list[int] = []
    for position in range(32):
        inputs["position_ids"] = np.array([[position]])
        logits, *present = step(inputs)
        logits[..., tokens[-8:]] = -np.inf
        tokens.append(int(logits.argmax()))
        inputs["input_ids"] = np.array([tokens[-1:]])
        inputs["attention_mask"] = np.append(inputs["attention_mask"], [[1]], axis=1)
        inputs.update(zip(cache, present, strict=True))
    return tokens


@pytest.mark.parametrize("stem", ["llama-dynamo20-sdpa-fp32", "gpt2-torchscript17-eager-fp32"])
def test_generation(stem):
    path = FOLDER / f"{stem}.onnx"
    session = session_of(path)
    net = load(path, {"batch": 1, "sequence_length": 1})
    with ifa_fusion.fusion():
        tokens = generate(path, lambda inputs: outputs_of(net, inputs))
    assert tokens == generate(path, lambda inputs: session.run(None, inputs))
    assert len(ifa_fusion.report().fused) == 2
