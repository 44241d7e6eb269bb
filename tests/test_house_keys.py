"""A random key is consumed once: split, or drawn from, or folded, never two of them.

The check reads the source. It follows names that end in `key` through the statements
of one function; what it can't see (keys in containers, in closures, under other names)
the flag `jax_debug_key_reuse` sees where a valuation runs.
"""

import ast
import pathlib
import re
import textwrap

import jax
import numpy as np
import pytest

from jaxval import Dataset, Points, value

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted((ROOT / "jaxval").rglob("*.py"))

# `file:function:key` that may be used twice, each with its reason.
ALLOWED: dict[str, str] = {
    "jaxval/kernels/approximations/projection.py:features:key": (
        "all blocks of rows are projected by one map"
    ),
    "jaxval/reporting/page.py:_check_picture:key": "the name of an attribute",
    "jaxval/semivalues/runs.py:run:key": "read for the identity of the checkpoint",
    "jaxval/valuation/sampling.py:sample:key": (
        "the same orders, so that the discrepancy's part can be subtracted"
    ),
}

READS = {"key_data", "isinstance", "len", "repr", "str", "require", "clone", "digest"}
FOLDS = {"fold_in"}
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def is_key(name: str) -> bool:
    """Whether a name says that it is one key."""
    return bool(re.fullmatch(r"(\w+_)?key", name))


class Uses(ast.NodeVisitor):
    """What one function does with its keys, statement by statement."""

    def __init__(self):
        self.uses: dict[str, list[tuple[str, int]]] = {}
        self.broken: list[tuple[int, str, str]] = []
        self.repeated: list[set[str]] = []  # names made outside the loops around us

    def consume(self, name: str, how: str, line: int):
        """Records one use and whether it breaks the rule."""
        earlier = self.uses.setdefault(name, [])
        other = [f"{h} in line {n}" for h, n in earlier if not how == h == "fold_in"]
        if other:
            self.broken.append((line, name, f"{how} after {other[0]}"))
        elif how != "fold_in" and any(name in names for names in self.repeated):
            self.broken.append((line, name, f"{how} again at each turn of a loop"))
        earlier.append((how, line))

    def visit_Call(self, node: ast.Call):
        function = ast.unparse(node.func).split(".")[-1]
        if function in READS:
            return
        how = function if function in FOLDS | {"split"} else f"used by {function}"
        for argument in (*node.args, *(word.value for word in node.keywords)):
            if isinstance(argument, ast.Name) and is_key(argument.id):
                self.consume(argument.id, how, node.lineno)
        self.generic_visit(node)

    def forget(self, target: ast.AST):
        """A name that is assigned holds a new key."""
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                self.uses.pop(node.id, None)
                for names in self.repeated:
                    names.discard(node.id)

    def visit_Assign(self, node: ast.Assign):
        self.visit(node.value)
        for target in node.targets:
            self.forget(target)

    def either(self, *branches: list[ast.stmt] | list[ast.expr]):
        """Only one of the branches runs; those that leave don't reach what follows."""
        before = {name: list(uses) for name, uses in self.uses.items()}
        after: list[dict] = []
        for branch in branches:
            self.uses = {name: list(uses) for name, uses in before.items()}
            for statement in branch:
                self.visit(statement)
            if not (branch and isinstance(branch[-1], ast.Return | ast.Raise)):
                after.append(self.uses)
        self.uses = {}
        for uses in after:
            for name, listed in uses.items():
                merged = self.uses.setdefault(name, [])
                merged.extend(use for use in listed if use not in merged)

    def visit_If(self, node: ast.If):
        self.visit(node.test)
        self.either(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp):
        self.visit(node.test)
        self.either([node.body], [node.orelse])

    def loop(self, targets: list[ast.AST], inside: list[ast.AST]):
        """A body that runs many times: keys from outside may only be folded."""
        assigned = {
            inner.id
            for node in (*targets, *inside)
            for inner in ast.walk(node)
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
        }
        names = {
            inner.id
            for node in inside
            for inner in ast.walk(node)
            if isinstance(inner, ast.Name) and is_key(inner.id)
        }
        for target in targets:
            self.forget(target)
        self.repeated.append(names - assigned)
        for node in inside:
            self.visit(node)
        self.repeated.pop()

    def visit_For(self, node: ast.For):
        self.visit(node.iter)
        self.loop([node.target], node.body)

    def visit_While(self, node: ast.While):
        self.loop([], [node.test, *node.body])

    def comprehension(self, node, elements: list[ast.expr]):
        """Like a loop over its first iterable."""
        self.visit(node.generators[0].iter)
        rest = [g.iter for g in node.generators[1:]]
        tests = [test for g in node.generators for test in g.ifs]
        self.loop([g.target for g in node.generators], [*rest, *tests, *elements])

    def visit_ListComp(self, node: ast.ListComp):
        self.comprehension(node, [node.elt])

    visit_SetComp = visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp):
        self.comprehension(node, [node.key, node.value])

    def visit_FunctionDef(self, node: ast.FunctionDef):
        """A function inside has its own names; it is looked at by itself."""

    visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = visit_FunctionDef


