"""What every test shares: sub-processes find the checkout, and the engine can be had at either width."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(params=[8, 1], ids=["8-lanes", "1-lane"])
def lanes(request, monkeypatch):
    """The test runs twice, with an engine of 8 lanes (skipped without AVX-512 IFMA) and of 1."""
    from contactsync.kernels import policy
    from contactsync.ristretto255 import start

    if request.param == 8 and not policy.has_ifma():
        pytest.skip("this CPU has no AVX-512 IFMA")
    monkeypatch.setenv(policy.LANES, str(request.param))
    policy.lanes.cache_clear()
    start.default_engine.cache_clear()
    yield request.param
    policy.lanes.cache_clear()
    start.default_engine.cache_clear()
