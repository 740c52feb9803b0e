import dataclasses
from itertools import islice

import gguf
import numpy as np
import pytest
from reference_models import reference_logits
from tokenizers.pre_tokenizers import ByteLevel

from models.build import build_model
from models.config import PRESETS
from models.generate import TextTokenizer, generate, greedy

BYTES = sorted(ByteLevel.alphabet())
CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_tokenizer(path, pre="smollm", model="gpt2"):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    tokens = [*CHAT, *BYTES, "th", "the", "Ġthe", "12"]
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(CHAT) + [gguf.TokenType.NORMAL] * (len(tokens) - len(CHAT)))
    writer.add_token_merges(["t h", "th e", "Ġ the", "1 2"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return TextTokenizer.load(write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "vocabulary.gguf"))


@pytest.fixture(scope="module")
def net(tokenizer):
    config = dataclasses.replace(PRESETS["tiny-llama"], vocab_size=len(CHAT) + len(BYTES) + 4)
    return build_model(config, 5, capacity=128)


def test_greedy_takes_the_largest_logit_of_the_reference(net):
    prompt = [7, 3, 99]
    tokens = [token for token, _ in islice(greedy(net, prompt), 6)]
    weights = {name: p.asnumpy() for name, p in net.weights().items()}
    logits = reference_logits(net.config, weights, prompt + tokens[:-1])
    assert tokens == logits[len(prompt) - 1 :].argmax(-1).tolist()


def test_greedy_is_deterministic_and_needs_no_reset(net):
    first, second = ([token for token, _ in islice(greedy(net, [4, 5]), 8)] for _ in range(2))
    assert first == second


def test_greedy_stops_when_the_context_is_full():
    net = build_model(PRESETS["tiny-llama"], 5, capacity=6)
    assert len(list(greedy(net, [1, 2, 3]))) == 4


def test_growing_cache_generates_the_same(net):
    growing = build_model(net.config, 5, "growing")
    first, second = ([token for token, _ in islice(greedy(n, [4, 5]), 4)] for n in (net, growing))
    assert first == second


@pytest.mark.parametrize(
    ("prompt", "words"),
    [([], "prompt has 0 tokens"), ([1] * 129, "129 tokens; it must have"), ([999], "token 999")],
)
def test_bad_prompts_are_named(prompt, words, net):
    with pytest.raises(ValueError, match=words):
        next(greedy(net, prompt))


def test_model_that_reads_an_encoder_is_refused():
    with pytest.raises(ValueError, match="architecture is 't5'; generation takes a model that reads no encoder"):
        next(greedy(build_model(PRESETS["tiny-t5"], 5, capacity=4), [1]))


@pytest.mark.parametrize("text", ["the weather in 2012", "naïve 雨 🙂", " \n two  spaces"])
def test_text_survives_the_tokenizer(text, tokenizer):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_merges_and_single_digits(tokenizer):
    assert len(tokenizer.encode("the the")) == 2
    assert len(tokenizer.encode("12")) == 2


def test_streamed_pieces_are_whole_characters(tokenizer):
    pieces = list(tokenizer.stream(iter(tokenizer.encode("a雨🙂b"))))
    assert "".join(pieces) == "a雨🙂b"
    assert not any("\ufffd" in piece for piece in pieces)


def test_chat_has_the_special_tokens(tokenizer):
    tokens = tokenizer.encode_chat("the")
    assert [tokens.count(i) for i in range(3)] == [0, 3, 2]
    assert tokenizer.stop_tokens == {0, 2}


def test_saved_tokenizer_reads_back(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert TextTokenizer.load(tmp_path).encode("the weather") == tokenizer.encode("the weather")


def test_generate_stops_at_the_end_of_the_message(net, tokenizer):
    whole = "".join(generate(net, tokenizer, "the", 20))
    tokens = [token for token, _ in islice(greedy(net, tokenizer.encode_chat("the")), 20)]
    cut = next((i for i, token in enumerate(tokens) if token in tokenizer.stop_tokens), len(tokens))
    assert whole == tokenizer.decode(tokens[:cut]).rstrip("\ufffd")


@pytest.mark.parametrize(("pre", "model"), [("llama-bpe", "gpt2"), ("smollm", "llama")])
def test_other_tokenizers_are_refused(pre, model, tmp_path):
    with pytest.raises(ValueError, match=f"the GGUF tokenizer is '{model}' with '{pre}'"):
        TextTokenizer.load(write_tokenizer(tmp_path / "other.gguf", pre, model))


def test_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json' does not exist"):
        TextTokenizer.load(tmp_path)


def test_logits_are_float32(net):
    _, logits = next(greedy(net, [1]))
    assert logits.dtype == np.float32
    assert logits.shape == (net.config.vocab_size,)
