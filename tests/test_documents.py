"""The documents are true: their code runs, their commands, links, files and names exist.

In Markdown: a ``python`` block is run, all of a file's in order and in one process, at the line numbers that they have
in the document; a comment ``<!-- setup ... -->`` is run with them; a ``text`` block right behind one is what it prints.
In blocks that are indented, lines are commands, of the programs in `PROGRAMS`, or none is. A ``diff`` block applies.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import ifa_fusion

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
TRANSLATION = "README.zh-CN.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Block:
    """The lines of a block, and the number of the line in front of them; `kind` is "" where it is indented."""

    kind: str
    line: int
    lines: tuple[str, ...]


def blocks_of(name: str) -> list[Block]:
    """The code of a document."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    blocks, i = [], 0
    while i < len(lines):
        opening = re.fullmatch(r"```(\w+)|<!-- (setup)", lines[i])
        before = i
        if opening:
            closing = "```" if opening[1] else "-->"
            i = lines.index(closing, i)
            blocks.append(Block(opening[1] or opening[2], before + 1, tuple(lines[before + 1 : i])))
        elif lines[i].startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            while i < len(lines) and (lines[i].startswith("    ") or not lines[i].strip()):
                i += 1
            blocks.append(Block("", before, tuple(line[4:] for line in lines[before:i] if line.strip())))
        i += 1
    return blocks


def run_python(script: Path) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, script.name]
    done = subprocess.run(
        command, cwd=script.parent, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def with_python() -> list[str]:
    return [name for name in NAMES if name != TRANSLATION and any(block.kind == "python" for block in blocks_of(name))]


@pytest.mark.parametrize("name", with_python())
def test_python_blocks_run_and_print_what_is_said(name: str, tmp_path: Path) -> None:
    script, blocks = [""] * len((ROOT / name).read_text(encoding="utf-8").splitlines()), blocks_of(name)
    script[0] = f"from pathlib import Path; ROOT = Path({str(ROOT)!r})"
    for block in blocks:
        if block.kind in ("python", "setup"):
            script[block.line : block.line + len(block.lines)] = block.lines
        if block.kind == "python":
            script[block.line - 1] = script[block.line + len(block.lines)] = f"print('\\x1e{block.line}')"
    file = tmp_path / (re.sub(r"\W", "_", name) + ".py")
    file.write_text("\n".join(script) + "\n")
    printed = run_python(file).split("\x1e")
    assert [block.line for block in blocks if block.kind == "text"] == [said.line for said, _ in said_outputs(blocks)]
    for said, by in said_outputs(blocks):
        output = next(part.partition("\n")[2] for part in printed if part.partition("\n")[0] == str(by.line))
        assert [line.rstrip() for line in output.splitlines()] == list(said.lines), f"{name}:{said.line}"


def said_outputs(blocks: list[Block]) -> Iterator[tuple[Block, Block]]:
    """What a document says to be printed, and by which block."""
    for by, said in pairwise(blocks):
        if (by.kind, said.kind) == ("python", "text") and said.line == by.line + len(by.lines) + 2:
            yield said, by


def test_diffs_apply() -> None:
    """A worked example is an example of the code as it is."""
    for name in NAMES:
        diffs = ["\n".join(block.lines) + "\n" for block in blocks_of(name) if block.kind == "diff"]
        if diffs:
            check = ["git", "apply", "--check", "-"]
            done = subprocess.run(check, cwd=ROOT, input="".join(diffs), capture_output=True, text=True)
            assert done.returncode == 0, f"{name}: {done.stderr}"


# Commands.


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)", makefile, re.M)
    assert targets is not None
    for word in words:
        variable = re.match(r"(\w+)=", word)
        assert re.search(rf"^{variable[1]} \?=", makefile, re.M) if variable else word in targets[1].split(), word


