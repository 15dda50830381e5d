"""A book that lacks contacts of the sync: their points are disproven, and nothing untrue is said as well."""

import pytest
from recorded_syncs import ANNA, BODO, CARL, SOME

from contactsync.audit.report import DISPROVEN, PROVEN

UNTRUE = ("no points were sent", "not sent to its end", "nothing was there to check", "too few points")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"privacy": "screen"}])
def test_nothing_untrue_is_said_with_a_truncated_book(service, recorded, options):
    service.crowd = {"49": 400_000} if options else {}
    service.publish(ANNA)
    assert recorded.sync(ANNA, BODO, *SOME, **options) is not None, recorded.error
    assert recorded.audit().exit_code == PROVEN
    for book in ((ANNA,), SOME[:-1], (CARL,)):
        report = recorded.audit(*book)
        assert report.exit_code == DISPROVEN
        said = [f"{one.rule}: {one.message}" for one in report.findings]
        assert not [one for one in said if any(words in one for words in UNTRUE)], said
        assert any("neither of a contact of the address book nor of padding" in one for one in said), said
        for rule in ("rounds", "padding"):
            assert report.state(rule) == "unchecked", rule
        assert any(one.startswith("rounds: not all of its points are explained") for one in said), said
        assert report.proven["proofs"] == 1


@pytest.mark.slow
def test_a_batch_among_several_that_is_not_explained(good):
    """Of the others all is said, and the round is not called unfinished."""
    report = good.audit(ANNA, BODO, *SOME[:-1])
    assert report.exit_code == DISPROVEN
    said = [f"{one.rule}: {one.message}" for one in report.findings]
    assert not [one for one in said if any(words in one for words in UNTRUE[:3])], said
    assert report.proven["points"] >= 8
    assert report.state("rounds") == "unchecked"


@pytest.mark.slow
def test_a_sync_that_sent_no_points_says_so_once_for_each_rule(service, recorded):
    """A cover round that is off, and nobody is new."""
    service.publish(ANNA)
    assert recorded.sync(ANNA) is not None, recorded.error
    assert recorded.sync(ANNA, cover=False) is not None, recorded.error
    report = recorded.audit()
    assert report.exit_code == PROVEN, [one.message for one in report.findings]
    none = [one.rule for one in report.findings if one.message == "no points were sent"]
    assert sorted(none) == ["padding", "points", "proofs", "rounds"]
