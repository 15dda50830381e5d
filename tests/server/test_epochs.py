"""How old epochs are, when a rotation is due, and what the operator is told about one that is on its way."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from server_tools import GERMAN

from contactsync.server.epochs import EpochAge, reminders
from contactsync.server.publishing import publisher
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.status import status
from contactsync.server.storage.ports import Charge, EpochUse

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def published(operator):
    operator.add(GERMAN)
    operator.publish()
    return operator


def order(operator, aim, overlap=86_400):
    Publisher(operator.folder, operator.registry, operator.keyring).publish(order=Order(aim, overlap))


def age(operator, *used, now=NOW):
    return EpochAge.of(operator.folder, operator.manifest(), used, now)


def set_to(operator, **settings):
    text = operator.folder.settings_file.read_text()
    lines = [line for line in text.splitlines() if line.partition(" = ")[0] not in settings]
    place = next(i for i, line in enumerate(lines) if line.startswith("["))
    lines[place:place] = [f"{name} = {value}" for name, value in settings.items()]
    operator.folder.settings_file.write_text("\n".join(lines) + "\n")


def test_due_by_age(published):
    found = age(published)
    assert abs(found.began - NOW) < timedelta(hours=1)
    assert found.due == found.began + 180 * DAY
    assert not found.is_due
    assert age(published, now=NOW + 179 * DAY).warnings(NOW + 179 * DAY) == []
    (said,) = age(published, now=NOW + 181 * DAY).warnings(NOW + 181 * DAY)
    assert said.startswith(f"the epoch of people began on {found.began:%Y-%m-%d} and has evaluated 0 points")
    assert "`server rotate`" in said
    assert reminders(published.folder, published.accounts, NOW + 181 * DAY) == [said]
    set_to(published, rotate_after_days=1)
    assert age(published, now=NOW + 2 * DAY).is_due


def test_due_by_points_of_this_epoch_and_audience(published):
    few = [EpochUse("people", 1, (1 << 36) - 1, 0), EpochUse("people", 2, 1 << 40, 0)]
    few += [EpochUse("business", 1, 1 << 40, 0)]
    assert not age(published, *few).is_due
    assert age(published, EpochUse("people", 1, 1 << 36, 0)).is_due
    set_to(published, rotate_after_points=5)
    assert age(published, EpochUse("people", 1, 5, 0)).is_due


def test_the_age_is_that_of_the_key_and_stays_when_files_are_copied(published):
    path = published.folder.keys / "voprf-people-1.json"
    path.touch()
    before = age(published).began
    os.utime(path, (1, 1))
    assert age(published).began == before
    path.unlink()
    assert (age(published).began, age(published).due, age(published).is_due) == (None, None, False)


def test_what_status_and_the_log_say_in_a_rotation(published, monkeypatch):
    def said(now=NOW):
        found = status(published.folder, published.registry, published.accounts, now)
        lines = [line for line in found.warnings if "of people" in line]
        logged = reminders(published.folder, published.accounts, now)
        assert logged in (lines, []), "the log knows nothing of seeds that are not served"
        return found.audiences[0], lines

    one, lines = said()
    assert (one.next_epoch, one.overlap_until, lines) == (None, None, [])
    assert one.rotation_due == one.began + 180 * DAY
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "announcing", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            order(published, Aim.ROTATE)
    (line,) = said()[1]
    assert line.startswith("a rotation of people was begun but not announced: `server rotate` continues it")
    order(published, Aim.ROTATE)
    one, lines = said()
    assert (one.next_epoch, lines) == (2, [])
    assert abs(one.overlap_until - NOW - DAY) < timedelta(hours=1)
    (line,) = said(NOW + 2 * DAY)[1]
    assert reminders(published.folder, published.accounts, NOW + 2 * DAY) == [line]
    assert line.endswith("publish, and epoch 2 begins")
    published.keyring.take_back("people", 2)
    assert said()[1] == ["the rotation of people is being taken back: `server publish` finishes that"]
    published.keyring.new_seed("people", 3)
    assert "`server publish --new-epoch` finishes it" in said()[1][0]


def test_a_missing_seed_of_the_announced_epoch_is_noticed(published):
    order(published, Aim.ROTATE)
    (published.folder.keys / "voprf-people-2.json").unlink()
    found = status(published.folder, published.registry, published.accounts, NOW)
    assert "keys/voprf-people-2.json is missing: restore it from a backup" in found.warnings


def test_points_are_those_that_were_charged(published):
    published.accounts.add("shop", "people", "cs_shop")
    account = published.accounts.find("cs_shop")
    quota = published.folder.settings().quotas["default"]
    published.accounts.charge([Charge(account.id, 8, b"batch", quota, epoch=1)])
    found = status(published.folder, published.registry, published.accounts, NOW)
    assert found.audiences[0].evaluated == 8