def check_pip(words: list[str]) -> None:
    assert words[0] in ("install", "wheel", "uninstall"), words
    for word in words[1:]:
        for extra in re.findall(r"\[(.*)\]", word):
            assert set(extra.split(",")) <= PROJECT["optional-dependencies"].keys(), word
        if re.match(r"[a-z]+[=><]", word):
            assert word in PROJECT["dependencies"], f"{word} is not what the package asks for"


def check_python(words: list[str]) -> None:
    """Its module or file is there, and so are the options, somewhere in the module's package."""
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words
        return
    if words[1] == "pytest":
        for word in words[2:]:
            assert "/" not in word or (ROOT / word.split("::")[0]).exists(), word
        return
    spec = importlib.util.find_spec(words[1])
    assert spec is not None and spec.origin is not None, words[1]
    source = "".join(path.read_text() for path in Path(spec.origin).parent.glob("*.py"))
    for word in words[2:]:
        assert not word.startswith("--") or word == "--help" or f'"{word}"' in source, word


def check_command_line(words: list[str]) -> None:
    from ifa_fusion import cli

    cli._parser().parse_args(words)  # exits where a command or an option does not exist


def check_msrun(words: list[str]) -> None:
    check_python(words[next(i for i, word in enumerate(words) if word == "-m" or word.endswith(".py")) :])


def check_pre_commit(words: list[str]) -> None:
    assert (ROOT / ".pre-commit-config.yaml").is_file()


def check_git(words: list[str]) -> None:
    assert words[0] in ("clone", "apply", "config")


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    ".venv/bin/pip": check_pip,
    ".venv/bin/python": check_python,
    "python": check_python,
    "ifa-fusion": check_command_line,
    ".venv/bin/ifa-fusion": check_command_line,
    "msrun": check_msrun,
    "git": check_git,
    ".venv/bin/pre-commit": check_pre_commit,
}


def is_command(line: str) -> bool:
    words = line.split()
    return words[0] in PROGRAMS or "=" in words[0] or (ROOT / words[0]).is_file()


def commands() -> list[tuple[str, str]]:
    """Of all documents, each with the place where it stands first."""
    found: dict[str, str] = {}
    for name in NAMES:
        for block in blocks_of(name):
            if block.kind == "" and any(is_command(line) for line in block.lines):
                text = "\n".join(block.lines).replace("\\\n", " ")
                for line in text.splitlines():
                    found.setdefault(line.split(" #")[0].split("  # ")[0].strip(), f"{name}:{block.line}")
    return [(command, place) for command, place in found.items() if command and not command.startswith("#")]


@pytest.mark.parametrize(("command", "place"), commands())
def test_commands_exist(command: str, place: str) -> None:
    words = shlex.split(command, comments=True)
    while re.match(r"\w+=", words[0]):
        words = words[1:]
    program = words[0]
    assert program in PROGRAMS or (ROOT / program).is_file(), f"{place}: what is {program}?"
    if program in PROGRAMS:
        PROGRAMS[program](words[1:])


FILES = """
import shutil
import mindspore as ms
from ifa_fusion.models.build import build_model
from ifa_fusion.models.config import PRESETS
from ifa_fusion.models.export import export_step

ms.set_context(mode=ms.GRAPH_MODE)
export_step(build_model(PRESETS["tiny-llama"], 0, dtype="float16"), "decoder.mindir")
"""
BUILD = """
import mindspore as ms
from mindspore import Tensor
from ifa_fusion.models.build import build_model
from ifa_fusion.models.config import PRESETS

def build():
    return build_model(PRESETS["tiny-llama"], 0), Tensor([[7]], ms.int32), Tensor(0, ms.int32)
"""
QUICK = ("info", "explain", "fuse", "verify")


