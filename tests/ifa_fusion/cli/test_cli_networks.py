"""explain, fuse and verify: what they find, write and refuse, with which exit code."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from cli_networks import Attention, operands
from mindspore import Tensor

import ifa_fusion

DECODERS = Path(__file__).parents[1] / "onnx" / "decoders"
ONNX = DECODERS / "gpt_neox-torchscript17-eager-fp32.onnx"
STEP = "batch=1,sequence_length=1"


@pytest.fixture(scope="module")
def mindir(tmp_path_factory) -> Path:
    """One attention, with the length left open."""
    folder = tmp_path_factory.mktemp("mindir")
    query, *cache = operands()
    cache = [Tensor(shape=[1, 6, None, 8], dtype=ms.float32) for _ in cache]
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.export(Attention(), query, *cache, file_name=str(folder / "attention"), file_format="MINDIR")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    return folder / "attention.mindir"


class TestExplain:
    def test_function(self, command):
        run = command("explain", "cli_networks:attention")
        assert run.code == 0
        assert "1 of 1 fused" in run.out
        assert "cli_networks.py:" in run.out

    def test_json_is_all_that_standard_output_holds(self, command):
        run = command("explain", "cli_networks:talkative", "--json")
        assert run.code == 0
        assert (run.document["fused"], run.document["refused"]) == (1, 0)
        assert run.document["sites"][0]["reason"] == "fused"
        assert "made in Python" in run.err
        assert "made in C" in run.err

    def test_page(self, command, tmp_path):
        run = command("explain", "cli_networks:attention", "--html", tmp_path / "page.html")
        assert run.code == 0
        assert "<svg" in (tmp_path / "page.html").read_text()
        assert [file.name for file in tmp_path.glob("*.html")] == ["page.html"]

    def test_page_in_no_folder(self, command):
        run = command("explain", "cli_networks:attention", "--html", "nowhere/page.html")
        assert_sentence(run, "--html is 'nowhere/page.html'", "there is no nowhere")

    def test_mindir(self, command, mindir):
        run = command("explain", mindir, "--json")
        assert [site["fused"] for site in run.document["sites"]] == [True]

    def test_sizes_of_a_mindir(self, command, mindir):
        run = command("explain", mindir, "--dims", "key.2=4,value.2=4", "--json")
        assert "[1, 6, 4, 8]" in str(run.document["sites"][0]["before"])

    def test_target(self, command):
        run = command("explain", "cli_networks:attention", "--target", "ascend", "--ascend-kernel", "ascendc", "--json")
        assert run.code == 0
        assert run.document["sites"][0]["reason"] == "ascend_type"

    def test_required_fusion(self, command):
        run = command("explain", "cli_networks:without_attention", "--require-fusion")
        assert run.code == 1
        assert run.err.endswith("--require-fusion was given, and 0 of 0 attention sites are fused.\n")
        assert command("explain", "cli_networks:without_attention").code == 0


class TestFuse:
    def test_mindir(self, command, mindir, tmp_path):
        run = command("fuse", mindir, "fused.mindir")
        assert run.code == 0
        assert "1 of 1 fused\nwrote fused.mindir\n" in run.out
        assert b"IncreFlashAttention" in (tmp_path / "fused.mindir").read_bytes()
        assert [file.name for file in tmp_path.iterdir()] == ["fused.mindir"]
        fused, unfused = (ms.nn.GraphCell(ms.load(str(file))) for file in ("fused.mindir", mindir))
        np.testing.assert_allclose(fused(*operands()).asnumpy(), unfused(*operands()).asnumpy(), rtol=1e-5, atol=1e-5)

    def test_onnx(self, command, tmp_path):
        run = command("fuse", ONNX, "fused.mindir", "--dims", STEP, "--require-fusion", "--json")
        assert run.code == 0
        assert run.document["fused"] == len(run.document["sites"]) > 0
        assert run.document["written"] == "fused.mindir"
        assert b"IncreFlashAttention" in (tmp_path / "fused.mindir").read_bytes()

    def test_required_fusion_writes_nothing(self, command, tmp_path):
        run = command("fuse", "cli_networks:without_attention", "fused.mindir", "--require-fusion", "--json")
        assert run.code == 1
        assert run.document["written"] is None
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("source", "destination", "parts"),
        [
            ("cli_networks:attention", "fused.onnx", ("OUT", "ends in .mindir", "'fused.onnx'")),
            ("cli_networks:attention", "nowhere/fused.mindir", ("OUT", "there is no nowhere")),
            ("missing.mindir", "fused.mindir", ("IN", "there is no missing.mindir")),
        ],
    )
    def test_bad_paths(self, command, source, destination, parts):
        assert_sentence(command("fuse", source, destination), *parts)


class TestVerify:
    def test_function(self, command):
        run = command("verify", "cli_networks:attention", "--json")
        assert run.code == 0
        assert run.document["agrees"] is True
        assert run.document["compared"] == 48
        assert 0 < run.document["relative_difference"] < 1e-5
        assert run.document["fused"] == 1

    def test_open_sizes_are_said(self, command, mindir):
        run = command("verify", mindir, "--dims", "key.2=12")
        assert_sentence(run, "MODEL", "can't be run")
        run = command("verify", mindir)
        assert run.code == 0
        assert "--dims 'key.2=8,value.2=8'" in run.err
        assert "48 numbers compared" in run.out

    def test_onnx(self, command):
        run = command("verify", ONNX, "--dims", f"{STEP},past_length=5,total_length=6", "--json")
        assert run.code == 0
        assert run.document["fused"] == len(run.document["sites"]) > 0

    def test_difference(self, command):
        run = command("verify", "cli_networks:hidden", "--json")
        assert run.code == 1
        assert run.document["agrees"] is False
        assert "output 0 differs by" in run.document["message"]
        assert run.document["message"] in run.err
        assert command("verify", "cli_networks:hidden", "--strict").code == 0
        assert command("verify", "cli_networks:hidden", "--tolerance", "10").code == 0

    def test_nothing_that_could_differ(self, command):
        run = command("verify", "cli_networks:not_finite")
        assert run.code == 1
        assert "no number of the outputs is finite" in run.err


def assert_sentence(run, *parts: str) -> None:
    """Exit code 2, nothing on standard output, and one sentence as the last line of standard error."""
    assert run.code == 2
    assert run.out == ""
    message = run.err.splitlines()[-1]
    assert message.startswith("ifa-fusion ")
    assert "most recent call last" not in run.err
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["decoder.txt"], ("MODEL is 'decoder.txt'", ".mindir or .onnx", "package.module:function")),
        (["cli_networks.py:attention"], ("MODEL is 'cli_networks.py:attention'", "package.module:function")),
        (["no such:thing"], ("MODEL is 'no such:thing'", "package.module:function")),
        (["cli_networks:missing"], ("'cli_networks:missing'", "can't be called", "has no attribute 'missing'")),
        (["no_such_module:function"], ("can't be called", "No module named 'no_such_module'")),
        (["cli_networks:failing"], ("can't be called", "KeyError: 'weights'", "--debug")),
        (["cli_networks:nothing"], ("must return an nn.Cell or a function", "NoneType")),
        (["cli_networks:broken"], ("'cli_networks:broken', which can't be compiled", "cli_networks.py:39)", "--debug")),
        (["missing.mindir"], ("MODEL", "there is no missing.mindir")),
        (["missing.onnx"], ("MODEL", "there is no missing.onnx")),
        (["text.mindir"], ("MODEL must be a MindIR", "text.mindir")),
        (["text.onnx"], ("MODEL is 'text.onnx'", "is not an ONNX file")),
        (["cli_networks:attention", "--dims", "batch=1"], ("--dims", "MODEL 'cli_networks:attention' is a function")),
        ([ONNX, "--dims", "length=1"], ("dims names 'length'", "past_length")),
        (["x.mindir", "--dims", "batch=many"], ("argument --dims", "NAME=SIZE", "'batch=many'")),
        (["x.mindir", "--target", "gpu"], ("argument --target", "'gpu'", "'cpu', 'ascend'")),
        (["x.mindir", "--ascend-kernel", "mine"], ("argument --ascend-kernel", "'mine'", "'cann', 'ascendc'")),
        ([], ("MODEL",)),
    ],
)
def test_bad_input(command, arguments, parts, tmp_path):
    (tmp_path / "text.mindir").write_text("text")
    (tmp_path / "text.onnx").write_text("text")
    assert_sentence(command("explain", *arguments), *parts)


def test_unknown_size_of_a_mindir(command, mindir):
    assert_sentence(command("explain", mindir, "--dims", "batch=1"), "--dims names 'batch'", "key.2, value.2")


@pytest.mark.parametrize("arguments", [["explain"], ["fuse", "fused.mindir"]], ids=["explain", "fuse"])
def test_strict(command, arguments):
    name, *rest = arguments
    found = [command(name, "cli_networks:hidden", *rest, *option, "--json") for option in ((), ("--strict",))]
    loose, strict = (run.document["sites"][0]["features"] for run in found)
    assert set(loose) - set(strict) == {"mask: additive -> bool"}


@pytest.mark.parametrize("tolerance", ["-1", "nan", "much"])
def test_bad_tolerance(command, tolerance):
    assert_sentence(command("verify", "x.mindir", f"--tolerance={tolerance}"), "argument --tolerance", tolerance)


def test_debug_shows_the_traceback(command):
    with pytest.raises(ValueError, match="can't be called") as error:
        command("explain", "cli_networks:failing", "--debug")
    assert isinstance(error.value.__cause__, KeyError)


def test_an_interrupt_is_one_line(command):
    run = command("explain", "cli_networks:interrupted")
    assert (run.code, run.out, run.err) == (130, "", "ifa-fusion explain: interrupted\n")


def test_fusion_is_off_afterwards(command):
    command("explain", "cli_networks:attention")
    command("fuse", "cli_networks:attention", "fused.mindir")
    ifa_fusion.report(reset=True)
    ms.set_context(mode=ms.GRAPH_MODE)
    Attention()(*operands())
    assert ifa_fusion.report().sites == ()
