"""What the processes of tests load: what an installation has, and not what tests have installed besides."""

import subprocess
import sys

import pytest

CODE = """
import contactsync.publication.tuf.repository as ours, sys
print(ours.__file__, 'boto3' in sys.modules)
"""


@pytest.mark.slow
def test_processes_of_tests_do_not_load_what_only_slows_them_down(pytestconfig):
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    path, loaded = done.stdout.split()
    assert path == str(pytestconfig.rootpath / "contactsync" / "publication" / "tuf" / "repository.py")
    assert loaded == "False"
