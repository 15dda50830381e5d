"""The tree over rows is RFC 6962's, whatever its size, and a path leads nowhere but to its own node."""

import numpy as np
import pytest
import rfc6962

from contactsync.lookup.merkle import as_nodes, climb, parents, row_hash, with_paths

WHAT = b"CSROWS\x02\x0c\x20\x05"


def entries(count):
    return [WHAT + i.to_bytes(4, "little") + bytes([i % 251]) * 24 for i in range(count)]


def leaves(count):
    hashes = [row_hash(WHAT, i, bytes([i % 251]) * 24) for i in range(count)]
    return as_nodes(b"".join(hashes))


@pytest.mark.parametrize("height", [0, 1, 2, 6, 8])
def test_the_node_above_is_that_of_the_rfc(height):
    _, level = with_paths(leaves(1 << height), height)
    assert level.tobytes() == rfc6962.MTH(entries(1 << height))


def test_a_path_is_the_lower_part_of_the_rfc_s():
    paths, level = with_paths(leaves(64), 4)
    assert level.shape == (4, 32)
    for i in (0, 1, 17, 46, 63):
        whole = rfc6962.PATH(i, entries(64))
        assert paths[i].tobytes() == b"".join(whole[:4])
        assert climb(leaves(64)[i].tobytes(), i, b"".join(whole)) == rfc6962.MTH(entries(64))


@pytest.mark.parametrize("depth", [0, 1, 3, 6])
def test_every_path_leads_to_its_node(depth):
    below = leaves(64)
    paths, level = with_paths(below, depth)
    assert paths.shape == (64, 32 * depth)
    assert len(level) == 64 >> depth
    for i in range(64):
        assert climb(below[i].tobytes(), i, paths[i].tobytes()) == level[i >> depth].tobytes()
    if depth:
        assert climb(below[5].tobytes(), 6, paths[5].tobytes()) not in {node.tobytes() for node in level}
    assert with_paths(level, 6 - depth)[1].tobytes() == with_paths(below, 6)[1].tobytes()


def test_subtrees_can_be_made_one_after_the_other():
    """As the builder does, which never has all rows in memory."""
    below = leaves(64)
    whole_paths, whole_level = with_paths(below, 3)
    parts = [with_paths(below[first : first + 16], 3) for first in range(0, 64, 16)]
    assert np.array_equal(np.concatenate([paths for paths, _ in parts]), whole_paths)
    assert np.array_equal(np.concatenate([level for _, level in parts]), whole_level)


def test_no_leaf_passes_for_a_node():
    """A content cannot be two hashes of a level: leaves and nodes begin with other octets."""
    two = leaves(2).tobytes()
    assert parents(leaves(2)).tobytes() == rfc6962.MTH(entries(2))
    assert row_hash(two[:28], int.from_bytes(two[28:32], "little"), two[32:]) != parents(leaves(2)).tobytes()
