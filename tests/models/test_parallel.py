"""Models whose heads are split over processes."""

import dataclasses
import json
import re
from itertools import islice

import numpy as np
import pytest
from launching import launch

from models.build import build_model
from models.config import PRESETS
from models.generate import greedy
from models.parallel import build_share, main, share_weights

LLAMA = PRESETS["tiny-llama"]
SEED, TOKENS = 11, 16
ARGUMENTS = ["--model", "llama", "--seed", str(SEED), "--capacity", "32", "--tokens", str(TOKENS)]


def with_heads(heads, kv_heads):
    return dataclasses.replace(LLAMA, num_heads=heads, num_kv_heads=kv_heads)


@pytest.mark.parametrize(("processes", "heads", "kv_heads"), [(2, 8, 2), (3, 9, 3)])
def test_the_same_tokens_as_one_process(processes, heads, kv_heads, tmp_path):
    """The numbers of heads of the second are SmolLM2's."""
    config = with_heads(heads, kv_heads)
    (tmp_path / "config.json").write_text(json.dumps(config.to_huggingface()))
    code, logs = launch(processes, tmp_path, "python", "-m", "models.parallel", "--config", "config.json", *ARGUMENTS)
    assert code == 0, "".join(logs)
    prompt = np.random.default_rng(SEED).integers(0, config.vocab_size, 8).tolist()
    tokens = [token for token, _ in islice(greedy(build_model(config, SEED, capacity=32), prompt), TOKENS)]
    share = f"heads {heads // processes} of {heads}, KV heads {kv_heads // processes} of {kv_heads}, fused 2 of 2"
    for rank, log in enumerate(logs):
        lines = re.findall(r"^process .*", log, re.MULTILINE)
        assert lines == [f"process {rank} of {processes}: {share}, tokens {tokens}"]


def test_one_process_runs_the_whole_model(capsys):
    assert main(["--config", "tiny-llama", *ARGUMENTS]) == 0
    assert "process 0 of 1: heads 4 of 4, KV heads 2 of 2, fused 2 of 2, tokens [" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["tiny-llama", "tiny-mistral", "tiny-qwen2"])
def test_a_share_takes_its_part_of_every_weight(preset, weights_of):
    shares = [build_share(PRESETS[preset], weights_of(preset), rank, 2, capacity=1).weights() for rank in range(2)]
    for name, whole in weights_of(preset).items():
        parts = [share[name].asnumpy() for share in shares]
        axis = {"o_proj.weight": 1, "down_proj.weight": 1}.get(".".join(name.split(".")[-2:]), 0)
        together = parts[0] if parts[0].shape == whole.shape else np.concatenate(parts, axis)
        np.testing.assert_array_equal(together, whole)


def test_the_outputs_of_the_shares_add_up():
    random = np.random.default_rng(3)
    whole = {"o_proj.weight": random.standard_normal((6, 8)), "o_proj.bias": random.standard_normal(6)}
    x = random.standard_normal(8)
    shares = [share_weights(whole, rank, 4) for rank in range(4)]
    sums = sum(s["o_proj.weight"] @ part + s["o_proj.bias"] for s, part in zip(shares, np.split(x, 4), strict=True))
    np.testing.assert_allclose(sums, whole["o_proj.weight"] @ x + whole["o_proj.bias"], rtol=1e-12)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (with_heads(8, 4), "num_kv_heads is 4; the number of processes, which is 3, must divide it"),
        (dataclasses.replace(with_heads(9, 3), intermediate_size=64), "intermediate_size is 64; the number of proc"),
        (PRESETS["tiny-gpt2"], "architecture is 'gpt2'; it must be one of llama, mistral, qwen2"),
    ],
)
def test_models_that_can_not_be_split_are_named(config, words):
    with pytest.raises(ValueError, match=words):
        build_share(config, SEED, 0, 3, capacity=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "the"], "--prompt is a text, for which a tokenizer is needed"),
        (["--tokens", "0"], "--tokens is 0; it must be at least 1"),
    ],
)
def test_bad_input_exits_2(arguments, words, capsys):
    assert main(["--config", "tiny-llama", *ARGUMENTS, *arguments]) == 2
    assert words in capsys.readouterr().err
