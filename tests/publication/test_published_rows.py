"""The member `rows` of a manifest: what is read, what is refused, and what other programs make of it."""

import json
from dataclasses import replace

import manifest_twin as twin
import pytest

from contactsync.foundation.errors import BadReply
from contactsync.publication.manifest import DataFile, Manifest, PublishedRows

PARTITIONS = {
    "1": twin.honest_partition("1", 3_000_000),  # 2^22 slots: 65,536 rows
    "44": twin.honest_partition("44", 1_000),  # 2^12 slots: 64 rows
    "49": twin.honest_partition("49", 3_000_000, of="other "),
}
LEVEL = "ab" * 32


def stated(partitions=PARTITIONS, **members):
    rows = {"level": {"length": 131_094, "sha256": LEVEL, "xxh3_64": "cd" * 8}, "most": 120}
    return twin.honest(partitions, rows=rows | members)


def read(tree):
    return Manifest.from_bytes(twin.canonical(tree))


def refusal(tree):
    with pytest.raises(BadReply, match="the manifest") as raised:
        read(tree)
    assert raised.value.hint
    assert not twin.acceptable(twin.canonical(tree))
    return raised.value.refusal


def test_round_trip() -> None:
    manifest = read(stated())
    assert manifest.rows == PublishedRows(DataFile(LEVEL, 131_094, "cd" * 8), 120)
    assert manifest.rows.root == bytes.fromhex(LEVEL)
    assert manifest.to_bytes() == twin.canonical(stated())
    assert manifest.files()[LEVEL] == manifest.rows.level
    assert manifest.is_understood
    assert manifest != replace(manifest, rows=None)
    assert LEVEL not in replace(manifest, rows=None).files()


def test_the_table_has_the_largest_partitions_first() -> None:
    manifest = read(stated())
    table = manifest.rows.table(manifest.partitions)
    assert dict(table.first) == {"1": 0, "49": 65_536, "44": 131_072}
    assert (table.total, table.row_bits, table.level_bytes) == (131_136, 18, 22 + 131_072)


def test_a_manifest_without_rows_is_as_before() -> None:
    tree = twin.honest(PARTITIONS)
    manifest = read(tree)
    assert manifest.rows is None
    assert manifest.to_bytes() == twin.canonical(tree)
    assert b"rows" not in manifest.to_bytes()


@pytest.mark.parametrize("most", [-1, 256, 1.0, True, None, "120", [120]], ids=repr)
def test_a_most_that_no_row_has(most) -> None:
    assert refusal(stated(most=most)) in {"bad-value", "not-json"}


def test_a_most_that_such_partitions_cannot_have() -> None:
    """At least one row has the mean or more, and none has more than there are."""
    least, _ = twin.rows_bounds(PARTITIONS)
    assert read(stated(most=least)).rows.most == least
    assert read(stated(most=255)).rows.most == 255
    assert refusal(stated(most=least - 1)) == "out-of-range"
    few = {"49": twin.honest_partition("49", 30)}
    level = {"length": 15 + 64 * 32, "sha256": LEVEL, "xxh3_64": "cd" * 8}
    assert read(stated(few, most=30, level=level)).rows.most == 30
    assert refusal(stated(few, most=31, level=level)) == "out-of-range"


@pytest.mark.parametrize("length", [32, 131_062, 131_072, 131_126, 65_558, 262_166])
def test_a_level_of_another_length(length) -> None:
    level = {"length": length, "sha256": LEVEL, "xxh3_64": "cd" * 8}
    assert refusal(stated(level=level)) == "out-of-range"


@pytest.mark.parametrize(
    ("member", "value"),
    [("length", 0), ("length", "131072"), ("sha256", "AB" * 32), ("sha256", "../x"), ("xxh3_64", "cd")],
)
def test_a_level_that_is_no_file(member, value) -> None:
    level = {"length": 131_094, "sha256": LEVEL, "xxh3_64": "cd" * 8, member: value}
    assert refusal(stated(level=level)) == "bad-value"


def test_other_members_than_these() -> None:
    """Nothing is added in there: what a newer program adds goes beside it."""
    assert refusal(stated(surplus=1)) == "wrong-members"
    for missing in ("level", "most"):
        tree = stated()
        del tree["rows"][missing]
        assert refusal(tree) == "wrong-members"
    for value in (None, [], 1, "rows"):
        assert refusal(twin.honest(PARTITIONS, rows=value)) == "wrong-members"


