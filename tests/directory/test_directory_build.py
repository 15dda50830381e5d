"""The builder: bounded memory, the same bytes however it is fed, and nothing half-made after a kill."""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from contactsync.directory import build, match, open_directory
from contactsync.directory.bounds import base_problem
from contactsync.directory.format import Layout, bucket_bytes, slot_bits_for
from contactsync.foundation.errors import BadInput, OurError
from contactsync.tokens import Tokens


def random_tokens(count: int, seed: int = 1) -> Tokens:
    return Tokens.from_bytes(np.random.default_rng(seed).integers(0, 256, (count, 10), dtype=np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("remainder_bits", [32, 40])
def test_same_bytes_on_disk_and_in_memory(tmp_path, remainder_bits: int) -> None:
    """A megabyte of memory for 12 of codes: runs on disk. Order, chunks and repeats do not matter."""
    tokens = random_tokens(1_500_000)
    one = build(tmp_path / "one", [tokens], remainder_bits=remainder_bits)
    order = np.random.default_rng(3).permutation(len(tokens))
    shuffled = tokens.take(order)
    sizes = [1, 5000, 300_000, 0, 77, 999_999, 400_000]
    edges = np.minimum(np.cumsum([0, *sizes]), len(tokens))
    chunks = [shuffled.take(slice(a, b)) for a, b in itertools.pairwise(edges)]
    chunks.append(tokens.take(slice(1000, 90_000)))
    assert build(tmp_path / "two", chunks, remainder_bits=remainder_bits, memory=1 << 20) == one
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def coinciding(count: int, slot_bits: int, pairs: int, remainder_bits: int) -> Tokens:
    """That many tokens, of which so many pairs agree in slot and remainder bits, and differ behind them."""
    rows = random_tokens(count - pairs).to_bytes()
    behind = 79 - slot_bits - remainder_bits  # the bits after the first that is not of the value
    others = [((int.from_bytes(row.tobytes()) >> behind ^ 1) << behind).to_bytes(10) for row in rows[:pairs]]
    extra = np.frombuffer(b"".join(others), np.uint8).reshape(-1, 10)
    return Tokens.from_bytes(np.concatenate([rows, extra]))


@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize(
    ("count", "pairs", "found"),
    [
        (5793, 0, (13, 5793)),
        (5793, 1, (12, 5792)),  # 13 slot bits for the tokens, 12 for the values that they make
        (5794, 1, (13, 5793)),
        (11_586, 20, (13, 11_566)),
    ],
)
def test_slot_bits_are_those_of_the_values(tmp_path, count, pairs, found, remainder_bits) -> None:
    """Two tokens that are one value are counted once, and the manifest's rule holds for what was counted."""
    tokens = coinciding(count, slot_bits_for(count), pairs, remainder_bits)
    info = build(tmp_path / "d", [tokens], remainder_bits=remainder_bits)
    assert (info.slot_bits, info.count) == found
    assert base_problem(info) is None
    with open_directory(tmp_path / "d", expect=info) as directory:
        assert match(tokens, directory).all()
        assert sum(map(len, directory.values())) == info.count
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("remainder_bits", [32, 40])
@pytest.mark.parametrize("count", [0, 1, 5, 63, 64, 65, 1000, 5792, 5793, 40_000, 200_000])
def test_lengths_are_within_their_bounds(tmp_path, count: int, remainder_bits: int) -> None:
    info = build(tmp_path / "d", [random_tokens(count)], remainder_bits=remainder_bits)
    lengths = info.layout.lengths
    assert info.file.length in lengths
    if info.layout.buckets == 1:
        assert len(lengths) == 1
    if info.layout.buckets >= 8:
        # Near the middle, as each bucket is filled up by chance; and the bounds differ by little.
        assert 0.2 < (info.file.length - lengths[0]) / (lengths[-1] - lengths[0]) < 0.8
        assert lengths[-1] - lengths[0] < 0.0011 * info.file.length


@pytest.mark.parametrize("width", [32, 40])
def test_the_least_and_the_most_are_lengths_of_real_files(tmp_path, width: int) -> None:
    """Two buckets: both filled up as little as may be, and as much."""
    for counts, place in (((64, 128), 0), ((65, 129), -1)):
        sizes = [bucket_bytes(count, width) for count in counts]
        layout = Layout(sum(counts), 13, width, 0)
        if width == 32 or place == 0:
            assert layout.data_offset + sum(sizes) == layout.lengths[place]
        assert layout.data_offset + sum(sizes) in layout.lengths


@pytest.mark.slow
def test_without_kernels_the_same(tmp_path) -> None:
    """A process that never loads Numba writes the same bytes."""
    script = """
import sys, numpy as np
from contactsync.directory import build
from contactsync.tokens import Tokens
rows = np.random.default_rng(1).integers(0, 256, (60_000, 10), dtype=np.uint8)
info = build(sys.argv[1], [Tokens.from_bytes(rows)], remainder_bits=40)
assert "numba" not in sys.modules
print(info.file.sha256)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "there"], capture_output=True, text=True, check=True
    )
    import contactsync.kernels.elias_fano  # noqa: F401 - from here on, kernels pay at once

    # 1.2 million tokens, of which 60,000 stay: enough to sort by kernels.
    tokens = random_tokens(60_000)
    info = build(tmp_path / "here", [tokens] * 20, remainder_bits=40)
    assert info.file.sha256 == done.stdout.strip()


MEASURE = """
import sys
from pathlib import Path
import numpy as np
import contactsync.kernels.sorting, contactsync.kernels.elias_fano
from contactsync.directory import build
from contactsync.tokens import Tokens

def chunks(count):
    rng = np.random.default_rng(1)
    for _ in range(count // 50_000):
        yield Tokens(rng.integers(0, 2**64, 50_000, dtype=np.uint64), np.zeros(50_000, np.uint16))

def peak():
    # Not ru_maxrss: that starts with what the parent had at the time of the fork.
    return next(int(l.split()[1]) for l in Path("/proc/self/status").open() if l.startswith("VmHWM"))

build(sys.argv[1], chunks(1_000_000), memory=4 << 20)
before = peak()
build(sys.argv[1], chunks(8_000_000), memory=4 << 20)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_is_bounded(tmp_path) -> None:
    """Eight times the tokens, 56 MB more of codes: at most 6 MB more memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "d"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 6 * 1024


ENDLESS = """
import sys, time
import numpy as np
from contactsync.directory import build
from contactsync.tokens import Tokens

def chunks():
    rng = np.random.default_rng(1)
    while True:
        yield Tokens(rng.integers(0, 2**64, 5000, dtype=np.uint64), np.zeros(5000, np.uint16))
        print("more", flush=True)
        time.sleep(0.01)

build(sys.argv[1], chunks(), memory=1 << 20)
"""


@pytest.mark.slow
def test_killed(tmp_path) -> None:
    """kill -9 in the middle: the old file stays as it was, and the next build cleans up and succeeds."""
    path = tmp_path / "d.tokens"
    old = build(path, [random_tokens(100)])
    with subprocess.Popen([sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        left = [p for p in tmp_path.iterdir() if p != path]
        assert len(left) == 1
        # While it lives, another build leaves its folder alone.
        other = build(path, [random_tokens(200)])
        assert left[0].exists()
        process.send_signal(signal.SIGKILL)
    assert other != old
    assert left[0].exists()
    open_directory(path, expect=other).close()
    assert build(path, [random_tokens(100)]) == old
    open_directory(path, expect=old).close()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_source_leaves_nothing(tmp_path) -> None:
    def chunks():
        yield random_tokens(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "d", chunks())
    assert list(tmp_path.iterdir()) == []


def test_only_its_own_left_overs(tmp_path) -> None:
    for name in (".d.12.build", ".other.12.build", ".d*.12.build"):
        (tmp_path / name).mkdir()
    build(tmp_path / "d", [random_tokens(10)])
    assert sorted(p.name for p in tmp_path.iterdir()) == [".d*.12.build", ".other.12.build", "d"]
    build(tmp_path / "d*", [random_tokens(10)])
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.12.build", "d", "d*"]


@pytest.mark.slow
def test_errors(tmp_path) -> None:
    with pytest.raises(BadInput, match="33 remainder bits"):
        build(tmp_path / "d", [], remainder_bits=33)
    with pytest.raises(OurError, match="cannot be built: No such file"):
        build(tmp_path / "none" / "d", [])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OurError, match="cannot be built: Is a directory"):
        build(tmp_path / "folder", [])
    lots = np.arange(9_000_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # uniform
    same = Tokens(np.arange(100_000, dtype=np.uint64), np.zeros(100_000, np.uint16))
    with pytest.raises(BadInput, match="begin with the same byte"):
        build(tmp_path / "d", [same], memory=1 << 20)
    many = (Tokens(head, np.zeros(head.size, np.uint16)) for head in np.split(lots, 50))
    with pytest.raises(BadInput, match="1 MiB of memory is too little for 9,000,000 tokens"):
        build(tmp_path / "d", many, memory=1 << 20)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_rights(tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OurError, match="cannot be built"):
        build(tmp_path / "d", [])
    tmp_path.chmod(0o700)


def test_progress(tmp_path) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(*step: object) -> None:
        seen.append(step)

    build(tmp_path / "d", [random_tokens(30_000), random_tokens(30_000)], memory=1 << 20, progress=progress)
    assert list(dict.fromkeys(phase for phase, _, _ in seen)) == ["collecting", "sorting", "writing"]
    assert [done for phase, done, _ in seen if phase == "collecting"][-1] == 60_000
    assert seen[-1] == ("writing", 30_000, 30_000)
    assert next(done for phase, done, _ in seen if phase == "sorting") == 0
