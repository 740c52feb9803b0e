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
    assert [Site(**{**entry, "features": tuple(entry["features"])}) for entry in entries] == list(report.sites)


def test_table():
    TwoSites()(*operands())
    report = ifa_fusion.report()
    header, *rows, summary = str(report).splitlines()
    assert header.split() == ["site", "where", "status", "features", "reason"]
    assert len(rows) == 2
    (fused,) = (row for row in rows if report.fused[0].location in row and " fused " in row)
    assert "GQA 6/2, BNSD float32, length 10, head size 8" in fused
    (refused,) = (row for row in rows if row != fused)
    assert "probabilities_used" in refused and report.refused[0].message in refused
    assert summary == "1 of 2 fused"
    assert all(line == line.rstrip() for line in (header, *rows))


def test_table_of_a_site_without_a_location_names_the_graph():
    site = Site(True, "fused", "", "", "construct_7", ())
    assert "construct_7" in str(Report((site,)))


def test_table_of_nothing_says_so():
    assert str(ifa_fusion.report()).startswith("no attention sites seen")
