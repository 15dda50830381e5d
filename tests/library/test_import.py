"""`import contactsync` costs nothing, and the commands that stand on the library take nothing else."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import contactsync

ROOT = Path(__file__).parents[2]
COMMANDS = ROOT / "contactsync" / "commands"

# What commands may import: the library, what it offers by type, and what has no behaviour of its own.
PUBLIC = ("contactsync.library", "contactsync.commands", "contactsync.foundation")

# Commands that stand on the library, and what else they may name, each with the reason.
ON_THE_LIBRARY = {
    "trust.py": {
        "contactsync.publication.tuf.follower": "how a fingerprint is written for people",
        "contactsync.client.state": "the type of what is handed on to what `forget` does",
    },
    "status.py": {"contactsync.publication.tuf.follower": "how a fingerprint is written for people"},
    "_services.py": {
        "contactsync.client.core.planner": "Options, which is public",
        "contactsync.client.patience": "the time of a sync, which an interrupt ends",
        "contactsync.client.report": "Report, the type of a result",
        "contactsync.client.state": "how an address is spelt, and the type of what is trusted",
        "contactsync.contacts": "AddressBook, which is public",
    },
}


def imported(path):
    """The modules of this package that a module imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("contactsync"):
            yield node.module


@pytest.mark.parametrize("name", ON_THE_LIBRARY)
def test_a_command_on_the_library_imports_nothing_else(name):
    found = set(imported(COMMANDS / name))
    assert {module for module in found if not module.startswith(PUBLIC)} <= set(ON_THE_LIBRARY[name])
    assert any(module.startswith("contactsync.library") for module in found)


def python(script):
    """What a new interpreter prints."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_import_loads_nothing_else():
    loaded = ast.literal_eval(
        python(
            "import sys; before = set(sys.modules); import contactsync;"
            "print(sorted(set(sys.modules) - before))"
        )
    )
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == [
        "contactsync"
    ]


def test_the_import_takes_less_than_20_ms():
    script = (
        "import time; begin = time.process_time(); import contactsync; print(time.process_time() - begin)"
    )
    assert statistics.median(float(python(script)) for _ in range(3)) < 0.020


def test_reading_address_books_loads_no_kernels():
    script = (
        "import sys; from contactsync import AddressBook, ContactSyncError, address_book;"
        "print([name for name in sys.modules if name.startswith('numba')])"
    )
    assert python(script) == "[]\n"


def test_the_stub_says_what_the_package_offers():
    stub = ast.parse((ROOT / "contactsync" / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    typed = {(alias.asname, node.module) for node in imports for alias in node.names}
    assert typed == set(contactsync._PLACES.items())
    (names,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert sorted(names) == sorted(contactsync.__all__) == dir(contactsync)
    assert set(names) == {*contactsync._PLACES, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = contactsync.nothing
