"""Draws the rooms of the library: who stands above whom, and who uses whom.

The order is the one that the import rules in `pyproject.toml` enforce; files, lines and
arrows are read from the source without importing it.

    python tools/rooms.py            # writes docs/design/rooms.md
    python tools/rooms.py --check    # fails where the drawing is stale

A drawing is stale when a room, a file or an arrow is missing or is no longer there, or
when a number is off by more than a fifth and ten (lines change with every commit).
"""

import argparse
import ast
import collections
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "jaxval"
DRAWING = ROOT / "docs" / "design" / "rooms.md"
WIDTH = 100

HEADER = """\
# The rooms, top to bottom

Drawn by `python tools/rooms.py` from the source; `make lint` fails when it is stale.
A room may use those below it, never one above it or beside it (beside: parted by a
dashed line). Numbers behind a file are its lines; numbers on an arrow are the files
that import the room.
"""


def layers() -> list[list[str]]:
    """The rooms of each layer, top first, from the import rules."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (order,) = [c["layers"] for c in contracts if c["type"] == "layers"]
    rooms = [
        [room.strip().removeprefix(f"{PACKAGE}.") for room in layer.split("|")]
        for layer in order
    ]
    door = [["__main__"]] if (ROOT / PACKAGE / "__main__.py").exists() else []
    return rooms if door[:1] == rooms[:1] else [*door, *rooms]


def room_of(path: pathlib.Path) -> str:
    """The room of a file: its folder in the package, or its name."""
    first = path.relative_to(ROOT / PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: pathlib.Path) -> Iterator[str]:
    """The rooms that a file imports, within functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            modules = [f"{PACKAGE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            if module.startswith(f"{PACKAGE}."):
                yield module.split(".")[1]


def files_by_room() -> dict[str, list[pathlib.Path]]:
    """The files of each room, in alphabetical order."""
    rooms = collections.defaultdict(list)
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        if path != ROOT / PACKAGE / "__init__.py":
            rooms[room_of(path)].append(path)
    return dict(rooms)


def lines(path: pathlib.Path) -> int:
    """The number of lines of a file."""
    return len(path.read_text().splitlines())


def arrows(files: list[pathlib.Path], room: str) -> collections.Counter:
    """How many files of a room import each other room."""
    return collections.Counter(
        other for path in files for other in set(imported_rooms(path)) if other != room
    )


def _flow(label: str, words: list[str]) -> list[str]:
    """A label and words behind it, broken into lines inside a box."""
    rows, row = [], label
    for word in words:
        if len(row) + 2 + len(word) > WIDTH - 4:
            rows.append(row)
            row = " " * len(label)
        row += "  " + word
    return [*rows, row]


def _names(files: list[pathlib.Path], room: str) -> list[str]:
    """`name lines` for each file of a room, with the folder inside the room."""
    names = []
    for path in files:
        inside = path.relative_to(ROOT / PACKAGE).with_suffix("").as_posix()
        name = inside.removeprefix(f"{room}/")
        if path.name != "__init__.py":
            names.append(f"{name} {lines(path)}")
    return names


def draw() -> str:
    """The whole drawing, as Markdown around one block of text."""
    rooms, order = files_by_room(), layers()
    names = [room for layer in order for room in layer]
    missing = sorted(set(rooms) ^ set(names))
    if missing:
        raise SystemExit(
            f"pyproject.toml's layers and {PACKAGE}/ differ in: {', '.join(missing)}. "
            "Put each room into the import rules, or take it out of them."
        )
    out = []
    for layer in order:
        out.append("+" + "-" * (WIDTH - 2) + "+")
        for i, room in enumerate(layer):
            files = rooms[room]
            uses = arrows(files, room)
            total = sum(map(lines, files))
            body = [f"{room}: {len(files)} files, {total} lines"]
            body += _flow("  ", _names(files, room)) if len(files) > 1 else []
            below = [f"{other} {uses[other]}" for other in names if other in uses]
            body += _flow("  ->", below) if below else []
            if i:
                out.append("| " + "- " * ((WIDTH - 4) // 2) + " |")
            out += [f"| {row.ljust(WIDTH - 4)} |" for row in body]
    out.append("+" + "-" * (WIDTH - 2) + "+")
    return HEADER + "\n```text\n" + "\n".join(out) + "\n```\n"


def differences(old: str, new: str) -> list[str]:
    """Names that only one drawing has, and numbers that are far apart."""
    tokens = [re.findall(r"[^\s|+-][^\s|]*|->", text) for text in (old, new)]
    words = [[t for t in side if not t.isdigit()] for side in tokens]
    if words[0] != words[1]:
        left, right = map(collections.Counter, words)
        gone, new_names = sorted(left - right), sorted(right - left)
        return [f"no longer there: {', '.join(gone)}"] * bool(gone) + [
            f"not drawn: {', '.join(new_names)}"
        ] * bool(new_names) or ["rooms or files in another order"]
    return [
        f"{a} is {b} today"
        for a, b in zip(*tokens, strict=True)
        if a.isdigit() and abs(int(a) - int(b)) > 10 + max(int(a), int(b)) / 5
    ]


def main() -> int:
    """Writes the drawing, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if it is stale")
    if not parser.parse_args().check:
        DRAWING.write_text(draw())
        return 0
    stale = differences(DRAWING.read_text() if DRAWING.exists() else "", draw())
    for line in stale:
        print(f"{DRAWING.relative_to(ROOT)} is stale: {line}")
    if stale:
        print("Draw it again: python tools/rooms.py")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
