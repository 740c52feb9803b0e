"""The examples run, say what the documents show, and write their pictures."""

import re
import runpy
import sys
from pathlib import Path

import mindspore as ms
import pytest

import ifa_fusion

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """No sites of other tests in the report; the mode is set back for those that follow."""
    ifa_fusion.report(reset=True)
    before = ms.get_context("mode")
    yield
    ms.set_context(mode=before)


@pytest.fixture
def run(monkeypatch, capsys):
    """What an example prints; it must end with exit code 0."""

    def run_example(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        output = capsys.readouterr().out
        assert end.value.code == 0, output
        return output

    return run_example


def test_every_example_is_tested():
    tested = set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text()))
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}


def test_fuse_a_cell(run, tmp_path):
    output = run("fuse_a_cell.py", "--positions", 64, "--picture", tmp_path / "picture.svg")
    assert "fused, GQA 8/2, BNSD float32, length 64, head size 64, mask: selecting -> lengths" in output
    assert float(re.search(r"differ by (\S+)", output)[1]) < 1e-5
    assert "GQA" in (tmp_path / "picture.svg").read_text()


def test_huggingface_checkpoint(run, tmp_path):
    output = run("huggingface_checkpoint.py", "--tokens", 6)
    assert "2 of 2 attentions fused, tokens the same" in output


@pytest.mark.parametrize("name", ["huggingface_checkpoint.py", "continuous_batching.py"])
def test_wrong_folder_is_one_sentence(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--checkpoint", "/nowhere"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert end.value.code == 2
    assert "error: checkpoint '/nowhere' does not exist" in capsys.readouterr().err


def test_deploy_onnx(run, tmp_path):
    output = run("deploy_onnx.py", "--folder", tmp_path)
    assert "fused, MHA 4/4, BNSD float32, length ?, head size 16" in output
    differences = [float(x) for x in re.findall(r"differ by (\S+)", output)]
    assert len(differences) == 2
    assert max(differences) < 1e-5
    assert {path.name for path in tmp_path.iterdir()} == {"decoder.onnx", "decoder.mindir", "fused.mindir"}


def test_int8_cache(run):
    output = run("int8_cache.py", "--positions", 128)
    errors = {kind: float(error) for kind, error in re.findall(r"(fp16|int8).*?(\d\S+) relative RMS", output)}
    # fp16 rounds the operands to 11 bits; a channel's range is cut in 255 parts.
    assert errors["fp16"] < 1e-3
    assert errors["fp16"] < errors["int8"] < 5e-3
    assert "524,288" in output
    assert "262,144" in output


def test_continuous_batching(run, tmp_path):
    output = run("continuous_batching.py", "--requests", 5, "--batches", 3, "--figures", tmp_path)
    assert "the same tokens as one at a time: 2 of 2 batch sizes" in output
    assert "paged 16, mask: additive -> lengths" in output
    rows = re.findall(r"^row \d  ([A-E.]+)$", output, re.MULTILINE)
    assert len(rows) == 3
    assert set("".join(rows)) >= set("ABCDE")
    pictures = {f"example-continuous-batching{what}.svg" for what in ("", "-speed")}
    assert {path.name for path in tmp_path.iterdir()} == pictures
