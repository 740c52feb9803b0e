"""The page of a report: what is on it, whatever the names, and that it can be read in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from attention_networks import Decoder, MaskedAttention, TwoSites, operands
from mindspore import Tensor

import ifa_fusion
from ifa_fusion import Report, Site
from ifa_fusion.report import Input, Node

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert('&\"')</script>]]>\x00\x1b\udcff日本語\nline" + "x" * 300


@pytest.fixture(scope="module")
def report() -> Report:
    """A fused and a refused site, a mask, inserted nodes, and 30 layers that look alike."""
    networks = ((TwoSites(), operands()), (MaskedAttention(), [*operands(), Tensor(np.zeros((2, 1, 1, 10), bool))]))
    reports = [ifa_fusion.explain(network, *inputs) for network, inputs in networks]
    reports += [ifa_fusion.explain(Decoder(), Tensor(np.ones((1, 48), np.float32)))]
    sites = [site for one in reports for site in one.sites]
    return Report((*sites, *sites[-1:] * 26))


def hostile_report() -> Report:
    """Every text of a site is hostile, of a fused one and of a refused one."""
    leaf = Node(0, HOSTILE, (-1, 3), HOSTILE, HOSTILE, (), (HOSTILE,))
    node = Node(1, HOSTILE, None, HOSTILE, HOSTILE, (Input(HOSTILE, 0), Input(HOSTILE, 0)), (HOSTILE, HOSTILE))
    site = Site(True, HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), (leaf, node), (leaf, node))
    return Report((site, replace(site, fused=False, after=(), refused_at=1), replace(site, location="")))


def page_of(report: Report, folder: Path) -> str:
    report.to_html(folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def drawings_of(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


class Elements(HTMLParser):
    """The start tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def expected_drawings(report: Report) -> list[tuple[Site, tuple[Node, ...]]]:
    return [(site, nodes) for site in report.sites for nodes in (site.before, site.after) if nodes]


def test_every_node_of_every_site_is_drawn(report, tmp_path):
    drawings = drawings_of(page_of(report, tmp_path))
    expected = expected_drawings(report)
    assert len(drawings) == len(expected) == 2 * 30 - 1
    for drawing, (site, nodes) in zip(drawings, expected, strict=True):
        groups = {
            int(group.attrib["data-node"]): group for group in drawing.iter(f"{SVG}g") if "data-node" in group.attrib
        }
        assert sorted(groups) == [node.id for node in nodes]
        for node in nodes:
            texts = [text.text for text in groups[node.id].iter(f"{SVG}text")]
            assert {node.operator, node.role, *node.attributes} <= set(texts)
            assert ("refused because of this" in texts) == (nodes is site.before and node.id == site.refused_at)
        assert len(drawing.findall(f"{SVG}path")) == sum(len(node.inputs) for node in nodes)


def test_operands_are_named_and_edges_carry_types_and_shapes(report, tmp_path):
    _, after, *_ = drawings_of(page_of(report, tmp_path))
    texts = [text.text for text in after.iter(f"{SVG}text")]
    assert [texts.count(name) for name in ("query", "key", "value", "IncreFlashAttention")] == [2, 2, 2, 1]
    assert "num_heads=6" in texts and "input_layout=BNSD" in texts
    assert texts.count("float32 2 x 2 x 10 x 8") == 2


def test_unknown_sizes_are_question_marks(tmp_path):
    drawing = drawings_of(page_of(hostile_report(), tmp_path))[0]
    assert any(text.text.endswith("…") for text in drawing.iter(f"{SVG}text"))
    node = Node(0, "Parameter", (2, -1), "float16", "key", (), ())
    (drawing,) = drawings_of(page_of(Report((Site(False, "a", "b", "c", "d", (), (node,)),)), tmp_path))
    assert "float16 2 x ?" in [text.text for text in drawing.iter(f"{SVG}text")]


def test_drawings_are_described(report, tmp_path):
    page = page_of(report, tmp_path)
    for drawing, (_, nodes) in zip(drawings_of(page), expected_drawings(report), strict=True):
        title, description = drawing.find(f"{SVG}title"), drawing.find(f"{SVG}desc")
        assert title.text.startswith("Site ")
        assert drawing.attrib["role"] == "img"
        assert drawing.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
        for node in nodes:
            assert f"{node.id}: {node.operator} ({node.role})" in description.text
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_sites_fold_and_the_table_leads_to_them(report, tmp_path):
    elements = Elements(page_of(report, tmp_path))
    folds = elements.named("details")
    assert len(folds) == 30
    assert sum("open" in attributes for attributes in folds) == 2
    links = [attributes["href"] for attributes in elements.named("a")]
    assert links == [f"#site-{number}" for number in range(1, 31)]
    targets = {attributes.get("id") for attributes in elements.named("div")}
    assert {link.removeprefix("#") for link in links} <= targets


