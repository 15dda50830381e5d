"""A build job by itself: its report, and how it is stopped."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from contactsync.foundation.errors import OurError
from contactsync.server.publishing import job as module
from contactsync.server.publishing.job import BuildJob, EvaluateJob, read_report, run_build, run_evaluate
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf.server import derive_key_pair, evaluate


@pytest.fixture
def made(tmp_path):
    """A job of 5000 tokens."""
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    spool = tmp_path / "work" / "tokens"
    spool.write_bytes(os.urandom(5000 * TOKEN_BYTES))
    return BuildJob(
        audience="people",
        epoch=1,
        edition=1,
        partition="49",
        count=5000,
        remainder_bits=32,
        memory=1 << 20,
        spool=str(spool),
        report=str(tmp_path / "work" / "report"),
        work=str(tmp_path / "work"),
        data=str(tmp_path / "data"),
        old=None,
    )


def test_tokens_are_those_of_the_protocol_in_order():
    key = derive_key_pair(bytes(range(32)), b"contactsync/v1/people/1")
    identifiers = tuple(b"tel:+49151%08d" % i for i in range(300))
    tokens = run_evaluate(EvaluateJob("people", key.secret, key.public, identifiers))
    wanted = Tokens.from_outputs(evaluate(key, identifiers)).to_bytes()
    assert np.array_equal(np.frombuffer(tokens, np.uint8).reshape(-1, TOKEN_BYTES), wanted)


def test_a_job_says_how_far_it_is(made, monkeypatch):
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0)
    assert read_report(made.report) is None
    assert run_build(made).content.count == 5000
    assert read_report(made.report) == ("writing people 49", 5000, 5000)


def test_a_job_whose_folder_is_gone_ends_at_its_next_report(made, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0)
    real = module.Tokens.from_bytes

    def from_bytes(rows):
        (tmp_path / "work").rename(tmp_path / "gone")
        return real(rows)

    monkeypatch.setattr(module.Tokens, "from_bytes", from_bytes)
    with pytest.raises(OurError, match=r"^building people 49: "):
        run_build(made)
    assert list((tmp_path / "data").iterdir()) == []


def test_nobody_left_needs_no_file(made):
    Path(made.spool).unlink()
    assert run_build(dataclasses.replace(made, count=0)).content is None
