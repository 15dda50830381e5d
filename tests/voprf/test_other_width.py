"""A process has one width, that of its CPU. The tests of the protocol run once more at the portable one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contactsync import ristretto255

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(ristretto255.warm_up() == 1, reason="this process is the portable one")
def test_protocol_vectors_and_peers_at_one_lane() -> None:
    chosen = (
        "voprf/test_rfc9497_protocol.py",
        "voprf/test_interop.py",
        "audit/test_shipped_vectors.py",
        "ristretto255/test_against_twin.py",
    )
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *(str(TESTS / name) for name in chosen),
        ],
        env={**os.environ, "CONTACTSYNC_LANES": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert " passed" in result.stdout
    assert "failed" not in result.stdout
