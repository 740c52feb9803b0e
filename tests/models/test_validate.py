import types

import pytest

from models import validate
from models.config import PRESETS
from models.validate import main

ARGUMENTS = ["--model", "llama", "--config", "tiny-llama", "--capacity", "32", "--steps", "4"]


@pytest.fixture
def pretend(monkeypatch):
    """Let the pass report the sites that it is told to."""

    def install(fused, refused=()):
        report = types.SimpleNamespace(fused=list(fused), refused=list(refused))
        monkeypatch.setattr(validate, "take_report", lambda: report)

    return install


@pytest.mark.grid
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("cache", ["static", "growing"])
@pytest.mark.parametrize(
    ("model", "preset"), [("llama", "tiny-llama"), ("llama", "tiny-mistral"), ("gpt2", "tiny-gpt2")]
)
def test_every_attention_is_fused_and_agrees(model, preset, cache, dtype, capsys):
    arguments = ["--model", model, "--config", preset, "--cache", cache, "--dtype", dtype, "--steps", "16"]
    assert main(arguments) == 0, capsys.readouterr().out
    assert "sites fused: 2 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(("cache", "dtype"), [("static", "float32"), ("growing", "float16")])
@pytest.mark.parametrize(
    ("preset", "sites"),
    [
        ("tiny-falcon", 2),
        ("tiny-falcon-40b", 2),
        ("tiny-qwen3", 2),
        ("tiny-gemma", 2),
        ("tiny-gptj", 2),
        ("tiny-bloom", 2),
        ("tiny-t5", 4),
    ],
)
def test_every_attention_of_the_other_families_is_fused(preset, sites, cache, dtype, capsys):
    model = PRESETS[preset].architecture
    arguments = ["--model", model, "--config", preset, "--cache", cache, "--dtype", dtype, "--steps", "8"]
    assert main([*arguments, "--batch", "2"]) == 0, capsys.readouterr().out
    assert f"sites fused: {sites} of {sites}" in capsys.readouterr().out


def test_missed_site_exits_1(pretend, capsys):
    pretend(fused=["first"], refused=["second: softmax-axis"])
    assert main(ARGUMENTS) == 1
    output = capsys.readouterr().out
    assert "sites fused: 1 of 2" in output
    assert "softmax-axis" in output


def test_difference_beyond_the_tolerance_exits_1(pretend, capsys):
    pretend(fused=["first", "second"])
    assert main([*ARGUMENTS, "--tolerance", "-1"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_agreement_exits_0(pretend, capsys):
    pretend(fused=["first", "second"])
    assert main(ARGUMENTS) == 0
    assert "ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dtype", "bfloat16"], "MindSpore cannot run on a CPU"),
        (["--steps", "99"], "--steps is 99; it must be between 1 and 32"),
        (["--batch", "0"], "batch is 0"),
    ],
)
def test_bad_input_exits_2(arguments, words, capsys):
    assert main([*ARGUMENTS, *arguments]) == 2
    assert words in capsys.readouterr().err
