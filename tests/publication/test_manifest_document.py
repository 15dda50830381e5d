"""docs/http-api.md, "The manifest": its example is one that the code accepts, and says what it says."""

import json
import re
from pathlib import Path

import pytest

from contactsync.directory import slot_bits_for
from contactsync.foundation.errors import BadReply
from contactsync.publication import canonical
from contactsync.publication.manifest import Manifest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http-api.md").read_text()
SECTION = PAGE.partition("\n## The manifest\n")[2].partition("\n## ")[0]
EXAMPLE = json.loads(re.search(r"```json\n(.*?)```", SECTION, re.DOTALL)[1])


def test_the_example_is_a_manifest() -> None:
    data = canonical.encode(EXAMPLE)
    manifest = Manifest.from_bytes(data)
    assert manifest.to_bytes() == data
    assert f"{len(data)} octets" in SECTION
    assert manifest.is_understood
    german = manifest.partitions["49"]
    assert german.slot_bits == slot_bits_for(german.count)  # what our builder takes
    # A directory takes at most r + 2.7 bits a token (directory-format.md), the screen 9.58.
    assert german.remainder_bits < german.directory.bits_per_token < german.remainder_bits + 2.7
    assert german.screen.length * 8 / german.count == pytest.approx(9.59, abs=0.01)


def test_the_example_is_as_tight_as_it_looks() -> None:
    """Each figure that the document once got wrong is one that is refused."""
    for member, value in (("slot_bits", 19), ("false_positive_rate", "3.61e-11"), ("count", 82_000)):
        tree = json.loads(json.dumps(EXAMPLE))
        tree["partitions"]["49"][member] = value
        with pytest.raises(BadReply):
            Manifest.from_bytes(canonical.encode(tree))


def test_limits_in_the_text() -> None:
    stated = re.search(
        r"at most (\d+) such members.*?at most (\d+) levels.*?at most (\d+) members in each",
        SECTION,
        re.DOTALL,
    )
    members, levels, within = map(int, stated.groups())
    assert (members, levels, within) == (canonical.MAX_MEMBERS, canonical.MAX_DEPTH, canonical.MAX_MEMBERS)
