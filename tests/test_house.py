"""Names, figures and sizes of the whole package: each is stated once, and no module grows without end.

And what the pages for contributors name is there.
"""

import ast
import importlib
import re
from collections import defaultdict
from pathlib import Path

import pytest

from contactsync.foundation.audiences import AUDIENCES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "contactsync"
MOST_LINES = 450

LONGER = {
    "kernels/lanes.py": "the whole vocabulary of vectors: one module, so that nothing else writes LLVM",
}

# The same fact in a kernel and above it. Compiled kernels are cached under their own sources, so they take no
# constant from elsewhere, and what works without them may not load them for a figure. Each pair is compared.
COMPARED = {
    "MAX_DIGITS": ("kernels.phones", "identifiers.tel.plans"),
    "SHORT_DIGITS": ("kernels.phones", "identifiers.tel.countries"),
    "MAX_RECORD": ("kernels.phones", "phones.layout"),
    "P": ("kernels.field", "voprf.few.field"),
    "ORDER": ("kernels.scalar", "voprf.few.group"),
    "SLICES": ("kernels.bloom", "directory.bounds"),
    "GROUPS": ("kernels.selecting", "lookup.batch"),
}

# The same name and figure, and not the same fact.
UNRELATED = {
    "PROFILE": "the rules for numbers and those for e-mail addresses, which change apart",
    "VERSION": "directory and delta are formats of their own, and change apart",
    "CHUNK": "how much is done at once, tuned where it is done",
    "KEY_BYTES": "the key of a label, and the key that hides a transcript's credential",
    "SEED_BYTES": "RFC 9497's seed of a key, and the seed of decoys",
}


@pytest.fixture(scope="module")
def modules():
    """The package by path."""
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def named(module):
    """Name without underscore → source of the literal, for the module's upper-case constants."""
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id.isupper():
            yield target.id.lstrip("_"), value


def figure(value):
    """What a literal expression (`4096`, `1 << 16`, `("people", "business")`) is; None if it is none."""
    if any(isinstance(node, ast.Name | ast.Call | ast.Attribute) for node in ast.walk(value)):
        return None
    return repr(eval(compile(ast.Expression(value), "constant", "eval"), {}))


@pytest.mark.slow
def test_no_class_name_is_used_twice(modules):
    places = defaultdict(list)
    for path, module in modules.items():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.slow
def test_no_figure_is_stated_twice(modules):
    places = defaultdict(list)
    for path, module in modules.items():
        for name, value in named(module):
            if figure(value) is not None:
                places[name, figure(value)].append(path)
    known = {name: {f"{one.replace('.', '/')}.py" for one in modules} for name, modules in COMPARED.items()}
    for (name, value), found in places.items():
        if len(found) > 1 and name not in UNRELATED:
            assert set(found) <= known.get(name, set()), f"{name} = {value} stands in {', '.join(found)}"


@pytest.mark.parametrize("name", COMPARED)
def test_what_kernels_repeat_is_the_same(name):
    first, second = (importlib.import_module(f"contactsync.{module}") for module in COMPARED[name])

    def value(module):
        return getattr(module, name) if hasattr(module, name) else getattr(module, f"_{name}")

    assert value(first) == value(second)


def texts(module):
    """The string and bytes literals of a module that are no docstrings."""
    documentation = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            yield node.value


@pytest.fixture(scope="module")
def words(modules):
    """The literals of each module."""
    return {path: set(texts(module)) for path, module in modules.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("literal", "home", "others"),
    [
        (AUDIENCES[1], "foundation/audiences.py", {"commands/sync.py"}),
        (b"tel:+", "identifiers/tel/__init__.py", set()),
    ],
)
def test_a_word_of_the_protocol_is_spelt_in_one_module(words, literal, home, others):
    found = {path for path, said in words.items() if literal in said}
    assert found - others == {home}


def test_modules_are_short_enough_to_be_read(modules):
    lines = {path: len((PACKAGE / path).read_text().splitlines()) for path in modules}
    assert {path: n for path, n in lines.items() if n > MOST_LINES and path not in LONGER} == {}
    assert {path for path in LONGER if lines.get(path, 0) <= MOST_LINES} == set(), "no exception is needed"


PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md")}


@pytest.mark.parametrize("page", PAGES)
def test_what_the_pages_for_contributors_name_exists(page):
    text = PAGES[page]
    places = re.findall(r"`((?:contactsync|tests|docs|bench|foundation|contacts|client)/[\w./-]*)`", text)
    places += re.findall(r"\]\(([^)#]+)", text)
    missing = [one for one in places if not (ROOT / one).exists() and not (PACKAGE / one).exists()]
    assert [one for one in missing if not re.search(r"NAME|KIND", one)] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z0-9-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_test_that_the_threat_model_names_is_there():
    text = (ROOT / "docs" / "threat-model.md").read_text()
    table = text.partition("## Which test holds which promise")[2].partition("\n## ")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", table)
    assert len(named) > 20
    for path, test in named:
        source = (ROOT / path).read_text()
        assert not test or f"def {test}(" in source, f"{path}::{test}"