def test_command_line_of_the_documents_runs(tmp_path: Path) -> None:
    """On a MindIR, an ONNX file and a function, all of tiny decoders; in one process, for MindSpore's import."""
    model = ROOT / "tests/ifa_fusion/onnx/decoders/llama-dynamo20-sdpa-fp32.onnx"
    (tmp_path / "decoder.onnx").write_bytes(model.read_bytes())
    (tmp_path / "decoder.py").write_text(BUILD)
    lines = [shlex.split(command, comments=True)[1:] for command, _ in commands() if command.startswith("ifa-fusion ")]
    quick = [words for words in lines if words[0] in QUICK]
    assert {words[0] for words in quick} == set(QUICK)
    script = tmp_path / "all_commands.py"
    script.write_text(
        f"{FILES}\nfrom ifa_fusion.cli import main\nfor words in {quick!r}:\n"
        "    print(words, flush=True)\n    assert main(words) == 0, words\n"
    )
    run_python(script)
    assert (tmp_path / "sites.html").read_text().count("<svg")


# Links, files and names.


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"`|\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")


def prose(name: str) -> str:
    """A document without its code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return re.sub(r"<!-- setup.*?-->", "", text, flags=re.S)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(name)):
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.M)
            assert anchor in map(slug, headings), f"{name} links to {target}"


MADE = {"decoder.py", "set_env.sh"}
"""Files that the documents name and that a reader's commands make, or another program brings."""


@functools.cache
def files_of_the_clone() -> list[str]:
    """What is not an environment or built, of which there are tens of thousands of files."""
    tops = [top for top in ROOT.iterdir() if top.name not in (".venv", "build", "dist", ".git")]
    return [f"/{path.relative_to(ROOT).as_posix()}" for top in tops for path in (top, *top.rglob("*"))]


@pytest.mark.parametrize("name", NAMES)
def test_named_files_exist(name: str) -> None:
    files = files_of_the_clone()
    for span in re.findall(r"`([\w./*-]+\.(?:py|cc|h|cpp|md|sh|toml|svg|yaml))`", prose(name)):
        if span not in MADE and "*" not in span:
            assert any(file.endswith("/" + span) for file in files), f"{name} names {span}"


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_package_exist(name: str) -> None:
    for dotted in re.findall(r"`ifa_fusion\.([\w.]+)", prose(name)):
        found: object = ifa_fusion
        for i, part in enumerate(dotted.split("."), 1):
            module = "ifa_fusion." + ".".join(dotted.split(".")[:i])
            found = getattr(found, part) if hasattr(found, part) else importlib.import_module(module)


def first_cells(name: str, heading: str) -> list[str]:
    """The first column of the table behind a heading."""
    text = (ROOT / name).read_text(encoding="utf-8").split(f"\n{heading}\n")[1]
    return re.findall(r"^\| (`.*?) \|", text.split("\n#")[0], re.M)


def test_all_reasons_are_told() -> None:
    sources = (path for path in (ROOT / "passes").rglob("*.cc") if path.name != "report.cc")
    codes = {code for path in sources for code in re.findall(r'\{\s*"([a-z]+_[a-z]+)"', path.read_text())}
    told = [cell.strip("`") for cell in first_cells("docs/what-is-fused.md", "## What stays as it was")]
    assert sorted(told) == sorted(codes)


def test_all_arguments_are_told() -> None:
    cells = " ".join(first_cells("docs/operator.md", "## Arguments"))
    assert set(re.findall(r"`(\w+)`", cells)) == set(inspect.signature(ifa_fusion.incre_flash_attention).parameters)


def test_translation_has_the_same_code_and_figures() -> None:
    def code(name: str) -> list[tuple[str, list[str]]]:
        stripped = [(b.kind, [re.split(r"\s+#", line)[0].rstrip() for line in b.lines]) for b in blocks_of(name)]
        return [(kind, lines) for kind, lines in stripped if kind == "python" or is_command(lines[0])]

    def rows(name: str) -> list[list[str]]:
        tables = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.count("|") > 5]
        return [re.findall(r"\d(?:[\d,.e-]*\d)?", line) for line in tables]

    assert code(TRANSLATION) == code("README.md")
    assert rows(TRANSLATION) == rows("README.md")


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
