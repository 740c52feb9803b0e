"""The report of the AscendC operator's predicted times."""

import pytest

from benchmarks import ascendc_model
from benchmarks.ascendc_emulator import PipeTime
from benchmarks.ascendc_model import Prediction, arguments_of, main, replaced
from benchmarks.case import Case, Shape

SMALL = Shape(2, 4, 2, 300, 64)


def rows(text):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_a_report_says_what_it_is_and_compares_with_the_memory(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ascendc_model, "PICTURED", (SMALL, SMALL._replace(query_heads=2)))
    assert main(["--shape", str(SMALL), "--dtype", "fp16", "int8", "--report", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("A model, not a measurement")
    assert (tmp_path / "results/ascendc.md").read_text() == printed
    assert (tmp_path / "results/ascendc.png").read_bytes().startswith(b"\x89PNG")
    table = rows(printed)
    assert [row["cache"] for row in table] == ["fp16", "fp16, paged", "int8", "int8, paged"]
    for row in table:
        floor, time = float(row["HBM floor us"]), float(row["predicted us"])
        assert 0 < floor < time
        assert row["path"] == "cube"
        assert row["busiest pipe"].split()[0] in ("AIC", "AIV")
    kv_bytes = 2 * 2 * 2 * 300 * 64 * 2
    assert float(table[0]["HBM floor us"]) == pytest.approx(kv_bytes / 1.6e6, abs=0.051)


def test_a_file_that_is_not_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / "table.md"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced(path) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with replaced(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_figures_follow_from_a_run():
    case = Case(SMALL, "fp16")
    run = ascendc_model.run(arguments_of(case, is_paged=True))
    prediction = Prediction(case, True, run)
    assert prediction.percent == pytest.approx(100 * case.kv_bytes / 1.6e12 / run.seconds)
    assert prediction.reads == 1
    run.pipes[:] = [PipeTime("AIC 0", "M", run.cycles / 4, 1), PipeTime("AIV 3.1", "V", run.cycles / 2, 1)]
    assert prediction.bound == ("AIV V", pytest.approx(50))
    run.tensors["key"]["read"] *= 2
    assert prediction.reads == 1.5


def test_bad_usage_is_one_sentence(capsys):
    assert main(["--shape", "1,3,2,64,64"]) == 2
    assert capsys.readouterr().err.startswith("--shape is '1,3,2,64,64'; it must be")
