"""The configuration file: every fault names the file, the table and the key, and says what to do."""

import json
import re

import pytest
from click.testing import CliRunner

from contactsync.commands import main
from contactsync.commands._configuration import load
from contactsync.commands.config import TEMPLATE
from contactsync.commands.sync import sync
from contactsync.foundation.errors import BadInput


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "config.toml"

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, sync.params)

    return write


SERVER = '[server.work]\nurl = "https://contacts.example"\n'


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ('regoin = "DE"', "regoin: there is no such key", "did you mean region?"),
        ("region = 49", "region: this must be text", "config init"),
        ('region = "UK"', "region: ", "GB"),
        ('keep_results = "no"', "keep_results: this must be true or false", ""),
        ('privacy = "none"', "privacy: 'none' is not one of 'download', 'two-server', 'screen'", "--privacy"),
        ('max_download = "much"', "max_download: 'much' is not a size", "--max-download"),
        ("cover = 3", "cover: ", "--cover"),
        ("timeout = true", "timeout: not a value", "--timeout"),
        ('buckets = "5000"', "buckets: ", "--buckets"),
        ("server = 3", "server: this must be a table", ""),
        ('server.work = "x"', "server: 'work' is not a table", "[server.NAME]"),
        ('[server."a b"]\nurl = "https://x"', "server: a table has an unusable name", "letters"),
        ("[server.work]", "[server.work] url: missing", "https://"),
        ('[server.work]\nurl = "ftp://x"', "[server.work] url: ", "https://"),
        (
            SERVER + 'credental_file = "x"',
            "[server.work] credental_file: there is no such key",
            "credential_file",
        ),
        (
            SERVER + 'credential_file = "x"\ncredential_command = "y"',
            "[server.work] credential_command: it cannot be combined with credential_file",
            "one",
        ),
        (SERVER + "credential_command = []", "[server.work] credential_command: this must be a command", ""),
        (SERVER + 'credential_command = "a \'b"', "[server.work] credential_command: a quotation mark", ""),
        (SERVER + 'privacy = "x"', "[server.work] privacy: ", "--privacy"),
        ("[source.book]", "[source.book] path: exactly one of path and url", ""),
        ('[source.book]\npath = "x"\nauth = "basic"', "[source.book] auth: a file needs no such key", "url"),
        ('[source.dav]\nurl = "ftp://x"', "[source.dav] url: not the address of an account", "carddav://"),
        ('[source.dav]\nurl = "carddav://x"\nauth = "pw"', "[source.dav] auth: unknown", "basic"),
        (
            '[source.dav]\nurl = "carddav://x"\npassword_file = "x"\npassword_command = "y"',
            "[source.dav] password_command: it cannot be combined",
            "one",
        ),
        ("region = DE", "invalid value, at line 1, column 10", "quotation marks"),
        (b'region = "\xff"', "not UTF-8", ""),
        ("a = " + "[" * 5000, "", ""),
        ("#" * (2 << 20), "too large", ""),
    ],
)
def test_a_fault_names_its_place_and_a_way_out(written, tmp_path, text, place, hint):
    with pytest.raises(BadInput) as caught:
        written(text)
    assert str(tmp_path / "config.toml") in str(caught.value)
    assert place in str(caught.value)
    assert hint in caught.value.hint


def test_what_is_not_there_is_an_error_only_if_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert not load(None).exists
    with pytest.raises(BadInput, match="there is no configuration file"):
        load(tmp_path / "missing.toml")
    (tmp_path / "contactsync").mkdir()
    (tmp_path / "contactsync" / "config.toml").write_text('region = "FR"')
    assert load(None, sync.params).region == "FR"


def test_values_are_those_of_the_options_and_paths_begin_where_the_file_is(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    found = written(
        'timeout = "5m"\nmax_download = "20M"\ncover = false\nbuckets = 128\n'
        '[source.a]\npath = "books/a.vcf"\n[source.b]\npath = "~/b"\n'
        + SERVER + 'ca_file = "ca.pem"\naudience = "business"\ncredential_command = "pass show x"\n'
    )  # fmt: skip
    assert found.settings == {"timeout": 300.0, "max_download": 20_000_000, "cover": False, "buckets": 128}
    assert [one.address for one in found.sources.values()] == [f"{tmp_path}/books/a.vcf", "/home/somebody/b"]
    server = found.servers["work"]
    assert (server.ca_file, server.settings) == (tmp_path / "ca.pem", {"audience": "business"})
    assert server.credential.words == ("pass", "show", "x")


def test_the_template_is_valid_as_it_is_and_with_every_line_switched_on(written):
    text = TEMPLATE.read_text()
    assert written(text).servers == {}
    switched_on = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)
    for one in ("credential_command", "credential_keyring"):
        switched_on = re.sub(rf"^{one}.*$", "", switched_on, flags=re.MULTILINE)
    found = written(switched_on)
    choices = {"area_code", "groups", "only", "exclude"}
    settings = {"privacy", "partitions", "max_download", "labels", "label_template", "timeout", "proxy"}
    assert set(found.settings) == settings | choices
    assert list(found.servers) == ["example"]
    assert list(found.sources) == ["phone", "cloud"]
    assert found.sources["cloud"].access == {"password_command": "pass show cloud"}


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_init_writes_a_private_file_and_overwrites_nothing(tmp_path):
    path = tmp_path / "new" / "config.toml"
    assert run("config", "init", "--config", path).exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == TEMPLATE.read_bytes()
    path.write_text("mine")
    assert run("config", "init", "--config", path).exit_code == 3
    assert path.read_text() == "mine"


def test_show_says_what_applies_and_no_password(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        'proxy = "http://me:secret@proxy:3128"\n' + SERVER + 'credential_command = "pass show x"\n'
    )
    for form in ((), ("--json",)):
        result = run("config", "show", "--config", path, *form)
        assert result.exit_code == 0
        assert "secret" not in result.stdout
        assert "http://proxy:3128" in result.stdout
        assert "command pass" in result.stdout
    assert json.loads(result.stdout)["servers"][0]["url"] == "https://contacts.example"


def test_check_lists_what_is_missing_by_table_and_key(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[source.book]\npath = "no.vcf"\n'
        + SERVER
        + 'credential_file = "no"\nca_file = "no.pem"\nproxy = "x"\n'
    )
    result = run("config", "check", "--config", path, "--state", tmp_path / "state")
    assert result.exit_code == 3
    heads = [line.split(": ")[0] for line in result.stdout.splitlines()]
    assert heads == [
        "[source.book] path",
        *(f"[server.work] {key}" for key in ("url", "ca_file", "proxy", "credential_file")),
    ]
    value = json.loads(run("config", "check", "--config", path, "--state", tmp_path, "--json").stdout)
    assert [one["where"] for one in value["problems"]] == heads


def test_check_is_content_with_what_works(configured):
    result = configured.run("config", "check")
    assert (result.exit_code, "nothing is missing" in result.stdout) == (0, True)
    assert configured.work.requests == []


def test_without_a_file_and_without_a_book_the_command_line_is_wrong(tmp_path):
    result = run("sync", "--state", tmp_path)
    assert (result.exit_code, "config init" in result.stderr) == (2, True)
