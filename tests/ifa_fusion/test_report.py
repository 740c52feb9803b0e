"""What the pass did, as a list, a table and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError

import mindspore as ms
import pytest
from attention_networks import Attention, RefusedAttention, TwoSites, operands

import ifa_fusion
from ifa_fusion import Report, Site


@pytest.fixture(autouse=True)
def fused_graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    ifa_fusion.report(reset=True)
    with ifa_fusion.fusion():
        yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


def reasons(report: Report) -> list[str]:
    return sorted(site.reason for site in report.sites)


def test_sites_add_up_until_reset():
    assert ifa_fusion.report().sites == ()
    Attention()(*operands())
    assert reasons(ifa_fusion.report()) == ["fused"]
    RefusedAttention()(*operands())
    assert reasons(ifa_fusion.report()) == ["fused", "probabilities_used"]
    assert reasons(ifa_fusion.report(reset=True)) == ["fused", "probabilities_used"]
    assert ifa_fusion.report().sites == ()


def test_report_does_not_change_later():
    Attention()(*operands())
    first = ifa_fusion.report()
    Attention()(*operands())
    assert len(first.sites) == 1
    assert len(ifa_fusion.report().sites) == 2


def test_nothing_is_seen_while_fusion_is_off():
    ifa_fusion.disable()
    Attention()(*operands())
    assert ifa_fusion.report().sites == ()


def test_graph_that_was_compiled_before_is_not_seen_again():
    network = Attention()
    network(*operands())
    ifa_fusion.report(reset=True)
    network(*operands())
    assert ifa_fusion.report().sites == ()
    network(*operands(length=11))
    assert len(ifa_fusion.report().sites) == 1


def test_fused_and_refused_sites():
    TwoSites()(*operands())
    report = ifa_fusion.report()
    (fused,), (refused,) = report.fused, report.refused
    assert fused.fused and fused.reason == "fused"
    assert not refused.fused and refused.reason == "probabilities_used" and "probabilities" in refused.message
    assert set(report.sites) == {fused, refused}
    for site in report.sites:
        assert "attention_networks.py:" in site.location
        assert site.graph


def test_sites_can_not_be_changed():
    Attention()(*operands())
    with pytest.raises(FrozenInstanceError):
        ifa_fusion.report().sites[0].reason = "else"


def test_json_holds_every_attribute():
    TwoSites()(*operands())
    report = ifa_fusion.report()
    entries = json.loads(report.to_json())
    assert [Site.from_dict(entry) for entry in entries] == list(report.sites)
    assert all(node["role"] and node["operator"] for entry in entries for node in entry["before"] + entry["after"])


def cells_of(table: str) -> list[list[str]]:
    """The columns of each line of a table, cut where the header's words begin."""
    header, *lines = table.splitlines()[:-1]
    starts = [header.index(name) for name in ("site", "where", "status", "features", "reason")]
    return [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]


def test_table():
    TwoSites()(*operands())
    report = ifa_fusion.report()
    rows = cells_of(str(report))
    assert [row[0] for row in rows if row[0]] == ["1", "2"]
    for number, site in enumerate(report.sites, 1):
        first = next(i for i, row in enumerate(rows) if row[0] == str(number))
        last = next((i for i, row in enumerate(rows) if row[0] == str(number + 1)), len(rows))
        assert site.location.endswith(rows[first][1].removeprefix("…"))
        assert rows[first][2] == site.reason
        features, reason = (" ".join(row[column] for row in rows[first:last]).strip() for column in (3, 4))
        assert features == ", ".join(site.features)
        assert reason == ("" if site.fused else site.message)
    assert str(report).splitlines()[-1] == "1 of 2 fused"


@pytest.mark.parametrize("columns", [20, 80, 100, 120, 300])
def test_table_lines_up_at_any_width(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    path = "/home/someone/a very long way/to/the/models/of/a/project/attention.py:1234"
    message = "a sentence that goes on and on " * 5 + "a_word_of_the_message_" * 8
    features = ("GQA 32/8", "BNSD bfloat16", "length 32768", "head size 128", "mask: additive -> bool", "bias")
    refused = Site(False, "probabilities_used", message.strip(), path, "construct", features)
    fused = Site(True, "fused", "", "net.py:3", "construct", features)
    table = str(Report((refused, fused)))
    assert max(map(len, table.splitlines())) <= min(max(columns, 80), 120)
    assert all(line == line.rstrip() for line in table.splitlines())
    rows = cells_of(table)
    (first, second) = (i for i, row in enumerate(rows) if row[0])
    assert rows[first][1].startswith("…") and path.endswith(rows[first][1][1:])
    assert rows[second][1:3] == ["net.py:3", "fused"]
    assert " ".join(row[3] for row in rows[first:second]).split() == ", ".join(features).split()
    assert "".join(row[4] for row in rows[first:second]).replace(" ", "") == message.replace(" ", "")


def test_short_table_is_as_wide_as_its_texts():
    site = Site(False, "score_op", "Tanh stands between", "net.py:3", "construct", ("bias",))
    assert str(Report((site,))).splitlines() == [
        "site  where     status    features  reason",
        "1     net.py:3  score_op  bias      Tanh stands between",
        "0 of 1 fused",
    ]


def test_table_of_a_site_without_a_location_names_the_graph():
    site = Site(True, "fused", "", "", "construct_7", ())
    assert "construct_7" in str(Report((site,)))


def test_table_of_nothing_says_so():
    assert str(ifa_fusion.report()).startswith("no attention sites seen")
