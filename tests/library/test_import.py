"""`import contactsync` costs nothing. (That commands take nothing but the library, import-linter checks.)"""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import contactsync

ROOT = Path(__file__).parents[2]


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


@pytest.mark.slow
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
