"""HTML pages made of blocks: one file each, without scripts or outside resources.

`render(title, blocks)` puts blocks into one base template: light and dark, for a desk,
a phone and paper. A block is a frozen dataclass whose `template` names the file under
`templates/` that shows it; a report that needs another kind of block adds one of its
own. All text is escaped; markup comes in through `Figure` alone, which takes pictures
and refuses anything that could act.
"""

import dataclasses
import re
import xml.etree.ElementTree
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jinja2
import markupsafe

from jaxval._checks import check
from jaxval.reporting.tables import Table, cells, is_text

__all__ = [
    "Block",
    "Details",
    "Figure",
    "Glossary",
    "Heading",
    "Preformatted",
    "Prose",
    "TableBlock",
    "Warning",
    "render",
]


class Block:
    """Part of a page: a frozen dataclass and the template that shows it.

    Attributes:
      template: Path of the template under `templates/`; it sees the record as `block`.
    """

    template: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class Heading(Block):
    """Heading of a section.

    Attributes:
      text: One line.
      level: 2 for a section, 3 for a part of one.
    """

    template: ClassVar[str] = "blocks/heading.html"
    text: str
    level: int = 2

    def __post_init__(self):
        """The title is the page's only heading of level 1."""
        check(self.level in (2, 3), f"level must be 2 or 3; got {self.level}.")


@dataclasses.dataclass(frozen=True)
class Prose(Block):
    """Paragraphs of plain text.

    Attributes:
      paragraphs: Texts, one per paragraph.
    """

    template: ClassVar[str] = "blocks/prose.html"
    paragraphs: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Preformatted(Block):
    """Text whose columns matter, as a chart of characters.

    Attributes:
      text: Lines.
    """

    template: ClassVar[str] = "blocks/preformatted.html"
    text: str


@dataclasses.dataclass(frozen=True)
class TableBlock(Block):
    """Table with its title and caption; the columns a terminal hides are hidden too.

    Attributes:
      table: Columns to show.
      max_rows: Rows shown at most; the page says how many are left out.
      source: Name of the file that holds all of them.
    """

    template: ClassVar[str] = "blocks/table.html"
    table: Table
    max_rows: int = 200
    source: str = ""

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Heading of each shown column, and whether it holds text."""
        shown = [column for column in self.table.columns if column.shown]
        return [(column.title, is_text(column)) for column in shown]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Cells as text, rounded as in the terminal."""
        shown = [cells(column) for column in self.table.columns if column.shown]
        return list(zip(*shown, strict=True))[: self.max_rows]

    @property
    def left_out(self) -> int:
        """Number of rows that are not shown."""
        return max(len(self.table) - self.max_rows, 0)


@dataclasses.dataclass(frozen=True)
class Figure(Block):
    """Picture as inline SVG.

    Attributes:
      svg: One `<svg>` element, as of `plots.svg`.
      alt: What the picture shows, for readers who can't see it.
      caption: Line below it.

    Raises:
      ValueError: if `svg` is no SVG, or holds a script, an event handler or a link.
    """

    template: ClassVar[str] = "blocks/figure.html"
    svg: str
    alt: str
    caption: str = ""

    def __post_init__(self):
        """Refuse what is no picture."""
        _check_picture(self.svg)

    @property
    def markup(self) -> markupsafe.Markup:
        """The picture, past the escaping of everything else."""
        return markupsafe.Markup(self.svg)


@dataclasses.dataclass(frozen=True)
class Warning(Block):
    """What a reader should know before trusting the page.

    Attributes:
      text: One or a few sentences.
    """

    template: ClassVar[str] = "blocks/warning.html"
    text: str


@dataclasses.dataclass(frozen=True)
class Details(Block):
    """Blocks behind a line that opens them; open on paper.

    Attributes:
      summary: That line.
      blocks: Blocks inside.
    """

    template: ClassVar[str] = "blocks/details.html"
    summary: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Glossary(Block):
    """Terms and what they mean.

    Attributes:
      terms: Meanings by term.
    """

    template: ClassVar[str] = "blocks/glossary.html"
    terms: Mapping[str, str]


def render(title: str, blocks: Sequence[Block], *, subtitle: str = "") -> str:
    """A page as HTML.

    Args:
      title: Title of the page and its first heading.
      blocks: Blocks from top to bottom.
      subtitle: Line below the title.

    Returns:
      A whole document: write it to a file and open it in a browser.

    Example:
      >>> html = render("Values", [Prose(["From <script> on."])])
      >>> "From &lt;script&gt; on." in html, "<script>" in html
      (True, False)
    """
    template = _environment().get_template("base.html")
    return template.render(title=title, subtitle=subtitle, blocks=blocks)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("jaxval.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_FORBIDDEN = ("script", "foreignobject", "iframe", "a", "animate", "set")
_INSIDE = ("#", "data:image/png;base64,")
"""What a reference may begin with: a part of the picture, or pixels."""


def _check_picture(svg: str) -> None:
    check(
        svg.lstrip().startswith("<svg") and "<!" not in svg,
        "svg must be one <svg> element, without prologue or comments; got "
        f"{svg[:40]!r}. `plots.svg` makes such pictures.",
    )
    try:
        root: Any = xml.etree.ElementTree.fromstring(svg)
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(f"svg is not well-formed: {error}.") from None
    for element in root.iter():
        name = _local(element.tag)
        check(name not in _FORBIDDEN, f"svg must hold no <{name}> element.")
        for key, value in element.attrib.items():
            outside = _local(key) == "href" and not value.startswith(_INSIDE)
            check(
                not (outside or re.match(r"on", _local(key))),
                f"svg must hold no event handlers or links; <{name}> has {key!r}.",
            )


def _local(name: Any) -> str:
    """A name of XML without its namespace."""
    return str(name).rpartition("}")[2].lower()
