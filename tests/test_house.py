"""The rules of the house that a program can check.

Each names the places that break it. They read the source; only the rule on examples
imports what users are shown.
"""

import ast
import functools
import inspect
import json
import pathlib
import re
from collections.abc import Iterator

import pytest

import jaxval

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "jaxval"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Functions that take `config` because they are the entry of a command or a study.
ENTRY_POINTS = {"run", "main"}
# Caches of pure values (never of functions), as `file:function`, each with its reason.
CACHES_ALLOWED: dict[str, str] = {
    "jaxval/kernels/layers/plan.py:_per_sample": "bytes and block sizes of a network's "
    "rows by their shapes: tracing takes seconds",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check(broken: list[str], what: str):
    """Fails with every place on a line of its own."""
    if broken:
        pytest.fail(f"{len(broken)} {what}:\n  " + "\n  ".join(broken), pytrace=False)


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text())


def place(path: pathlib.Path, node: ast.AST | int) -> str:
    """`file:line`, which editors open."""
    line = node if isinstance(node, int) else node.lineno
    return f"{path.relative_to(ROOT)}:{line}"


def functions() -> Iterator[tuple[pathlib.Path, Function]]:
    """All functions and methods of the package."""
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, Function):
                yield path, node


def arguments(node: Function) -> list[str]:
    """The names of all parameters."""
    a = node.args
    return [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]


def body_lines(node: Function) -> int:
    """Lines of the body behind the docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def public() -> Iterator[tuple[pathlib.Path, Function | ast.ClassDef]]:
    """Functions and classes at the top of modules that users may import."""
    for path in SOURCES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        for node in tree(path).body:
            if isinstance(node, Function | ast.ClassDef) and node.name[0] != "_":
                yield path, node


def test_no_file_over_400_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    over = [f"{place(path, n)} ({n} lines)" for path, n in lengths.items() if n > 400]
    check(over, "files over 400 lines")


def test_nine_files_in_ten_under_300_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    over = [f"{place(path, n)} ({n} lines)" for path, n in lengths.items() if n > 300]
    if len(over) > len(SOURCES) / 10:
        check(over, f"of {len(SOURCES)} files over 300 lines, more than a tenth")


def test_no_function_body_over_60_lines():
    over = [
        f"{place(path, node)} {node.name} ({body_lines(node)} lines)"
        for path, node in functions()
        if body_lines(node) > 60
    ]
    check(over, "function bodies over 60 lines")


def test_only_entry_points_take_config():
    takers = [
        f"{place(path, node)} {node.name}"
        for path, node in functions()
        if "config" in arguments(node) and node.name not in ENTRY_POINTS
    ]
    check(takers, "functions below an entry point that take `config`")


def test_named_lambdas_under_40():
    lambdas = [
        f"{place(path, node)} {ast.unparse(node.targets[0])}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
    ]
    if len(lambdas) >= 40:
        check(lambdas, "named lambdas, of which 39 are allowed")


def test_public_names_have_docstrings():
    without = [
        f"{place(path, node)} {node.name}"
        for path, node in public()
        if not ast.get_docstring(node)
    ]
    check(without, "public names without a docstring")


def advertised() -> dict[str, object]:
    """Functions and classes that `jaxval.__all__` leads to, through the rooms' own."""
    names: dict[str, object] = {}
    rooms, seen = [jaxval], set()
    while rooms:
        room = rooms.pop()
        if room.__name__ in seen:
            continue
        seen.add(room.__name__)
        for name in getattr(room, "__all__", ()):
            value = getattr(room, name)
            if inspect.ismodule(value) and value.__name__.startswith("jaxval"):
                rooms.append(value)
            is_ours = getattr(value, "__module__", "").startswith("jaxval")
            if is_ours and (inspect.isfunction(value) or inspect.isclass(value)):
                names[f"{value.__module__}.{value.__qualname__}"] = value
    return names


def has_example(value: object) -> bool:
    """Whether the docstring shows a use; that of a class's method serves as well."""
    methods = vars(value).values() if inspect.isclass(value) else ()
    parts = [value, *filter(inspect.isfunction, methods)]
    return any(">>>" in (part.__doc__ or "") for part in parts)


def test_three_quarters_of_advertised_names_have_an_example():
    names = advertised()
    without = sorted(name for name, value in names.items() if not has_example(value))
    share = 1 - len(without) / len(names)
    if share < 0.75:
        check(without, f"of {len(names)} names without an example ({share:.0%})")


def test_argument_lines_begin_with_a_noun():
    """A line of Args, Attributes or Returns is read alone, as an editor shows it."""
    broken = []
    for path, node in public():
        section = None
        for line in (ast.get_docstring(node) or "").splitlines():
            heading = re.fullmatch(r"(Args|Attributes|Returns|Raises|Example):", line)
            if heading or line[:1] not in ("", " "):
                section = heading and heading[1]
            entry = re.match(r" {2,4}(\*{0,2}[\w, *]+): (.*)", line)
            if section in ("Args", "Attributes") and entry and entry[2][:1].islower():
                broken.append(f"{place(path, node)} {node.name}: {line.strip()}")
    check(broken, "argument lines that begin with a small letter")


