"""How books are read and whom of them is looked up, from the configuration, for `sync` and `contacts`."""

import json

import pytest
from click.testing import CliRunner
from simulated_carddav import PASSWORD, card, serving

from contactsync.commands import main

CARD = "BEGIN:VCARD\nVERSION:3.0\nFN:{}\nCATEGORIES:{}\nTEL:{}\nEND:VCARD\n"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    for variable in ("LC_ALL", "LC_TELEPHONE", "LANG", "CONTACTSYNC_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CONTACTSYNC_STATE", str(tmp_path / "state"))
    cards = CARD.format("Anna", "Family", "23125003") + CARD.format("Bert", "Work", "0176 04069001")
    (tmp_path / "berlin.vcf").write_text(cards)
    (tmp_path / "munich.vcf").write_text(CARD.format("Cleo", "Family", "23125003"))

    def contacts(config, *arguments):
        path = tmp_path / "config.toml"
        path.write_text(config)
        words = ["contacts", *map(str, arguments), "--config", str(path)]
        result = CliRunner().invoke(main, words)
        assert "Traceback" not in result.output
        return result

    contacts.folder = tmp_path
    return contacts


def people(result):
    assert result.exit_code == 0, result.output
    return {one["name"]: one["identifiers"] for one in json.loads(result.stdout)["contacts"]}


BOTH = '[source.berlin]\npath = "berlin.vcf"\n{}\n[source.munich]\npath = "munich.vcf"\n{}\n'


def test_without_a_file_the_sources_of_the_configuration_are_read(desk):
    found = people(desk('region = "DE"\narea_code = "030"\n' + BOTH.format("", ""), "--json"))
    assert found == {
        "Anna": ["tel:+493023125003"],
        "Bert": ["tel:+4917604069001"],
        "Cleo": ["tel:+493023125003"],
    }


def test_each_source_has_its_own_area_code_and_groups(desk):
    own = BOTH.format('area_code = "030"\ngroup = "family"', 'area_code = "089"')
    assert people(desk('region = "DE"\n' + own, "--json")) == {
        "Anna": ["tel:+493023125003"],
        "Cleo": ["tel:+498923125003"],
    }
    assert people(desk('region = "DE"\n' + own, "--json", "--area-code", "040", "--group", "Family")) == {
        "Anna": ["tel:+494023125003"],
        "Cleo": ["tel:+494023125003"],
    }, "the command line goes before"


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ('only = "people.txt"', {"Anna"}),
        ('exclude = ["people.txt"]', {"Bert", "Cleo"}),
        ('group = ["Work"]', {"Bert"}),
    ],
)
def test_whom_to_look_up_for_all_sources(desk, setting, left):
    (desk.folder / "people.txt").write_text("Anna\n")
    config = f'region = "DE"\narea_code = "030"\n{setting}\n' + BOTH.format("", "")
    assert set(people(desk(config, "--json"))) == left


def test_a_contact_in_two_sources_is_there_once(desk):
    own = BOTH.format('area_code = "030"', 'area_code = "089"')
    both = CARD.format("Bert", "Work", "0176 04069001")
    (desk.folder / "munich.vcf").write_text(both + CARD.format("Ohne", "", "kein"))
    result = desk('region = "DE"\n' + own, "--json")
    assert list(people(result)) == ["Anna", "Bert", "Ohne"]
    assert [one["place"] for one in json.loads(result.stdout)["unreadable"]] == ["card 2, line 11"]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("area_code = 30", "area_code"),
        ("group = []", "group"),
        ("only = [1]", "only"),
        ('[source.a]\npath = "berlin.vcf"\nexclude = ""', "[source.a] exclude"),
        ('[server.a]\nurl = "https://a.example"\nonly = "x"', "[server.a] only"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(desk, line, place):
    result = desk(line)
    assert result.exit_code == 3
    assert place in result.stderr


def test_without_file_and_configuration_it_says_what_to_do(desk):
    result = desk("")
    assert result.exit_code == 2
    assert "config init" in result.stderr


def test_an_account_is_read_as_a_sync_reads_it(desk):
    (desk.folder / "password").write_text(PASSWORD + "\n")
    (desk.folder / "password").chmod(0o600)
    with serving() as dav:
        dav.put("anna.vcf", card("Anna", "+491512345671"))
        config = f'[source.cloud]\nurl = "{dav.address}"\npassword_file = "password"\n'
        found = desk('region = "DE"\n' + config, "--json")
        assert people(found) == {"Anna": ["tel:+491512345671"]}
        given = desk("", dav.address, "--region", "DE", "--password-file", desk.folder / "password")
        assert given.exit_code == 0, given.output
        assert "nothing was sent, except to read the address books" in given.stdout
        assert "1 card, 0 fetched now" in given.stderr


def test_marking_with_several_area_codes_is_refused(desk):
    from contactsync.commands._books import BookAccess
    from contactsync.commands._configuration import load_settings
    from contactsync.commands._gathering import Gathering
    from contactsync.foundation.errors import BadInput

    path = desk.folder / "config.toml"
    path.write_text(BOTH.format('area_code = "030"', 'area_code = "089"'))

    class Nothing:
        configuration = load_settings(path)

        def says(self, _):
            return False

    options = {"sources": (), "region": "DE", "area_code": None, "groups": (), "only": (), "exclude": ()}
    with pytest.raises(BadInput, match="several area codes"):
        Gathering(Nothing(), BookAccess(), options).identifiers_of(b"")