def reuses(source: str) -> list[tuple[int, str, str, str]]:
    """Line, function, key and what is wrong, for each key that is used twice."""
    broken = []
    for scope in ast.walk(ast.parse(source)):
        if isinstance(scope, Scope):
            uses = Uses()
            for node in scope.body if isinstance(scope.body, list) else [scope.body]:
                uses.visit(node)
            name = getattr(scope, "name", "lambda")
            broken += [(line, name, key, why) for line, key, why in uses.broken]
    return sorted(set(broken))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("a, b = split(key)\nreturn normal(a), normal(b)", 0),
        ("return normal(key), normal(key)", 1),
        ("a, b = split(key)\nreturn normal(fold_in(key, 1))", 1),
        ("return [normal(fold_in(key, i)) for i in range(3)]", 0),
        ("return [normal(key) for i in range(3)]", 1),
        ("for i in range(3):\n    key, now_key = split(key)\n    normal(now_key)", 0),
        ("for i in range(3):\n    normal(key)", 1),
        ("for key in split(key, 3):\n    normal(key)", 0),
        ("if x:\n    return normal(key)\nreturn uniform(key)", 0),
        ("y = normal(key) if x else uniform(key)", 0),
        ("y = normal(key) if x else 0\nreturn uniform(key)", 1),
        ("y = run(1, key=key)\nkey = f(2)\nreturn run(2, key=key)", 0),
    ],
)
def test_the_check_itself(body, count):
    source = "def f(key, x):\n" + textwrap.indent(body, "    ")
    assert len(reuses(source)) == count


def test_no_key_is_used_twice():
    broken = [
        f"{path.relative_to(ROOT)}:{line} {function}: `{key}` {why}"
        for path in SOURCES
        for line, function, key, why in reuses(path.read_text())
        if f"{path.relative_to(ROOT)}:{function}:{key}" not in ALLOWED
    ]
    if broken:
        pytest.fail(f"{len(broken)} keys:\n  " + "\n  ".join(broken), pytrace=False)


@pytest.mark.parametrize(
    "settings", [{"estimator": "exact"}, {"estimator": "antithetic", "budget": 60}]
)
def test_no_key_is_used_twice_where_a_table_is_valued(settings):
    x = np.linspace(-1.0, 1.0, 24)[:, None]
    data = Dataset(x, (x[:, 0] > 0).astype(int), np.arange(24) % 3)
    valid = Points(x + 0.01, data.y)
    with jax.debug_key_reuse(True):
        outcome = value(data, valid=valid, game="knn", neighbours=3, **settings)
    assert np.isfinite(outcome.values).all()
