"""`python -m bench directory`: what a directory, its deltas and its screen cost, and the import of numbers.

Sizes are bits a token; times are ns of CPU a token (or number, or key), one thread, medians of one run. Peers
that go item by item get the first items only. `--plot FILE` draws size and time against N, 10^4 to 10^8.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import harness
from bench.harness import Contender, Row
from contactsync.directory import Directory, DirectoryInfo, build, match, open_directory
from contactsync.directory.delta import read_delta, write_delta
from contactsync.directory.screen import build_screen
from contactsync.kernels import elias_fano  # noqa: F401 - from here on kernels pay, as in a server
from contactsync.phones import read_numbers
from contactsync.tokens import Tokens

PACKAGES = ("numba", "numpy", "pybloom-live", "pyfusefilter", "openmined-psi", "phonenumberslite")
CHUNK = 1 << 20
CHURN = 0.001
PLOTTED = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
LOOKUPS = 1000


def chunks_of(count: int, seed: int = 1) -> Iterator[Tokens]:
    """Random tokens, never all in memory."""
    rng = np.random.default_rng(seed)
    for a in range(0, count, CHUNK):
        n = min(CHUNK, count - a)
        yield Tokens(rng.integers(0, 2**64, n, dtype=np.uint64), rng.integers(0, 2**16, n, dtype=np.uint16))


def _medians(contenders: dict[str, Contender], *, rounds: int = 3) -> dict[str, float]:
    """µs of CPU an item."""
    return harness.interleaved(contenders, seconds=0, rounds=rounds, clock=time.process_time)


class Timed:
    """Builds a directory and remembers how many seconds each phase took."""

    def __init__(self) -> None:
        self.begin: dict[str, float] = {}
        self.sorting = self.writing = self.collecting = 0.0

    def build(self, path: Path, chunks: Iterator[Tokens], remainder_bits: int) -> DirectoryInfo:
        """`directory.build`, timed."""
        path.unlink(missing_ok=True)  # a publisher's files have new names: nothing is replaced
        self.begin.clear()
        info = build(path, chunks, remainder_bits=remainder_bits, progress=self._hear)
        end = time.process_time()
        self.collecting = self.begin["sorting"] - self.begin["collecting"]
        self.sorting = self.begin["writing"] - self.begin["sorting"]
        self.writing = end - self.begin["writing"]
        return info

    def _hear(self, phase: str, _done: int, _total: int) -> None:
        self.begin.setdefault(phase, time.process_time())


def _row(
    case: str, n: int, r: int | None, ours: float, unit: str, peer: str | None, value: float | None
) -> Row:
    ratio = None if value is None else value / ours
    return {
        "case": case, "m": None, "n": n, "r": r, "ours": ours, "unit": unit,
        "peer": peer, "peer_value": value, "ratio": ratio,
    }  # fmt: skip


# --- sizes -------------------------------------------------------------------------------------------------


def _gcs_bits(rate: float) -> float:
    from private_set_intersection import python as psi

    items = [str(i) for i in range(2000)]
    message = psi.server.CreateWithNewKey(True).CreateSetupMessage(rate, 1, items, psi.DataStructure.GCS)
    return len(message.SerializeToString()) * 8 / len(items)


def _bloom_bits(rate: float) -> float:
    from pybloom_live import BloomFilter

    return BloomFilter(20_000, rate).num_bits / 20_000


def _sizes(info: DirectoryInfo) -> list[Row]:
    r = info.remainder_bits
    sizes = {
        "openmined-psi GCS, same rate": _gcs_bits(info.false_positive_rate),
        "pybloom-live, same rate": _bloom_bits(info.false_positive_rate),
        "sorted array": 64.0 if r == 32 else 72.0,
    }
    return [_row("size", info.count, r, info.bits_per_token, "bit/token", *peer) for peer in sizes.items()]


# --- times -------------------------------------------------------------------------------------------------


def _fuse(keys: NDArray[np.uint64]) -> Callable[[], object]:
    # Its C functions: the class of pyfusefilter 1.3 cannot hash a str with xxhash 4.
    from pyfusefilter._xorfilter import ffi, lib

    def run() -> None:
        built = ffi.new("binary_fuse16_t *")
        assert lib.binary_fuse16_allocate(keys.size, built)
        copy = keys.copy()
        assert lib.binary_fuse16_populate(ffi.from_buffer("uint64_t[]", copy), copy.size, built)
        lib.binary_fuse16_free(built)

    return run


def _bloom(keys: list[int], rate: float) -> Callable[[], object]:
    from pybloom_live import BloomFilter

    def run() -> None:
        add = BloomFilter(len(keys), rate).add
        for key in keys:
            add(key)

    return run


def _builds(path: Path, n: int, r: int, few: int, rounds: int) -> tuple[list[Row], DirectoryInfo]:
    timed, sorting, writing, whole = Timed(), [], [], []
    held = list(chunks_of(n))
    for _ in range(rounds + 1):
        info = timed.build(path, iter(held), r)
        writing.append(timed.writing)
        sorting.append(timed.collecting + timed.sorting)
        whole.append(writing[-1] + sorting[-1])
    keys = held[0].head[:few].tolist()
    rate = info.false_positive_rate
    peers = {
        "pybloom-live, same rate": Contender(_bloom(keys[: few // 5], rate), few // 5),
        "binary fuse 16, twice": Contender(_fuse(held[0].head), len(held[0])),
    }
    figures = _medians(peers, rounds=1)
    figures["binary fuse 16, twice"] *= 2

    def ours(seconds: list[float]) -> float:
        return float(np.median(seconds[1:])) / n * 1e9

    rows = [_row("build, after sorting", n, r, ours(writing), "ns/token", None, None)]
    rows += [_row("build, whole", n, r, ours(whole), "ns/token", p, v * 1000) for p, v in figures.items()]
    sort = _medians({"sort": Contender(lambda: np.sort(np.concatenate([c.head for c in held])), n)})
    rows.append(_row("build, sorting", n, r, ours(sorting), "ns/token", "np.sort", sort["sort"] * 1000))
    return rows, info


def _reads(path: Path, info: DirectoryInfo, rounds: int) -> list[Row]:
    n, r = info.count, info.remainder_bits
    with open_directory(path, expect=info) as directory:
        contenders = {
            "decode": Contender(lambda: sum(len(v) for v in directory.values()), n),
            "open, SHA-256": Contender(lambda: open_directory(path, expect=info).close(), n),
            "open, xxh3": Contender(lambda: open_directory(path, expect=info, check="xxh3").close(), n),
        }
        figures = _medians(contenders, rounds=rounds)
    return [_row(case, n, r, value * 1000, "ns/token", None, None) for case, value in figures.items()]


def _changed(old: Directory, churn: float) -> Iterator[Tokens]:
    """The values of a directory without some, and as many new ones."""
    change = int(old.count * churn)
    shift = np.uint64(32 - old.info.slot_bits)
    gone = np.random.default_rng(5).choice(old.count, change, replace=False)
    at = 0
    for values in old.values():
        keep = np.ones(len(values), np.bool_)
        keep[gone[(gone >= at) & (gone < at + len(values))] - at] = False
        at += len(values)
        yield Tokens(values.key[keep] << shift, np.zeros(int(keep.sum()), np.uint16))
    yield from chunks_of(change, seed=6)


def _deltas(folder: Path, path: Path, info: DirectoryInfo, rounds: int) -> list[Row]:
    n, r = info.count, info.remainder_bits
    with open_directory(path, expect=info) as old:
        after = build(folder / "after", _changed(old, CHURN), remainder_bits=r)
        with open_directory(folder / "after", expect=after) as new:
            delta = write_delta(folder / "delta", old, new, from_edition=1, to_edition=2)
            assert delta is not None

            def write() -> None:
                write_delta(folder / "delta", old, new, from_edition=1, to_edition=2)

            tokens = next(chunks_of(LOOKUPS))
            mask = match(tokens, old)
            contenders = {
                "write": Contender(write, n),
                "apply": Contender(lambda: read_delta(folder / "delta").apply_to_mask(tokens, mask), 1),
            }
            figures = _medians(contenders, rounds=rounds)
    whole = after.file.length
    return [
        _row("delta of 0.1 % churn, size", n, r, delta.length / 1000, "kB", "whole file", whole / 1000),
        _row("delta of 0.1 % churn, write", n, r, figures["write"] * 1000, "ns/token", None, None),
        _row("delta, apply to 1,000 contacts", n, r, figures["apply"] / 1000, "ms", None, None),
    ]


def _screens(folder: Path, path: Path, info: DirectoryInfo, few: int, rounds: int) -> list[Row]:
    n = info.count
    keys = [f"{key:014x}" for key in next(chunks_of(few)).head.tolist()]
    with open_directory(path, expect=info) as directory:
        screen = build_screen(folder / "screen", directory)
        contenders = {
            "ours": Contender(lambda: build_screen(folder / "screen", directory), n),
            "pybloom-live": Contender(_bloom(keys, 0.01), few),  # type: ignore[arg-type]
        }
        figures = _medians(contenders, rounds=rounds)
    ours, theirs = figures["ours"] * 1000, figures["pybloom-live"] * 1000
    return [
        _row(
            "screen at 1 %, size",
            n,
            None,
            screen.length * 8 / n,
            "bit/token",
            "pybloom-live",
            _bloom_bits(0.01),
        ),
        _row("screen at 1 %, build", n, None, ours, "ns/token", "pybloom-live", theirs),
    ]


def _imports(folder: Path, n: int, few: int, rounds: int) -> list[Row]:
    """Numbers of a file to integers, and into a new registry of members."""
    import phonenumbers

    from contactsync.server.members import read_members
    from contactsync.server.storage.sqlite.members import SqliteMembers

    rng = np.random.default_rng(7)
    numbers: NDArray[np.int64] = rng.choice(10**8, n, replace=False) + 49_151 * 10**8
    text = "".join(f"+{x}\n" for x in numbers.tolist()).encode()
    lines = [f"+{x}" for x in numbers[:few].tolist()]

    def read() -> None:
        assert sum(len(batch.accepted) for batch in read_numbers(io.BytesIO(text), None, "-")) == n

    def library() -> None:
        for line in lines:
            number = phonenumbers.parse(line)
            assert phonenumbers.is_possible_number(number)
            phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    contenders = {"ours": Contender(read, n), "theirs": Contender(library, few)}
    figures = _medians(contenders, rounds=rounds)
    begin = time.process_time()
    registry = SqliteMembers.create(folder / "registry.sqlite")
    for piece in read_members(io.BytesIO(text), None, "-", print):
        registry.add(piece)
    whole = (time.process_time() - begin) / n * 1e9
    registry.close()
    ours, theirs = figures["ours"] * 1000, figures["theirs"] * 1000
    return [
        _row("normalise a list of numbers", n, None, ours, "ns/number", "phonenumberslite", theirs),
        _row("import into the registry", n, None, whole, "ns/number", None, None),
    ]


def run(quick: bool) -> list[Row]:
    n, few, rounds = (1_000_000, 20_000, 1) if quick else (10_000_000, 200_000, 3)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for r in (40, 32):
            path = folder / str(r)
            built, info = _builds(path, n, r, few, rounds)
            rows += _sizes(info) + built + _reads(path, info, rounds)
        rows += _deltas(folder, path, info, rounds)
        rows += _screens(folder, path, info, few, rounds)
        rows += _imports(folder, n // 10, few // 10, rounds)
    return rows


# --- the plot ----------------------------------------------------------------------------------------------


def curve(counts: tuple[int, ...]) -> list[Row]:
    """A row per N, each from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(_one, counts))