def test_partitions_that_have_no_table() -> None:
    assert refusal(stated({})) == "out-of-range"
    mixed = PARTITIONS | {"44": twin.honest_partition("44", 1_000, 40)}
    assert refusal(stated(mixed)) == "out-of-range"


def test_the_level_is_no_other_file_at_the_same_time() -> None:
    level = PARTITIONS["49"]["base"] | {"length": 131_094}
    assert refusal(stated(level=level)) == "malformed"


def test_rows_beside_a_partition_that_this_program_cannot_use() -> None:
    """Where the rows of the others stand is not known then; the member is kept, and nothing is refused."""
    for rows in (stated()["rows"], {"any": "thing"}):
        for alien in ({"mailto": {"a": 1}}, {"44": {"critical": ["cards"], "cards": 1}}):
            tree = twin.honest(PARTITIONS, rows=rows) | {"partitions": PARTITIONS | alien}
            manifest = read(tree)
            assert manifest.rows is None
            assert manifest.extra == {"rows": rows}
            assert manifest.to_bytes() == twin.canonical(tree)
            assert LEVEL not in manifest.files()
            assert not manifest.is_understood


def test_rows_are_never_critical() -> None:
    """Who does not know them finds the same members without them."""
    assert refusal(stated() | {"critical": ["rows"]}) == "unknown-critical"


def test_an_earlier_program_takes_it() -> None:
    assert twin.acceptable(twin.canonical(stated()), knows_rows=False)


def test_the_next_epoch_has_no_rows() -> None:
    tree = stated() | {"next": twin.honest_next(PARTITIONS, 1)}
    manifest = read(tree)
    assert manifest.rows is not None
    assert manifest.ahead().rows is None
    listed = tree | {"next": tree["next"] | {"rows": tree["rows"]}}
    with pytest.raises(BadReply) as raised:
        read(listed)
    assert raised.value.refusal == "wrong-members"


def test_members_come_in_one_order_only() -> None:
    data = twin.canonical(stated())
    turned = json.loads(data)
    turned["rows"] = dict(reversed(turned["rows"].items()))
    with pytest.raises(BadReply, match="canonical"):
        Manifest.from_bytes(json.dumps(dict(sorted(turned.items())), separators=(",", ":")).encode())


LABELLED = {
    name: one | {"labels": twin.honest_labels(name, one["count"], 32, edition=one["edition"], editions=1)}
    for name, one in PARTITIONS.items()
}
LABELLED["44"] = PARTITIONS["44"]


def with_labels(partitions=LABELLED, **members):
    level = {"length": 131_097, "sha256": LEVEL, "xxh3_64": "cd" * 8}
    return twin.honest(partitions, labelled_rows={"level": level, "most": 120} | members)


def test_rows_with_labels() -> None:
    tree = with_labels()
    manifest = read(tree)
    assert manifest.rows == PublishedRows(DataFile(LEVEL, 131_097, "cd" * 8), 120, labelled=True)
    assert manifest.to_bytes() == twin.canonical(tree)
    assert twin.acceptable(twin.canonical(tree))
    assert twin.acceptable(twin.canonical(tree), knows_rows=False)
    table = manifest.rows.table(manifest.partitions)
    assert dict(table.entry_bytes) == {"1": 48, "49": 48}
    assert table.shape.entry_bytes == 48


def test_rows_without_labels_beside_partitions_that_have_some() -> None:
    """As an earlier program published them."""
    manifest = read(stated(LABELLED))
    assert manifest.rows is not None
    assert not manifest.rows.labelled
    assert manifest.rows.table(manifest.partitions).shape.entry_bytes == 0


def test_rows_with_labels_of_partitions_without_any() -> None:
    assert refusal(with_labels(PARTITIONS)) == "malformed"


def test_rows_are_stated_once() -> None:
    both = with_labels() | {"rows": stated()["rows"]}
    assert refusal(both) == "malformed"
    # Who cannot use a partition ignores both, as each alone.
    tree = both | {"partitions": LABELLED | {"mailto": {"a": 1}}}
    assert read(tree).rows is None
    assert twin.acceptable(twin.canonical(tree))


