"""The table of privacy modes: all that is said of them follows from it, and a third one is a new file."""

import sys
from types import ModuleType

import pytest
from click.testing import CliRunner

from contactsync.client import privacy
from contactsync.client.core.matching import match_partition
from contactsync.client.core.mode import FetchFiles, Settled
from contactsync.client.core.plan import PartitionPlan, whole_base
from contactsync.client.privacy import MODES, load_modes

ANNA, BODO = "+491512345671", "+491512345672"


def test_every_mode_of_the_table_is_a_file_that_offers_what_is_needed():
    modes = load_modes()
    assert list(modes) == list(MODES)
    assert [mode.name for mode in modes.values()] == list(MODES)
    assert modes["download"].tells == ""
    for mode in modes.values():
        assert set(mode.tells_more_than) <= set(MODES)
        assert bool(mode.tells) == bool(mode.tells_more_than)
        assert mode.sentence([]) == []


def test_help_names_every_mode():
    from contactsync.commands.sync import sync

    text = " ".join(CliRunner().invoke(sync, ["--help"]).output.split()).replace("two- ", "two-")
    for name, summary in MODES.items():
        assert f"{name}: {summary}." in text


class LateMode:
    """Fetches nothing before it has to look somebody up; then everything, and says so."""

    name = "late"
    tells = "that somebody is new"
    tells_more_than = ("download",)
    asks = True
    of_table = False

    def plan(self, partition, holdings, *, wanted, buckets):
        whole = whole_base(partition)
        return PartitionPlan(partition, "base", (), whole.holding, partition.base.length if wanted else 0)

    def settle(self, plan, subject, files, memory, allowance):
        yield FetchFiles(plan.partition, (plan.partition.base,), plan.partition.name)
        return Settled(match_partition(files, plan, subject).sure, plan)

    def sentence(self, told):
        return [f"looked late at {', '.join(told)}"] if told else []


@pytest.mark.slow
def test_a_third_mode_is_a_new_file(service, person, monkeypatch):
    """A line in the table and a module beside the others: no other part of the client knows of it."""
    module = ModuleType(f"{privacy.__name__}.late")
    module.MODE = LateMode()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(MODES, "late", "fetch nothing before it is needed")
    service.publish(ANNA, "+447911123456")
    report = person.sync(ANNA, BODO, privacy="late")
    assert [match.identifier for match in report.matches] == [f"tel:{ANNA}"]
    assert "looked late at 49" in report.leak
    assert len(service.asked("/data/")) == 1
    assert report.downloaded == service.manifest.partitions["49"].base.length