def _peak() -> int:
    """The most memory that this process ever had, in MiB, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def _one(n: int) -> Row:
    """Size at both widths, seconds to build, open, and match 1,000 and N/10 tokens, and peak memory."""
    timed = Timed()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "d"
        build(path, chunks_of(min(n, 2_000_000)))  # kernels are loaded
        info = timed.build(path, chunks_of(n), 32)
        built = _peak()
        some = next(chunks_of(LOOKUPS))
        many = Tokens.concatenate(list(chunks_of(n // 10)))
        begin = time.process_time()
        with open_directory(path, expect=info) as directory:
            opened = time.process_time() - begin
            assert match(some, directory).all()
            contenders = {
                "some": Contender(partial(match, some, directory), 1),
                "many": Contender(partial(match, many, directory), 1),
            }
            figures = _medians(contenders, rounds=3)
        row: Row = {"n": n, "bytes_32": info.file.length, "bits_32": info.bits_per_token}
        row["bytes_40"] = build(path, chunks_of(n), remainder_bits=40).file.length
        row |= {"collect_s": timed.collecting, "sort_s": timed.sorting, "write_s": timed.writing}
        row |= {
            "open_s": opened,
            "match_1000_s": figures["some"] / 1e6,
            "match_tenth_s": figures["many"] / 1e6,
        }
        return row | {"build_MiB": built, "match_MiB": _peak()}


def plot(rows: list[Row], path: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (sizes, times) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    n = np.array([row["n"] for row in rows], float)
    sizes.plot(n, [row["bytes_32"] for row in rows], "o-", label="directory, r = 32")
    sizes.plot(n, [row["bytes_40"] for row in rows], "s-", label="directory, r = 40")
    sizes.plot(n, n * 8, ":", color="gray", label="64-bit tokens")
    sizes.plot(n, n * 46.2 / 8, "--", color="gray", label="Bloom filter at 2^-32")
    sizes.set(xscale="log", yscale="log", xlabel="members", ylabel="bytes", title="Size")
    built = [row["collect_s"] + row["sort_s"] + row["write_s"] for row in rows]
    times.plot(n, built, "o-", label="build")
    times.plot(n, [row["open_s"] for row in rows], "s-", label="open, SHA-256 and all checks")
    times.plot(n, [row["match_tenth_s"] for row in rows], "^-", label="match N/10 tokens")
    times.plot(n, [row["match_1000_s"] for row in rows], "v-", label="match 1,000 tokens")
    times.set(xscale="log", yscale="log", xlabel="members", ylabel="seconds", title="CPU time, one thread")
    for axes in (sizes, times):
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench directory", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the directory section of a document"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw size and time against N instead")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds, within 40 s")
    options = parser.parse_args(arguments)
    if options.plot:
        rows = curve(PLOTTED[:-2] if options.quick else PLOTTED)
        plot(rows, options.plot)
    else:
        rows = run(options.quick)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        section = "directory plot" if options.plot else "directory"
        harness.update_section(options.markdown, section, f"{where}\n\n{harness.markdown(rows)}")
