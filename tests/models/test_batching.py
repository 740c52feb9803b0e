"""Requests that join and leave a running batch over a paged cache."""

from itertools import islice, pairwise

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from reference_models import reference_logits

import ifa_fusion
from models.batching import ContinuousBatch
from models.build import build_model, set_weights
from models.config import PRESETS
from models.generate import greedy
from models.paged import PagedLlama

LLAMA = PRESETS["tiny-llama"]
# Lengths of prompts, and of what is written: 1, 2 and 3 blocks of 16 positions.
LENGTHS = [(5, 3), (20, 9), (3, 14), (1, 17), (30, 18), (2, 1), (9, 8), (14, 20)]


def paged(preset="tiny-llama", weights=3, batch=3, blocks=6, table_width=3):
    net = PagedLlama(PRESETS[preset], batch=batch, blocks=blocks, table_width=table_width)
    return set_weights(net, weights).set_train(False)


@pytest.fixture(scope="module")
def net():
    return paged()


@pytest.fixture(scope="module")
def requests():
    random = np.random.default_rng(7)
    return [(random.integers(0, LLAMA.vocab_size, prompt).tolist(), written) for prompt, written in LENGTHS]


@pytest.fixture(scope="module")
def expected(requests):
    """What a model with a cache of its own writes, one request at a time."""
    ms.set_context(mode=ms.GRAPH_MODE)
    alone = build_model(LLAMA, 3, capacity=48)
    return [[token for token, _ in islice(greedy(alone, prompt), written)] for prompt, written in requests]


def test_the_same_tokens_as_one_at_a_time(net, requests, expected):
    batch = ContinuousBatch(net)
    queued = [batch.add(*request) for request in requests]
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion():
        steps = batch.run()
    assert [request.tokens for request in queued] == expected
    stays = [len(request.prompt) + len(request.tokens) - 1 for request in queued]
    assert [sum(request in rows for rows in steps) for request in queued] == stays
    changes = [(before, after) for before, after in pairwise(steps) if before != after]
    assert sum(any(a is b is not None for a, b in zip(*change, strict=True)) for change in changes) > 5, (
        "requests must join and leave while others run on"
    )
    assert sorted(batch.free) == [1, 2, 3, 4, 5]
    sites = ifa_fusion.report(reset=True).sites
    assert [site.reason for site in sites] == ["fused"] * 2
    assert all({"paged 16", "mask: additive -> lengths"} <= set(site.features) for site in sites)


def test_requests_wait_for_blocks(net, requests):
    batch = ContinuousBatch(net)
    first, second, third = (batch.add(requests[i][0], 18) for i in (4, 4, 0))
    batch.step()
    assert batch.rows == [first, None, None], "3 of 5 blocks are taken, and who comes first is served first"
    assert list(batch.waiting) == [second, third]
    while first in batch.rows:
        batch.step()
    batch.step()
    assert batch.rows == [second, third, None]
    assert len(batch.free) == 0


def test_a_stop_ends_a_request(net, requests, expected):
    stop = expected[1][4]
    batch = ContinuousBatch(net, stops=[stop])
    request = batch.add(*requests[1])
    batch.run()
    assert request.tokens == expected[1][: expected[1].index(stop) + 1]


@pytest.mark.parametrize("preset", ["tiny-llama", "tiny-mistral", "tiny-qwen2"])
def test_sequences_at_different_positions_match_the_reference(preset, tokens, weights_of):
    """The second sequence begins 7 steps later; each has blocks in an order of its own."""
    step = paged(preset, weights_of(preset), batch=2, blocks=5, table_width=2)
    table = Tensor(np.array([[4, 1], [2, 3]], np.int32))
    logits = []
    with ifa_fusion.fusion():
        for i in range(7, len(tokens)):
            for position in range(7 if i == 7 else 0):
                step(Tensor(tokens[[position, 0]]), Tensor(np.array([position, 0], np.int32)), table)
            inputs = Tensor(tokens[[i, i - 7]]), Tensor(np.array([i, i - 7], np.int32))
            logits.append(step(*inputs, table).asnumpy())
    expected = reference_logits(PRESETS[preset], weights_of(preset), tokens[:, 0])
    expected = np.stack((expected[7:], expected[:-7]), 1)
    assert np.sqrt(np.mean((np.stack(logits) - expected) ** 2) / np.mean(expected**2)) < 2e-6


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "words"),
    [
        ([], 4, "prompt has 0 tokens and max_tokens is 4; both must be at least 1"),
        ([1], 0, "max_tokens is 0"),
        ([1, 128], 4, "prompt holds token 128; it must be below vocab_size, 128"),
        ([1] * 40, 10, "take 4 blocks of 16; a sequence can have 3"),
    ],
)
def test_bad_requests_are_named(prompt, max_tokens, words, net):
    with pytest.raises(ValueError, match=words):
        ContinuousBatch(net).add(prompt, max_tokens)


@pytest.mark.parametrize(
    ("preset", "table_width", "words"),
    [
        ("tiny-gpt2", 3, "architecture is 'gpt2'; it must be one of llama, mistral, qwen2"),
        ("tiny-llama", 9, "table_width is 9, which makes 144 positions a sequence; there must be between 1 and 128"),
    ],
)
def test_bad_networks_are_named(preset, table_width, words):
    with pytest.raises(ValueError, match=words):
        paged(preset, table_width=table_width)