def test_no_pickle():
    broken = [
        f"{place(path, i)} {line.strip()}"
        for path in SOURCES
        for i, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"import pickle|from pickle|cloudpickle|allow_pickle=True", line)
    ]
    check(broken, "uses of pickle")


def test_no_hidden_caches():
    cached = [
        f"{place(path, node)} {node.name}"
        for path, node in functions()
        for decorator in node.decorator_list
        if re.search(r"\b(lru_cache|cache)\b", ast.unparse(decorator))
        and f"{path.relative_to(ROOT)}:{node.name}" not in CACHES_ALLOWED
    ]
    check(cached, "cached functions (equal settings are equal frozen dataclasses)")


# What the field does not say, and what it says (`CONTRIBUTING.md`, "Words").
WORDS = {
    r"\bforet(?:e|o)l(?:l|d)\w*": "predict; warn_if_slow",
    r"\b(?:nobody|everybody)\b": "the empty coalition; the grand coalition; no one",
    r"\bso many\b": "`count` of them; at most `epochs`",
    r"\blikewise\b": "say what it is",
    r"\bone an? (?:row|seed|player|coalition|owner|sample|class|point|step|unit|column"
    r"|cluster|draw|method|layer|leaf|order|block|lane|value|game|member|output)\b": (
        "one per row"
    ),
    r"\btold apart\b": "significantly different; resolved",
    r"\brivals?\b": "baselines",
    r"\b(?:surety|newcomers?)\b": "ranking confidence; unseen points",
    r"\b(?:points?|rows?) that (?:come|came|comes) later\b": "unseen points",
    r"\blater points?\b": "unseen points",
    r"\bout of a hat\b|\bcomes? for (?:nothing|free)\b": "random; at no extra cost",
    r"\bhow things stand\b|\ba word when\b": "current status; stopping rules",
    r"\bprice of few\b": "at the cost of a few evaluations",
    r"\bscores asked for\b|\butility calls\b": "utility evaluations",
    r"\bperson's own\b|\bfor people\b": "user-supplied; user-facing",
    r"\bon where it was\b|\bgo on where they\b": "rerunning resumes it",
    r"\bhow hard to try\b|\bnothing else would look\b": "budget; validates eagerly",
    r"\btruth's halves\b|\bhalf to half\b": "split-half reliability",
    r"\b(?:key|y|x): (?:of|as|for) ": "begin with a noun",
    r"\b(?:kept_for|places_of|calls_of|limit_of|key_of|keys_of|folder_of|recipe_of"
    r"|steps_of)\b": "a verb or a noun",
    r"\b(?:two_means|near_ties|rounded_gram|own_logit|fold_units|no_units"
    r"|merge_units)\b": "see the table of names",
    r"(?-i:\bclass (?:Drawn|Dealt|Found|Valued|Played|Seen|Kept|Rounded|Scored|Maker"
    r"|Material|Effort|Units|Arithmetic)\b)": "what is inside, not how it came to be",
    r"(?<!\w)(?:empty|strength|arithmetic|lanes|descending|fresh|needs|trains)=": (
        "empty_score, penalty, matmul_precision, num_parallel, order_descending, "
        "reinitialise, class_table, counts_training_runs"
    ),
    r"(?<!require_)\ball_classes\b": "require_all_classes",
    r"\b(?:colored|colors of|neighbors of|standardized|penalized)\b": "British",
}


def prose_files() -> list[pathlib.Path]:
    """Everything that people read: code, README, docs, notebooks, studies."""
    folders = ["docs", "notebooks", "experiments", "benchmarks", "tools"]
    paths = [path for name in folders for path in (ROOT / name).rglob("*")]
    files = [p for p in paths if p.suffix in {".py", ".md", ".ipynb", ".txt"}]
    return [*SOURCES, *files, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def numbered_lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """The lines of a file; of a notebook, those of its cells' sources."""
    if path.suffix != ".ipynb":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    for i, cell in enumerate(json.loads(path.read_text())["cells"]):
        yield from ((i, line) for line in "".join(cell["source"]).splitlines())


@pytest.mark.parametrize(
    "pattern", WORDS, ids=[advice[:30] for advice in WORDS.values()]
)
def test_words_of_the_field(pattern):
    broken = [
        f"{place(path, i)} {match[0]!r} in: {line.strip()[:90]}"
        for path in prose_files()
        for i, line in numbered_lines(path)
        for match in re.finditer(pattern, line, re.IGNORECASE)
    ]
    check(broken, f"places that should say: {WORDS[pattern]}")


VAGUE = ("found", "known", "told", "heard", "mine", "asked", "drawn", "dealt", "sure")


def test_names_say_what_is_inside():
    broken = [
        f"{place(path, node)} {node.id}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and node.id in VAGUE
    ]
    check(broken, f"variables named one of {', '.join(VAGUE)}")
