"""generate: a tiny checkpoint writes text, unfused and fused."""

from __future__ import annotations

import dataclasses
import io
import re
import sys

import pytest
import tokenizers
from ifa_fusion.models.build import build_model
from ifa_fusion.models.checkpoint import write_checkpoint
from ifa_fusion.models.config import PRESETS
from rich.console import Console

from ifa_fusion.cli import generate, stream


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights, and a tokenizer with a token for each byte."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = dataclasses.replace(PRESETS["tiny-llama"], vocab_size=256, max_positions=64)
    net = build_model(config, 5, capacity=1)
    write_checkpoint(folder, config, {name: p.asnumpy() for name, p in net.weights().items()})
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_compare(command, checkpoint):
    run = command("generate", "--checkpoint", checkpoint, "--prompt", "the sky", "--tokens", 8, "--compare", "--json")
    assert run.code == 0
    found = run.document
    assert found["same_tokens"] is True
    assert found["faster"] > 0
    layers = PRESETS["tiny-llama"].num_layers
    assert (found["unfused"]["fused"], found["unfused"]["refused"]) == (0, 0)
    assert (found["fused"]["fused"], found["fused"]["refused"]) == (layers, 0)
    for written in (found["unfused"], found["fused"]):
        assert len(written["tokens"]) == 8
        assert written["tokens_per_second"] > 0


def test_compare_names_both_texts(command, checkpoint):
    run = command("generate", "--checkpoint", checkpoint, "--prompt", "the sky", "--tokens", 2, "--compare")
    texts, figures = run.out.splitlines()[:2], run.out.splitlines()[2:4]
    assert [line.split(": ")[0] for line in texts] == ["unfused", "fused"], run.out
    assert [line.split(": ")[0] for line in figures] == ["unfused", "fused"], run.out


def test_text_and_speed(command, checkpoint):
    text = command("generate", "--checkpoint", checkpoint, "--prompt", "the", "--tokens", 8, "--json").document["fused"]
    run = command("generate", "--checkpoint", checkpoint, "--prompt", "the", "--tokens", 8)
    assert run.code == 0
    assert run.out.startswith(text["text"] + "\n")
    assert re.search(r"fused: 8 tokens, \d+\.\d tokens/s, (\d) of \1 attention sites fused\n$", run.out)
    assert "\x1b" not in run.out + run.err


def test_the_context_is_not_exceeded(command, checkpoint):
    run = command("generate", "--checkpoint", checkpoint, "--prompt", "a" * 60, "--tokens", 100, "--json")
    assert len(run.document["fused"]["tokens"]) == 5  # of 64 positions, and one that is not fed back


def test_other_tokens_are_a_failure(command, checkpoint, monkeypatch):
    texts = iter([[1, 2, 3], [1, 2, 4]])
    monkeypatch.setattr("ifa_fusion.models.generate.answer", lambda *_: iter(next(texts)))
    run = command("generate", "--checkpoint", checkpoint, "--prompt", "the", "--compare", "--json")
    assert run.code == 1
    assert run.document["same_tokens"] is False
    assert run.err.endswith("unfused and fused write the same 2 tokens, and then others.\n")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--checkpoint", "nowhere", "--prompt", "the"], ("checkpoint 'nowhere' does not exist",)),
        (["--prompt", "the"], ("--checkpoint",)),
        (["--checkpoint", "x", "--prompt", "the", "--tokens", "0"], ("--tokens", "1 or more", "'0'")),
    ],
)
def test_bad_input(command, arguments, parts):
    run = command("generate", *arguments)
    assert (run.code, run.out) == (2, "")
    for part in parts:
        assert part in run.err.splitlines()[-1]


@pytest.mark.parametrize(("prompt", "said"), [("", "prompt has 0 tokens"), ("a" * 65, "prompt has 65 tokens")])
def test_bad_prompt(command, checkpoint, prompt, said):
    run = command("generate", "--checkpoint", checkpoint, "--prompt", prompt)
    assert run.code == 2
    assert said in run.err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["tokenizers", "safetensors"])
def test_missing_packages_are_named(command, checkpoint, monkeypatch, tmp_path, missing):
    if missing == "safetensors":
        for name in ("config.json", "tokenizer.json"):
            (tmp_path / name).write_text((checkpoint / name).read_text())
        (tmp_path / "model.safetensors").touch()
        checkpoint = tmp_path
    monkeypatch.setitem(sys.modules, missing, None)
    run = command("generate", "--checkpoint", checkpoint, "--prompt", "the")
    assert run.code == 2
    assert missing in run.err
    assert run.err.endswith("pip install 'ifa-fusion[models]'\n")


def lines_on(screen: str) -> list[str]:
    """What a terminal shows after these characters."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[\d;?]*\w|\n|\r|[^\x1b\n\r]+", screen):
        if part == "\n":
            row += 1
            lines.extend([""] * (row + 1 - len(lines)))
        elif part in ("\r", "\x1b[2K"):
            lines[row] = ""
        elif part == "\x1b[1A":
            row -= 1
        elif not part.startswith("\x1b"):
            lines[row] += part
    return "\n".join(line.rstrip() for line in lines).rstrip().split("\n")


def test_a_terminal_shows_the_speed_while_text_is_written(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(stream, "output", lambda: Console(file=screen, force_terminal=True, width=20))
    with stream.Stream() as written:
        written.write("one two three ", "3 tokens")
        assert lines_on(screen.getvalue()) == ["one two three", "3 tokens"]
        written.write("four five\nsix\n", "6 tokens")
        assert lines_on(screen.getvalue()) == ["one two three four", "five", "six", "", "6 tokens"]
        written.write("seven", "7 tokens")
    assert lines_on(screen.getvalue()) == ["one two three four", "five", "six", "seven"]


def test_speed_is_that_of_the_median_step():
    text = generate.Text(report=None, times=[0.0, 5.0, 5.5, 6.0])
    assert text.tokens_per_second == 2
    assert generate.Text(report=None, times=[1.0]).tokens_per_second is None
