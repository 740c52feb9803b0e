import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from models.build import build_model, empty_past
from models.config import PRESETS
from models.export import export_step, main

FAMILIES = [
    "tiny-llama",
    "tiny-gpt2",
    "tiny-falcon",
    "tiny-qwen3",
    "tiny-gemma",
    "tiny-gptj",
    "tiny-bloom",
    "tiny-t5",
]


@pytest.mark.parametrize("preset", FAMILIES)
def test_growing_step_loads_and_gives_the_same(preset, tmp_path, tokens, weights_of, encoded_of, logits_of):
    net = build_model(PRESETS[preset], weights_of(preset), "growing")
    loaded = nn.GraphCell(ms.load(str(export_step(net, tmp_path / "step.mindir"))))
    assert [p.name for p in tmp_path.iterdir()] == ["step.mindir"]
    past, encoded = empty_past(net), encoded_of(preset)
    memory = [] if encoded is None else net.memory(Tensor(encoded))
    for position, expected in enumerate(logits_of(preset, "growing")[:4]):
        logits, *past = loaded(Tensor(tokens[position][:, None]), Tensor(position, ms.int32), *past, *memory)
        np.testing.assert_allclose(logits.asnumpy()[0], expected, rtol=1e-5, atol=1e-5)


def test_static_step_loads_and_gives_the_same(tmp_path, tokens, weights_of, logits_of):
    net = build_model(PRESETS["tiny-llama"], weights_of("tiny-llama"), capacity=32)
    loaded = nn.GraphCell(ms.load(str(export_step(net, tmp_path / "step.mindir"))))
    for position, expected in enumerate(logits_of("tiny-llama")[:4]):
        logits = loaded(Tensor(tokens[position][:, None]), Tensor(position, ms.int32))
        np.testing.assert_allclose(logits.asnumpy()[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_command_line_writes_half_precision(dtype, tmp_path, capsys):
    output = tmp_path / "step.mindir"
    arguments = ["--model", "gpt2", "--config", "tiny-gpt2", "--dtype", dtype, "--output", str(output)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"wrote {output}\n"
    assert output.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--config", "tiny-llama", "--output", "step.pb"],
            "output is 'step.pb'; it must end in .mindir or .onnx",
        ),
        (
            ["--config", "tiny-llama", "--output", "/nowhere/x.mindir"],
            "output folder '/nowhere' does not exist",
        ),
        (["--config", "tiny-gpt2", "--output", "x.mindir"], "--model is 'llama'"),
        (["--config", "absent", "--output", "x.mindir"], "neither a file nor a preset"),
        (["--checkpoint", "/nowhere", "--output", "x.mindir"], "checkpoint '/nowhere' does not exist"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, capsys):
    assert main(["--model", "llama", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
