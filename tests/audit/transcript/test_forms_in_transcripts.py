"""Transcripts of syncs that looked further forms up, and of syncs from before there were any."""

import pytest
from recorded_syncs import Edited, wrong

from contactsync.audit.report import PROVEN, UNCHECKED
from contactsync.identifiers import FORMS

ARGENTINE = ["+5491123456789", "+542234567890", "+5491140001234"]
BELFAST, FROM_DUBLIN = "+442890123456", "+3534890123456"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"partitions": "mine"}, {"privacy": "screen"}])
def test_all_forms_are_accounted_for(service, recorded, options):
    service.crowd = {"44": 400_000} if options.get("privacy") == "screen" else {}
    service.publish(BELFAST)
    report = recorded.sync(*ARGENTINE, FROM_DUBLIN, **options)
    assert report is not None, recorded.error
    assert (report.identifiers, report.further_forms, report.new_identifiers) == (4, 4, 8)
    assert [one.identifier for one in report.matches] == [f"tel:{BELFAST}"]
    audit = recorded.audit(contacts=True)
    assert audit.exit_code == PROVEN, audit.findings
    assert audit.facts["further_forms"] == 4
    points = {one["identifier"]: len(one["points"]) for one in audit.facts["by_contact"]}
    assert len(points) == 8
    assert set(points.values()) == {1}


@pytest.mark.slow
def test_a_point_of_a_form_that_is_no_ones_is_found(service, recorded, monkeypatch):
    """A client that looks strangers up under the name of forms."""
    from contactsync.contacts import lines

    service.publish("+4915112345678")
    monkeypatch.setattr(lines, "further_forms", lambda _: (b"tel:+4915112345678",))
    assert recorded.sync("+4915187654321") is not None, recorded.error
    monkeypatch.undo()
    assert "points" in wrong(recorded.audit())


@pytest.mark.slow
def test_a_sync_of_before_looked_no_forms_up_and_is_proven_so(service, recorded, monkeypatch):
    from contactsync.contacts import lines

    service.publish("+4915112345678")
    monkeypatch.setattr(lines, "further_forms", lambda _: ())
    assert recorded.sync(*ARGENTINE, partitions="mine") is not None, recorded.error
    monkeypatch.undo()
    edited = Edited.of(recorded, recorded.file)
    assert edited.private.pop("forms") == FORMS
    audit = edited.audit()
    assert audit.exit_code == PROVEN, audit.findings
    assert audit.facts["further_forms"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, FORMS + 1, "1", None, -1])
def test_a_table_that_is_not_known_is_not_proven(service, recorded, version):
    service.publish("+4915112345678")
    assert recorded.sync(*ARGENTINE) is not None, recorded.error
    edited = Edited.of(recorded, recorded.file)
    edited.private["forms"] = version
    report = edited.audit()
    assert report.exit_code == UNCHECKED
    (found,) = [one for one in report.findings if one.rule == "record"]
    assert found.place.endswith(".private")
    assert found.hint
