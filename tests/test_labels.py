"""Labels: which texts are one, how they are sealed, and what an entry says to whom."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siv_twin import open_by, openssl, seal_by

from contactsync import labels
from contactsync.foundation.errors import BadInput
from contactsync.kernels import policy
from contactsync.labels import SIZES, check_label, context, padded, seal, size_for, unseal

HERE = context("everyone", 3)


def keys_of(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)


# ---- which texts are a label ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "@ada:example.org",
        "xmpp:ada@example.org",
        "a b",
        "Ада",
        "愛",
        "👩‍🚀".replace("\u200d", ""),
        "x" * 64,
        "ä" * 32,
    ],
)
def test_a_label(text):
    assert check_label(text) == text.encode()


BAD = {
    "empty": ("", "is empty"),
    "65 octets": ("x" * 65, "has 65 octets, more than 64"),
    "33 characters of two octets": ("ä" * 33, "has 66 octets, more than 64"),
    "a space before": (" ada", "begins or ends with a space"),
    "a space after": ("ada ", "begins or ends with a space"),
    "a line feed": ("ada\n", "cannot be printed"),
    "an escape sequence": ("\x1b[31mada", "cannot be printed"),
    "a zero": ("ada\0", "cannot be printed"),
    "a C1 control": ("ada\x9b", "cannot be printed"),
    "half a surrogate pair": ("ada\ud83d", "cannot be printed"),
    "text that runs the other way": ("ada\u202e", "cannot be printed"),
    "a zero-width joiner": ("a\u200db", "cannot be printed"),
    "a line separator": ("a\u2028b", "cannot be printed"),
    "another space": ("a\u00a0b", "cannot be printed"),
    "for private use": ("a\ue000b", "cannot be printed"),
}


@pytest.mark.parametrize("name", BAD)
def test_no_label(name):
    text, reason = BAD[name]
    with pytest.raises(BadInput, match=reason) as raised:
        check_label(text)
    assert raised.value.hint
    assert raised.value.refusal == "bad-value"
    assert text not in str(raised.value) or not text, "an error does not quote what may be a person's name"


def test_what_is_not_yet_assigned_passes_in_every_version_of_unicode():
    assert check_label("a\U000e1000") == b"a\xf3\xa1\x80\x80"


def test_sizes():
    assert [size_for(n) for n in (0, 1, 16, 17, 32, 33, 48, 49, 64)] == [16, 16, 16, 32, 32, 48, 48, 64, 64]
    with pytest.raises(ValueError, match="65"):
        size_for(65)


# ---- context ----------------------------------------------------------------------------------------------


def test_a_context_is_of_one_audience_and_epoch():
    here = {context(audience, epoch) for audience in ("everyone", "contacts") for epoch in (1, 2, 256, 65536)}
    assert len(here) == 8
    assert all(len(c) == 16 for c in here)
    # The name ends with a zero, so that no name and number run into each other.
    assert context("a", 1) != context("a\0\x01", 0)


def test_the_context_as_the_protocol_says():
    import hashlib

    content = b"contactsync label 1" + b"\0" + b"everyone" + b"\0" + bytes([3, 0, 0, 0])
    assert hashlib.sha256(content).digest()[:16] == HERE


# ---- sealing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 3, 63, 64, 65, 1023, 1024, 1025, 3001])
def test_what_is_sealed_is_opened(size, count):
    keys, texts = keys_of(count), [b"x" * (i % (size + 1)) for i in range(count)]
    entries = seal(keys, texts, size, HERE, threads=2)
    assert entries.shape == (count, 16 + size)
    assert unseal(keys, entries, HERE) == texts


@pytest.mark.parametrize("by", [labels._seal_by_kernel, labels._seal_by_openssl])
@pytest.mark.parametrize("size", SIZES)
def test_both_ways_give_what_the_twin_gives(by, size):
    if by is labels._seal_by_kernel and not policy.has_aes():
        pytest.skip("this CPU has no AES instructions")
    keys, texts = keys_of(70), [bytes(range(1, 1 + i % (size + 1))) for i in range(70)]
    entries = np.empty((70, 16 + size), np.uint8)
    by(keys, texts, HERE, entries)
    expected = [
        seal_by(openssl, k.tobytes(), [HERE], t.ljust(size, b"\0")) for k, t in zip(keys, texts, strict=True)
    ]
    assert [entry.tobytes() for entry in entries] == expected


def test_which_way_does_not_show(monkeypatch):
    keys, texts = keys_of(500), [b"label %d" % i for i in range(500)]
    by_default = seal(keys, texts, 32, HERE)
    monkeypatch.setattr(policy, "has_aes", lambda: False)
    monkeypatch.setattr(labels, "_by_kernel", None)
    assert np.array_equal(by_default, seal(keys, texts, 32, HERE, threads=3))


def test_which_way_opened_does_not_show(monkeypatch):
    """Changed, foreign and misnamed entries among good ones, by the kernel and by OpenSSL."""
    keys = keys_of(500)
    texts = [b"\xff" if i % 5 == 0 else b"label %d" % i for i in range(500)]
    entries = seal(keys, texts, 32, HERE)
    entries[1::5, 0] ^= 1
    entries[2::5, 47] ^= 128
    entries[3::5] = seal(keys[3::5], texts[3::5], 32, context("others", 3))
    by_default = unseal(keys, entries, HERE)
    assert by_default == [texts[i] if i % 5 == 4 else None for i in range(500)]
    monkeypatch.setattr(policy, "has_aes", lambda: False)
    monkeypatch.setattr(labels, "_by_kernel", None)
    assert unseal(keys, entries, HERE) == by_default


@pytest.mark.parametrize(
    "lay", [lambda k: k[::-1], lambda k: np.hstack([k[:, :10], k])[:, 10:], np.asfortranarray]
)
def test_keys_may_lie_anyhow(lay):
    keys = lay(keys_of(200))
    texts = [b"label"] * 200
    expected = seal(np.ascontiguousarray(keys), texts, 16, HERE)
    assert np.array_equal(seal(keys, texts, 16, HERE), expected)
    keys.flags.writeable = False
    assert np.array_equal(seal(keys, texts, 16, HERE), expected)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["generic", "nehalem"])
def test_a_cpu_without_aes_seals_the_same(cpu, tmp_path):
    program = (
        "import numpy as np; from contactsync.kernels import policy; from contactsync.labels import seal; "
        "k = np.random.default_rng(1).integers(0, 256, (300, 32), np.uint8); "
        "print(policy.has_aes(), seal(k, [b'label'] * 300, 32, bytes(16)).tobytes().hex())"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "CONTACTSYNC_LANES": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    expected = seal(keys_of(300), [b"label"] * 300, 32, bytes(16)).tobytes().hex()
    assert done.stdout.split() == ["False", expected]


def test_wrong_shapes_are_refused():
    keys = keys_of(2)
    for bad in (
        (keys[:, :31], [b"", b""], 16, HERE),
        (keys.astype(np.uint16), [b"", b""], 16, HERE),
        (keys[0], [b""], 16, HERE),
        (keys, [b""], 16, HERE),
        (keys, [b"", b""], 17, HERE),
        (keys, [b"", b""], 16, HERE[:15]),
        (keys, [b"", b"x" * 17], 16, HERE),
        (keys, [b"", b"x\0y"], 16, HERE),
    ):
        with pytest.raises(ValueError, match=r"."):
            seal(*bad)
    for entries in (np.zeros((2, 47), np.uint8), np.zeros((1, 48), np.uint8), np.zeros((2, 48), np.uint16)):
        with pytest.raises(ValueError, match=r"."):
            unseal(keys, entries, HERE)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=48).map(lambda b: b.replace(b"\0", b"")), max_size=20))
def test_padding(texts):
    assert [row.tobytes() for row in padded(texts, 48)] == [text.ljust(48, b"\0") for text in texts]


# ---- what an entry says -----------------------------------------------------------------------------------


def test_who_has_no_label_does_not_show():
    keys = keys_of(2000)
    entries = seal(keys, [b""] * 1000 + [b"label"] * 1000, 16, HERE)
    assert len({entry.tobytes() for entry in entries}) == 2000
    # Octets of both are uniform: 2 * 32,000 of them, each value within six deviations of a 256th.
    for part in (entries[:1000], entries[1000:]):
        counts = np.bincount(part.reshape(-1), minlength=256)
        assert abs(counts - part.size / 256).max() < 6 * (part.size / 256) ** 0.5


def test_the_same_label_has_the_same_entry_and_another_has_none_in_common():
    key = keys_of(1)
    first, again, other = (seal(key, [text], 32, HERE)[0] for text in (b"ada", b"ada", b"adb"))
    assert np.array_equal(first, again)
    assert (first == other).sum() < 8


def test_nobody_else_opens_it():
    keys = keys_of(4)
    entries = seal(keys, [b"ada"] * 4, 32, HERE)
    assert unseal(keys[::-1], entries, HERE) == [None] * 4
    assert unseal(keys, entries, context("everyone", 4)) == [None] * 4
    assert unseal(keys, entries, context("contacts", 3)) == [None] * 4


@pytest.mark.parametrize("octet", range(48))
def test_no_changed_entry_opens(octet):
    key = keys_of(1)
    entry = seal(key, [b"ada"], 32, HERE)
    entry[0, octet] ^= 1 << (octet % 8)
    assert unseal(key, entry, HERE) == [None]
    many = np.repeat(entry, 100, axis=0)  # so many that the kernel opens them
    assert unseal(np.repeat(key, 100, axis=0), many, HERE) == [None] * 100
    assert open_by(openssl, key[0].tobytes(), [HERE], entry[0].tobytes()) is None


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"ada\x1b[2J", b"a\0b", b" ada", b"ada ", b"\n", "a\u202eb".encode(), b"\0a", b"\xed\xa0\xbd"],
)
def test_what_opens_and_is_no_label_is_none(text):
    """A publisher can seal anything; what a terminal must not get does not reach it."""
    key = keys_of(1)
    entry = seal_by(openssl, key[0].tobytes(), [HERE], text.ljust(16, b"\0"))
    assert unseal(key, np.frombuffer(entry, np.uint8).reshape(1, -1), HERE) == [None]


def test_entries_of_two_sizes_do_not_open_as_each_other():
    key = keys_of(1)
    entry = seal(key, [b"ada"], 32, HERE)
    assert unseal(key, entry[:, :32], HERE) == [None]
