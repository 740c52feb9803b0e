"""Decoders as ONNX give what the network gives that they were written from: in onnxruntime, and imported again."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import Tensor

import ifa_fusion
import models.onnx
from models.build import build_model
from models.config import PRESETS
from models.export import export_step, main
from models.onnx import validate
from models.onnx.llama import LlamaWriter

PRESETS_OF_FAMILIES = ["tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma"]


@pytest.fixture(scope="module")
def file_of(tmp_path_factory, weights_of):
    """The file of a preset; each is written once."""
    folder = tmp_path_factory.mktemp("onnx")

    def file(preset):
        path = folder / f"{preset}.onnx"
        return path if path.exists() else export_step(build_model(PRESETS[preset], weights_of(preset), "growing"), path)

    return file


def empty(config, dtype=np.float32):
    return [np.zeros((1, config.num_kv_heads, 0, config.head_dim), dtype)] * (2 * config.num_layers)


def run(session, *inputs):
    """Logits and present of a call in onnxruntime."""
    logits, *present = session.run(None, dict(zip([x.name for x in session.get_inputs()], inputs, strict=True)))
    return logits, present


def steps(session, config, tokens, dtype=np.float32):
    """The logits, (steps, vocab_size), of tokens that come one by one."""
    past, outputs = empty(config, dtype), []
    for position, token in enumerate(tokens):
        logits, past = run(session, token[:, None].astype(np.int64), np.array([[position]]), *past)
        outputs.append(logits[0, 0])
    return np.array(outputs)


def assert_same(logits, expected):
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("preset", PRESETS_OF_FAMILIES)
def test_onnxruntime_gives_the_same(preset, file_of, tokens, logits_of):
    config, expected = PRESETS[preset], logits_of(preset, "growing")
    onnx.checker.check_model(file_of(preset), full_check=True)
    session = onnxruntime.InferenceSession(file_of(preset))
    assert_same(steps(session, config, tokens), expected)
    prompt = tokens.T.astype(np.int64)
    logits, present = run(session, prompt, np.arange(len(tokens))[None], *empty(config))
    assert_same(logits[0], expected)
    assert present[0].shape == (1, config.num_kv_heads, len(tokens), config.head_dim)


def test_inputs_and_outputs_have_the_usual_names(file_of):
    session = onnxruntime.InferenceSession(file_of("tiny-llama"))
    parts = [f"{i}.{part}" for i in range(2) for part in ("key", "value")]
    past = [f"past_key_values.{part}" for part in parts]
    assert [value.name for value in session.get_inputs()] == ["input_ids", "position_ids", *past]
    assert [value.name for value in session.get_outputs()] == ["logits", *(f"present.{part}" for part in parts)]
    assert session.get_inputs()[0].shape == ["batch", "sequence_length"]
    assert session.get_inputs()[2].shape == ["batch", 2, "past_sequence_length", 16]
    weights = {value.name for value in onnx.load(file_of("tiny-llama")).graph.initializer}
    assert build_model(PRESETS["tiny-llama"], 0, "growing").weights().keys() <= weights


@pytest.mark.parametrize("preset", PRESETS_OF_FAMILIES)
def test_imported_again_it_is_fused_and_gives_the_same(preset, file_of, tokens, logits_of):
    net = ifa_fusion.onnx.load(file_of(preset), {"batch": 1, "sequence_length": 1})
    past, outputs = [Tensor(x) for x in empty(PRESETS[preset])], []
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion():
        for position, token in enumerate(tokens):
            inputs = Tensor(token[:, None].astype(np.int64)), Tensor(np.array([[position]]))
            logits, *past = net(*inputs, *past)
            outputs.append(logits.asnumpy()[0, 0])
    assert_same(np.array(outputs), logits_of(preset, "growing"))
    report = ifa_fusion.report(reset=True)
    assert (len(report.fused), len(report.refused)) == (PRESETS[preset].num_layers, 0)


def test_validation_tells_whether_the_import_writes_the_same_tokens(monkeypatch, capsys):
    arguments = ["--model", "llama", "--config", "tiny-llama", "--tokens"]
    assert validate.main([*arguments, "16"]) == 0
    assert "sites fused: 2 of 2\nsame tokens, greedy: 16 of 16\nok\n" in capsys.readouterr().out
    assert validate.main([*arguments, "122"]) == 2
    assert "--tokens is 122; it must be between 1 and 121" in capsys.readouterr().err
    monkeypatch.setattr(LlamaWriter, "activation", lambda writer, x: x)
    assert validate.main([*arguments, "4"]) == 1


def test_weights_of_more_than_a_gigabyte_lie_beside_the_file(tmp_path, monkeypatch, tokens, weights_of, logits_of):
    monkeypatch.setattr(models.onnx, "MOST_BYTES_INSIDE", 10_000)
    path = export_step(build_model(PRESETS["tiny-llama"], weights_of("tiny-llama"), "growing"), tmp_path / "step.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step.onnx", "step.onnx_data"]
    assert path.stat().st_size < 100_000
    logits = steps(onnxruntime.InferenceSession(path), PRESETS["tiny-llama"], tokens[:2])
    assert_same(logits, logits_of("tiny-llama", "growing")[:2])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_command_line_writes_half_precision(dtype, tmp_path, capsys):
    output = tmp_path / "step.onnx"
    arguments = ["--model", "qwen2", "--config", "tiny-qwen2", "--dtype", dtype, "--output", str(output)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"wrote {output}\n"
    onnx.checker.check_model(output, full_check=True)
    assert {onnx.TensorProto.DataType.Name(x.type.tensor_type.elem_type) for x in onnx.load(output).graph.output} == {
        dtype.upper()
    }


def test_half_precision_is_near(tmp_path, tokens, weights_of, logits_of):
    net = build_model(PRESETS["tiny-llama"], weights_of("tiny-llama"), "growing", dtype="float16")
    session = onnxruntime.InferenceSession(export_step(net, tmp_path / "step.onnx"))
    logits = steps(session, PRESETS["tiny-llama"], tokens, np.float16)
    expected = logits_of("tiny-llama", "growing")
    assert np.abs(logits - expected).max() <= 2e-2 * np.abs(expected).max()


def test_other_families_are_refused_in_one_sentence(tmp_path, capsys):
    output = tmp_path / "step.onnx"
    assert main(["--model", "gpt2", "--config", "tiny-gpt2", "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "the model's family is 'gpt2'; as ONNX it must be one of llama, mistral, qwen2, qwen3, gemma" in error
    assert error.count("\n") == 1
    assert list(Path(tmp_path).iterdir()) == []