def test_a_level_of_the_other_kind_of_rows() -> None:
    level = {"length": 131_094, "sha256": LEVEL, "xxh3_64": "cd" * 8}
    assert refusal(with_labels(level=level)) == "out-of-range"
    level["length"] = 131_097
    assert refusal(stated(LABELLED, level=level)) == "out-of-range"


def test_labelled_rows_beside_a_partition_that_this_program_cannot_use() -> None:
    tree = with_labels() | {"partitions": LABELLED | {"mailto": {"a": 1}}}
    manifest = read(tree)
    assert manifest.rows is None
    assert manifest.extra == {"labelled_rows": tree["labelled_rows"]}
    assert manifest.to_bytes() == twin.canonical(tree)


def in_blocks(partitions=PARTITIONS, **members):
    level = {"length": 131_098, "sha256": LEVEL, "xxh3_64": "cd" * 8}
    rows = {"fold": 3, "labels": False, "level": level, "most": 120}
    return twin.honest(partitions, folded_rows=rows | members)


@pytest.mark.parametrize("labels", [False, True])
def test_rows_in_blocks(labels) -> None:
    tree = in_blocks(LABELLED, labels=labels)
    manifest = read(tree)
    assert manifest.rows == PublishedRows(DataFile(LEVEL, 131_098, "cd" * 8), 120, labels, 3)
    assert manifest.to_bytes() == twin.canonical(tree)
    assert twin.acceptable(twin.canonical(tree))
    assert twin.acceptable(twin.canonical(tree), knows_rows=False)
    table = manifest.rows.table(manifest.partitions)
    assert (table.fold_bits, table.depth, table.shape.content_bytes % 32) == (3, 6, 0)
    assert table.shape.entry_bytes == 48 * labels
    assert manifest.files()[LEVEL] == manifest.rows.level


@pytest.mark.parametrize("fold", [-1, 0, 7, 1.0, True, None, "3", [3]], ids=repr)
def test_blocks_that_there_are_not(fold) -> None:
    assert refusal(in_blocks(fold=fold)) in {"bad-value", "not-json"}
    assert read(in_blocks(fold=6)).rows.fold_bits == 6


def test_blocks_that_are_larger_than_a_subtree() -> None:
    """2^13 rows: the path of each has one hash."""
    few = {"1": twin.honest_partition("1", 500_000)}
    level = {"length": 16 + 131_072, "sha256": LEVEL, "xxh3_64": "cd" * 8}
    manifest = read(in_blocks(few, fold=1, level=level))
    assert manifest.rows.table(manifest.partitions).depth == 1
    assert refusal(in_blocks(few, fold=2, level=level)) == "out-of-range"


@pytest.mark.parametrize("labels", [None, 0, 1, "no", []], ids=repr)
def test_labels_that_are_neither_there_nor_not(labels) -> None:
    assert refusal(in_blocks(LABELLED, labels=labels)) == "malformed"


def test_labels_in_blocks_of_partitions_without_any() -> None:
    assert refusal(in_blocks(labels=True)) == "malformed"


def test_other_members_of_blocks() -> None:
    assert refusal(in_blocks(surplus=1)) == "wrong-members"
    for missing in ("fold", "labels", "level", "most"):
        tree = in_blocks()
        del tree["folded_rows"][missing]
        assert refusal(tree) == "wrong-members"
    assert refusal(in_blocks() | {"rows": stated()["rows"]}) == "malformed"
    assert refusal(in_blocks(LABELLED) | {"labelled_rows": with_labels()["labelled_rows"]}) == "malformed"
    for length in (131_094, 131_097, 131_099):
        level = {"length": length, "sha256": LEVEL, "xxh3_64": "cd" * 8}
        assert refusal(in_blocks(level=level)) == "out-of-range"


def test_blocks_beside_a_partition_that_this_program_cannot_use() -> None:
    tree = in_blocks() | {"partitions": PARTITIONS | {"mailto": {"a": 1}}}
    manifest = read(tree)
    assert manifest.rows is None
    assert manifest.extra == {"folded_rows": tree["folded_rows"]}
    assert manifest.to_bytes() == twin.canonical(tree)
