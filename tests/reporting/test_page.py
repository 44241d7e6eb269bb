"""Pages: what users' own names can and can't do in them, and each block."""

import dataclasses
import html.parser
import importlib.resources

import numpy as np
import pytest

from jaxval.reporting import Column, Table, page, to_csv
from jaxval.runner.contract import Result
from jaxval.runner.report_page import report_page

NAMES = ["<script>alert(1)</script>", "=1+1", '"><img src=x onerror=y>', "&amp; $x$"]


class Elements(html.parser.HTMLParser):
    """Names of all elements, their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.names, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text.append(data)


def table(names=NAMES):
    return Table("Values", (Column("owner", names), Column("v", np.arange(len(names)))))


def result():
    return Result(
        tables={"values": table(), "long": table([f"row {i}" for i in range(100)])},
        metrics={},
        sentences=(f"Best: {NAMES[0]}.",),
        unprinted=("long",),
        draw=lambda figure: figure.subplots().barh(NAMES, np.arange(4.0)),
    )


ABOUT = {"experiment": "value", "warnings": [NAMES[2]], "versions": {"jax": "1"}}


def test_names_of_owners_are_text_wherever_they_come():
    pytest.importorskip("matplotlib")
    found = Elements(report_page(result(), ABOUT, {"data": NAMES[0]}))
    assert "svg" in found.names
    assert not {"script", "img"} & set(found.names)
    assert not [name for name in found.attributes if name.startswith("on")]
    for name in NAMES:
        assert any(name in text for text in found.text), name


def test_pages_ask_for_nothing_outside():
    text = report_page(result(), ABOUT, {})
    assert "default-src 'none'" in text
    addresses = text.replace("http://www.w3.org/", "")
    assert "http://" not in addresses
    assert "https://" not in addresses


def test_long_tables_say_where_the_rest_is():
    assert "40 more rows are in long.csv." in report_page(result(), ABOUT, {})


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-a", "@x", "\tx", "\r=1"])
def test_formulas_in_csv_become_text(text):
    lines = to_csv(Table("", (Column("owner", [text]), Column(text, [1.0]))))
    head, row = lines.splitlines()[0], lines.split("\n", 1)[1]
    assert row.strip('"').startswith("'" + text[:1])
    assert head.split(",")[1].strip('"').startswith("'") or "\r" in text


@pytest.mark.parametrize("text", ["-1.5", "+2", "1e3", "a=b", "a-b", "", "nan"])
def test_numbers_and_other_texts_stay_as_they_are(text):
    lines = to_csv(Table("", (Column("owner", [text]), Column("v", [-0.5]))))
    assert lines.splitlines()[1] == f"{text},-0.5"


def test_every_block_is_shown():
    blocks = [
        page.Heading("A section"),
        page.Prose(["One.", "Two."]),
        page.Preformatted("a  b"),
        page.TableBlock(table(["a"])),
        page.Figure('<svg xmlns="http://www.w3.org/2000/svg"/>', "dots", "A caption."),
        page.Warning("Careful."),
        page.Details("More", [page.Prose(["Inside."]), page.Heading("Deep", 3)]),
        page.Glossary({"term": "meaning"}),
    ]
    found = Elements(page.render("A title", blocks, subtitle="below"))
    for name in ("h1", "h2", "h3", "pre", "table", "svg", "details", "dl", "summary"):
        assert name in found.names, name
    text = " ".join(found.text)
    for words in ("A title", "below", "Two.", "a  b", "A caption.", "Careful.",
                  "Inside.", "meaning"):  # fmt: skip
        assert words in text, words
    assert {type(block) for block in blocks} == {
        kind
        for kind in vars(page).values()
        if dataclasses.is_dataclass(kind) and "template" in vars(kind)
    }


@pytest.mark.parametrize(
    ("svg", "message"),
    [
        ("<p>no</p>", "one <svg> element"),
        ("<svg", "well-formed"),
        ("<svg><script>x</script></svg>", "no <script>"),
        ('<svg onload="x"/>', "event handlers"),
        ('<svg><a href="https://x"/></svg>', "no <a>"),
        ('<svg><use href="https://x"/></svg>', "links"),
        ('<svg><image href="data:text/html,x"/></svg>', "links"),
        ("<svg><foreignObject/></svg>", "no <foreignobject>"),
        ("<!DOCTYPE svg><svg/>", "one <svg> element"),
    ],
)
def test_pictures_that_could_act_are_refused(svg, message):
    with pytest.raises(ValueError, match=message):
        page.Figure(svg, "a picture")


def test_templates_are_part_of_the_package():
    templates = importlib.resources.files("jaxval.reporting") / "templates"
    assert (templates / "base.html").is_file()
    assert (templates / "page.css").is_file()


def test_a_heading_of_the_wrong_level():
    with pytest.raises(ValueError, match="level must be 2 or 3"):
        page.Heading("x", 1)