def test_page_needs_nothing_else(report, tmp_path):
    page = page_of(report, tmp_path)
    elements = Elements(page)
    assert not elements.open
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in elements.found}
    assert set(re.findall(r"\w+://[^\"\s]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page and "url(" not in page


def test_hostile_names_are_only_text(tmp_path):
    page = page_of(hostile_report(), tmp_path)
    elements = Elements(page)
    assert not elements.open and not elements.named("script")
    assert "\x00" not in page and "\x1b" not in page
    drawings = drawings_of(page)
    assert len(drawings) == 5
    for drawing in drawings:
        assert {element.tag.removeprefix(SVG) for element in drawing.iter()} <= {
            *("svg", "title", "desc", "g", "rect", "text", "path")
        }
        assert "</title><script>alert('&\"')</script>]]>" in drawing.find(f"{SVG}desc").text


def test_report_without_sites(tmp_path):
    assert "No attention sites were seen" in page_of(Report(()), tmp_path)


def test_site_without_nodes(tmp_path):
    (drawing,) = drawings_of(page_of(Report((Site(False, "a", "b", "c", "d", ()),)), tmp_path))
    assert not drawing.findall(f"{SVG}g")


def test_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Report(()).to_html(path)
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_can_not_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be in a folder that exists, but there is no .*missing"):
        Report(()).to_html(tmp_path / "missing" / "report.html")
    with pytest.raises(ValueError, match=r"path must be a file name, but .* is a folder"):
        Report(()).to_html(tmp_path)


# In a browser.

CHECK = """
<script>
document.querySelectorAll('details').forEach(details => details.open = true);
const inside = (a, b) => a.left >= b.left - 0.5 && a.right <= b.right + 0.5 &&
  a.top >= b.top - 0.5 && a.bottom <= b.bottom + 0.5;
const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
const result = {drawings: 0, boxes: 0, texts: 0, outside: [], overlapping: [], crossed: []};
for (const svg of document.querySelectorAll('svg')) {
  result.drawings += 1;
  const rects = [...svg.querySelectorAll('rect')], boxes = rects.map(rect => rect.getBoundingClientRect());
  result.boxes += boxes.filter(box => box.width > 0).length;
  boxes.forEach((box, i) => {
    if (!inside(box, svg.getBoundingClientRect())) result.outside.push(svg.id + ' box ' + i);
    for (let j = 0; j < i; j++) if (!apart(box, boxes[j])) result.overlapping.push([i, j]);
  });
  for (const text of svg.querySelectorAll('text')) {
    result.texts += 1;
    const own = text.parentNode.querySelector('rect').getBoundingClientRect();
    if (!inside(text.getBoundingClientRect(), own)) result.outside.push(text.textContent);
    for (const other of text.parentNode.querySelectorAll('text'))
      if (other !== text && Math.abs(other.getAttribute('y') - text.getAttribute('y')) < 1 &&
          !apart(other.getBoundingClientRect(), text.getBoundingClientRect()))
        result.overlapping.push(text.textContent);
  }
  const {left, top} = svg.getBoundingClientRect();
  for (const path of svg.querySelectorAll('path'))
    for (let at = 10; at < path.getTotalLength() - 20; at += 3) {
      const {x, y} = path.getPointAtLength(at);
      boxes.forEach((box, i) => {
        if (x > box.left - left + 1 && x < box.right - left - 1 && y > box.top - top + 1 && y < box.bottom - top - 1)
          result.crossed.push([path.getAttribute('d'), i]);
      });
    }
}
document.body.innerHTML = '';
document.body.append(JSON.stringify(result));
</script>
"""


def seen_in_browser(page: str, folder: Path) -> dict[str, object]:
    """What a browser's layout of all drawings amounts to."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    file = folder / "checked.html"
    file.write_text(page.replace("</body>", f"{CHECK}</body>"), encoding="utf-8")
    switches = ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update")
    switches += (
        "disable-sync",
        "no-first-run",
        "disable-dev-shm-usage",
        f"user-data-dir={folder / 'profile'}",
        "dump-dom",
    )
    command = [browser, *(f"--{switch}" for switch in switches), file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    (body,) = re.findall(r"<body>(.*?)</body>", done.stdout, re.DOTALL)
    return json.loads(body)


def assert_readable(report: Report, seen: dict[str, object]) -> None:
    drawn = [node for _, nodes in expected_drawings(report) for node in nodes]
    assert seen["drawings"] == len(expected_drawings(report))
    assert seen["boxes"] == len(drawn) + sum(bool(node.dtype) for node in drawn)
    assert seen["texts"] >= 2 * len(drawn)
    assert (seen["outside"], seen["overlapping"], seen["crossed"]) == ([], [], [])


def test_browser_keeps_texts_in_their_boxes_and_boxes_apart(report, tmp_path):
    assert_readable(report, seen_in_browser(page_of(report, tmp_path), tmp_path))


def test_browser_with_hostile_names(tmp_path):
    report = hostile_report()
    assert_readable(report, seen_in_browser(page_of(report, tmp_path), tmp_path))


def test_browser_with_lines_that_pass_several_layers(tmp_path):
    """What is used far below goes around the boxes in between."""
    taken = ((), (0,), (1, 0), (2, 0, 0), (3, 1), (4, 2, 0), (), (6, 5, 0), (7,))
    nodes = tuple(
        Node(i, f"Operator{i}" * (i % 3 + 1), (i, -1), "float32", "other", tuple(Input("x" * j, j) for j in inputs), ())
        for i, inputs in enumerate(taken)
    )
    report = Report((Site(False, "score_op", "message", "net.py:3", "construct", (), nodes, (), 4),))
    assert_readable(report, seen_in_browser(page_of(report, tmp_path), tmp_path))
