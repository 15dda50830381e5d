"""`server publish` where a partition keeps its base: what it says, and how the base is written on request."""

import re

import pytest
from click.testing import CliRunner
from json_checks import check

from contactsync.commands import main


@pytest.fixture
def data(tmp_path):
    path, numbers = tmp_path / "server", tmp_path / "numbers.txt"
    run(path, "init")
    settings = path / "server.toml"
    settings.write_text(settings.read_text().replace("patched_from = 131072", "patched_from = 1000"))
    numbers.write_text("".join(f"+49151{number:07}\n" for number in range(3000)))
    run(path, "members", "import", str(numbers))
    run(path, "publish")
    return path


def run(data, *words, code=0):
    done = CliRunner().invoke(main, ["server", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done.output


def test_a_publish_says_what_a_patch_takes(data):
    run(data, "members", "remove", "+491510000000")
    said = run(data, "publish")
    found = re.search(r"49: 2,999 members \(-1\); base ([\d,]+), patches (\d+) bytes\n", said)
    assert found, said
    length = int(found[2])
    assert 168 < length < 300
    assert f"clients download {length} bytes ({int(found[1].replace(',', '')) + length:,} without" in said
    run(data, "members", "remove", "+491510000001")
    told = check("server-publish", run(data, "publish", "--json"))
    (change,) = told["audiences"][0]["changes"]
    assert (change["members"], change["delta"], change["update"]) == (2998, 0, change["patches"])
    assert "unchanged" in run(data, "publish")


def test_bases_are_written_on_request(data):
    run(data, "members", "remove", "+491510000000")
    run(data, "publish")
    said = run(data, "publish", "--rewrite")
    assert re.search(r"49: 2,999 members \(\+0\); base [\d,]+, delta \d+ bytes\n", said), said
    assert "unchanged" in run(data, "publish", "--rewrite")
    assert "patches" not in run(data, "publish", "--json").replace('"patches": 0', "")


@pytest.mark.parametrize("other", [["--new-epoch"], ["--editions", "2"], ["--every", "1h"]])
def test_it_goes_with_no_other_order(data, other):
    assert "--rewrite goes with none of" in run(data, "publish", "--rewrite", *other, code=2)


def test_the_setting_says_what_it_does(data):
    text = (data / "server.toml").read_text()
    assert "# Partitions of so many members keep their base" in text
    (data / "server.toml").write_text(text.replace("patched_from = 1000", "patched_from = -1"))
    assert "patched_from must be 0 to" in run(data, "publish", code=3)
