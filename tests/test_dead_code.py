"""Every public function and class of the package is used by something other than its tests."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import arena

ROOT = Path(__file__).parent.parent
USERS = ("arena", "tools", "scripts", "docs", "examples", "configs")  # folders whose files count as users
PROSE = (".md", ".ipynb", ".yaml")
ALLOWED = {  # "arena.module.name" -> why it stays although nothing here uses it
    "arena.data.synthetic.stylized.stylized_facts": "the synthetic market was tuned with it; tests hold it",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def definitions() -> Iterator[tuple[str, str]]:
    """(module, name) of every public function and class at the top of a module."""
    for path in sorted((ROOT / "arena").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield module, node.name


def used_names() -> set[str]:
    """Names that code reads, and words of documents. An import alone is no use."""
    names = {*arena.__all__}
    for folder in USERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".py":
                names |= set(names_read(tree(path)))
            elif path.suffix in PROSE:
                names |= set(re.findall(r"\w+", path.read_text()))
    return names | set(re.findall(r"\w+", (ROOT / "README.md").read_text()))


def names_read(node: ast.AST) -> Iterator[str]:
    docstrings = {id(inner.value) for inner in ast.walk(node) if isinstance(inner, ast.Expr)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr
        elif isinstance(inner, ast.ImportFrom) and any(alias.asname for alias in inner.names):
            # Read under another name. `name as name` is an export of a package, which alone is no use.
            yield from (alias.name for alias in inner.names if alias.asname not in (None, alias.name))
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str) and id(inner) not in docstrings:
            yield from re.findall(r"\w+", inner.value)  # "module:name", quoted annotations


def test_nothing_public_is_there_for_its_tests_alone():
    used = used_names()
    unused = {f"{module}.{name}" for module, name in definitions() if name not in used}
    assert sorted(unused - ALLOWED.keys()) == [], "delete it, make it private, or say in ALLOWED why it stays"
    assert sorted(ALLOWED.keys() - unused) == [], "used again: take it out of ALLOWED"


def test_a_use_is_a_name_that_is_read():
    source = "from a import b, c as d\nfrom e import f as f\ng.h('i:j')\n'''k'''\n"
    assert {*names_read(ast.parse(source))} == {"c", "g", "h", "i", "j"}
