"""The documents are enough to write a client: one that was finds whom `contactsync sync` finds."""

import json
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from second_client import (
    Directory,
    Disbelieved,
    Problem,
    Service,
    Voprf,
    open_screen,
    partition_of,
    read_delta,
)
from voprf import ristretto as dalek

DOCS = Path(__file__).parents[2] / "docs"
# So many in Germany that there is a screen, also after some have left; the other partitions have one bucket.
GERMANS = [f"+49151{20000000 + 600 * i}" for i in range(131_080)]
OTHERS = ["+447911123456", "+12125550123", "+390612345678", "+5511987654321", "+35312345678"]
STRANGERS = ["+4915112345678", "+447911123457", "+12125550199", "+221771234567", "+353871234567"]
# Who changes places in the publications after the first one.
LEAVES, JOINS, COMES_BACK, PASSES_THROUGH = GERMANS[0], STRANGERS[0], GERMANS[1], "+4915199999999"
BOOK = [*GERMANS[::12_000], *OTHERS[:4], *STRANGERS, COMES_BACK, PASSES_THROUGH]


def contactsync(*arguments: object) -> str:
    command = [sys.executable, "-m", "contactsync", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Operator:
    """A server as docs/operations.md sets it up, and the stock client beside it."""

    def __init__(self, folder: Path, numbers: Sequence[str], *, rows: bool = True, **settings: int) -> None:
        self.folder, self.data, self.state = folder, folder / "server", folder / "state"
        members = folder / "members.txt"
        members.write_text("\n".join(numbers) + "\n")
        fingerprint = re.search(r"^fingerprint (.+)$", self.run("init"), re.MULTILINE)[1]
        self.fingerprint = fingerprint.replace(" ", "")
        for name, value in settings.items():
            self.set(name, value)
        self.run("members", "import", members)
        self.credential = self.run("accounts", "add", "second client").strip()
        (folder / "credential").write_text(self.credential)
        self.run("publish", *(("--private-lookup", "yes") if rows else ()))
        command = [sys.executable, "-m", "contactsync", "server", "serve", "--data", self.data, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert select.select([self.process.stdout], [], [], 60)[0], "the server does not start"
        self.url = self.process.stdout.readline().split()[-1]
        contactsync("trust", self.url, "--fingerprint", self.fingerprint, "--state", self.state)
        self.first_sync = self.stock_sync()

    def run(self, *arguments: object) -> str:
        return contactsync("server", *arguments, "--data", self.data)

    def set(self, name: str, value: int) -> None:
        settings = self.data / "server.toml"
        text, found = re.subn(rf"(?m)^{name} = \d+$", f"{name} = {value}", settings.read_text())
        assert found == 1
        settings.write_text(text)

    def stock_sync(self) -> dict:
        """What the stock client says of the same contacts."""
        book = self.folder / "book.txt"
        book.write_text("\n".join(BOOK) + "\n")
        credential = self.folder / "credential"
        return json.loads(
            contactsync("sync", book, "--json", "--credential-file", credential, "--state", self.state)
        )

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def voprf(tmp_path_factory):
    # rbcl unpacks its library into the temporary folder at import and leaves it there: give it one of ours.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("rbcl")))
        yield Voprf(pytest.importorskip("rbcl"))


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("operator"), GERMANS + OTHERS, remainder_bits=40)
    yield operator
    operator.stop()


@pytest.fixture(scope="module")
def service(operator):
    service = Service(operator.url, operator.credential)
    yield service
    service.http.clear()


@pytest.fixture
def manifest(operator, service, tmp_path):
    return service.manifest("people", service.root(operator.fingerprint), tmp_path)


def identifiers(numbers: list[str]) -> set[bytes]:
    return {b"tel:" + number.encode() for number in numbers}


def found_by(stock: dict) -> set[bytes]:
    return {match["identifier"].encode() for match in stock["matches"]}


def load(service: Service, partition: dict) -> Directory:
    data = service.data(partition["base"])
    return Directory(partition, lambda start, end: data[start:end])


def matches(service: Service, manifest: dict, tokens: dict[bytes, int]) -> set[bytes]:
    """Download mode: every partition, whoever is in the book."""
    partitions = manifest["partitions"]
    directories = {code: load(service, partition) for code, partition in partitions.items()}
    values = {code: set(directory.values()) for code, directory in directories.items()}
    found = set()
    for identifier, token in tokens.items():
        code = partition_of(identifier, partitions)
        if code and directories[code].shape.value(token) in values[code]:
            found.add(identifier)
    return found


@pytest.mark.slow
def test_finds_the_members_and_who_the_stock_client_finds(operator, service, manifest, voprf) -> None:
    tokens = voprf.tokens(service, manifest, identifiers(BOOK))
    assert set(tokens) == identifiers(BOOK)
    found = matches(service, manifest, tokens)
    assert found == identifiers(BOOK) & identifiers(GERMANS + OTHERS)
    stock = operator.first_sync
    assert found == found_by(stock)
    assert (stock["epoch"], stock["edition"]) == (manifest["epoch"], manifest["edition"])
    assert {p["count"] for p in manifest["partitions"].values()} == {len(GERMANS), 1}
    assert "rows" in manifest, "and neither minds what it does not know"


@pytest.mark.slow
def test_finds_the_same_by_screens_and_ranges(service, manifest, voprf) -> None:
    tokens = voprf.tokens(service, manifest, identifiers(BOOK))
    found, passed = set(), 0
    for code, partition in manifest["partitions"].items():
        screened = partition["screen"] is not None
        assert screened == (code == "49")
        screen = open_screen(service.data(partition["screen"]), partition) if screened else lambda _: True
        base = partition["base"]
        directory = Directory(partition, lambda start, end, base=base: service.part(base, start, end))
        for identifier, token in tokens.items():
            value = directory.shape.value(token)
            if partition_of(identifier, [code]) and screen(value):
                passed += screened and not directory.holds(value)
                if directory.holds(value):
                    found.add(identifier)
    assert found == identifiers(BOOK) & identifiers(GERMANS + OTHERS)
    assert passed <= 2  # at 1 %, of a handful of strangers


@pytest.mark.slow
def test_follows_publications_by_deltas(operator, service, manifest, voprf, tmp_path) -> None:
    tokens = voprf.tokens(service, manifest, identifiers([*BOOK, LEAVES, JOINS]))
    held = manifest["partitions"]["49"]
    values = set(load(service, held).values())
    operator.run("members", "remove", LEAVES, COMES_BACK, OTHERS[0])  # the last one in calling code 44
    operator.run("members", "add", JOINS, PASSES_THROUGH)
    operator.run("publish")
    operator.run("members", "remove", PASSES_THROUGH)
    operator.run("members", "add", COMES_BACK)
    operator.run("publish")

    manifest = service.manifest("people", service.root(operator.fingerprint), tmp_path / "later")
    assert "44" not in manifest["partitions"]
    now = manifest["partitions"]["49"]
    sha256, edition, count = held["base"]["sha256"], held["edition"], held["count"]
    for listed in now["deltas"]:
        delta = read_delta(service.data(listed["file"]), now)
        assert delta.editions == (listed["from"], listed["to"])
        assert (edition, count, sha256) == (delta.editions[0], delta.counts[0], delta.old_sha256)
        assert delta.left <= values
        assert not delta.joined & values
        values = values - delta.left | delta.joined
        edition, count, sha256 = delta.editions[1], delta.counts[1], delta.new_sha256
    assert len(now["deltas"]) == 2
    assert (edition, count, sha256) == (now["edition"], now["count"], now["base"]["sha256"])
    directory = load(service, now)
    assert values == set(directory.values())

    found = matches(service, manifest, tokens)
    members = identifiers(GERMANS + OTHERS[1:]) - identifiers([LEAVES]) | identifiers([JOINS])
    assert found == members & tokens.keys()
    stock = operator.stock_sync()
    assert found == found_by(stock)
    assert (stock["new_identifiers"], stock["evaluated"]) == (0, 8)  # a round of nobody
    assert [contact["identifier"] for contact in stock["joined"]] == [f"tel:{JOINS}"]
    assert {contact["identifier"] for contact in stock["left"]} == {f"tel:{LEAVES}", f"tel:{OTHERS[0]}"}


@pytest.mark.slow
def test_walks_back_across_epochs_and_refuses_another_history(operator, service, manifest, tmp_path) -> None:
    """`manifest` was seen in tmp_path; three editions and an epoch later it is the fourth one back."""
    kept = {}
    for change in (("members", "add", "+4915155555555"), ("members", "remove", "+4915155555555")):
        operator.run(*change)
        operator.run("publish")
    operator.run("publish", "--new-epoch")
    operator.run("members", "add", "+4915155555555")
    operator.run("publish")
    root, seen = service.root(operator.fingerprint), tmp_path / "people.seen"
    last = seen.read_bytes()
    later = service.manifest("people", root, tmp_path)
    assert (later["epoch"], later["edition"]) == (manifest["epoch"] + 1, 2)
    assert not later["unchecked"]
    assert json.loads(seen.read_bytes())["edition"] == 2

    # As if this client alone had been shown something else before.
    other = json.loads(last)
    for changed in (other | {"normalisation": 2}, other | {"public_key": "ab" * 32}):
        seen.write_bytes(json.dumps(changed, sort_keys=True, separators=(",", ":")).encode())
        with pytest.raises(Disbelieved, match="manifest seen last"):
            service.manifest("people", root, tmp_path)
    seen.write_bytes(last)
    assert not service.manifest("people", root, tmp_path)["unchecked"]

    class Withholding(Service):
        def request(self, method: str, path: str, *arguments: bytes, **headers: str) -> bytes:
            data = super().request(method, path, *arguments, **headers)
            kept[path] = data
            return data.replace(b'"count":', b'"count":1') if path in tampered else data

    tampered: set[str] = set()
    stranger = Withholding(operator.url)
    seen.write_bytes(last)
    assert not stranger.manifest("people", root, tmp_path)["unchecked"]
    walked = [path for path in kept if path.startswith("tuf/targets/")]
    assert len(walked) == 3
    tampered = {walked[1]}
    seen.write_bytes(last)
    with pytest.raises(Disbelieved, match="an older manifest"):
        stranger.manifest("people", root, tmp_path)
    stranger.http.clear()


@pytest.mark.slow
def test_begins_again_in_a_new_epoch(operator, service, manifest, voprf, tmp_path) -> None:
    operator.set("remainder_bits", 32)
    operator.run("publish", "--new-epoch")
    with pytest.raises(Problem) as caught:
        voprf.tokens(service, manifest, identifiers(BOOK))
    assert (caught.value.slug, caught.value.body["epoch"]) == ("epoch-changed", manifest["epoch"] + 1)
    later = service.manifest("people", service.root(operator.fingerprint), tmp_path / "later")
    assert (later["epoch"], later["edition"]) == (manifest["epoch"] + 1, 1)
    assert later["public_key"] != manifest["public_key"]
    assert {p["remainder_bits"] for p in later["partitions"].values()} == {32}
    assert not any(p["deltas"] for p in later["partitions"].values())
    found = matches(service, later, voprf.tokens(service, later, identifiers(BOOK)))
    assert len(found) > 10
    assert found == found_by(operator.stock_sync())


@pytest.mark.slow
def test_follows_a_rotation_or_ignores_it(operator, service, manifest, voprf, tmp_path) -> None:
    """One client moves in the overlap, another one knows nothing of it; the stock client finds the same."""
    root, key = service.root(operator.fingerprint), manifest["public_key"]
    operator.run("rotate", "--overlap", "2s")
    later = service.manifest("people", root, tmp_path)
    assert (later["epoch"], later["public_key"], later["unchecked"]) == (manifest["epoch"], key, False)
    ahead = service.ahead(later)
    assert (ahead["epoch"], ahead["edition"]) == (manifest["epoch"] + 1, 1)
    tokens = voprf.tokens(service, ahead, identifiers(BOOK))
    found = matches(service, ahead, tokens)
    unaware = matches(service, later, voprf.tokens(service, later, identifiers(BOOK)))
    assert found == unaware == found_by(operator.stock_sync())
    operator.run("members", "remove", GERMANS[-1])
    while time.time() < later["next"]["until"]:
        time.sleep(0.1)
    operator.run("publish")
    promoted = service.manifest("people", root, tmp_path)
    assert (promoted["epoch"], promoted["edition"], promoted["unchecked"]) == (ahead["epoch"], 2, False)
    assert promoted["public_key"] == ahead["public_key"]
    assert "next" not in promoted
    # Edition 1 was what was announced: from there a delta leads on, and the tokens are still good.
    was, now = ahead["partitions"]["49"], promoted["partitions"]["49"]
    (listed,) = now["deltas"]
    delta = read_delta(service.data(listed["file"]), now)
    assert (delta.editions, delta.old_sha256) == ((1, 2), was["base"]["sha256"])
    assert matches(service, promoted, tokens) == found == found_by(operator.stock_sync())
    with pytest.raises(Problem) as caught:
        voprf.tokens(service, later, identifiers(BOOK))
    assert (caught.value.slug, caught.value.body["epoch"]) == ("epoch-changed", promoted["epoch"])


@pytest.mark.slow
def test_largest_batch_with_a_client_of_the_rfc(service, manifest, voprf) -> None:
    """PyPI `voprf` (dalek) knows nothing of us but the order of a reply: it wants the proof first."""
    inputs = [b"tel:+4915199%06d" % i for i in range(4096)]
    clients, blinded = zip(*map(dalek.Client.blind, inputs), strict=True)
    body = b"".join(element.serialize() for element in blinded)
    reply = service.evaluate("people", manifest["epoch"], body)
    batch = dalek.VerifiableBatchOutput.deserialize(reply[-64:] + reply[:-64])
    public = dalek.PublicKey.deserialize(bytes.fromhex(manifest["public_key"]))
    outputs = dalek.Client.finalize_batch(list(clients), batch, public)
    tokens = voprf.tokens(service, manifest, inputs[-3:])
    assert [tokens[i] for i in inputs[-3:]] == [int.from_bytes(o[:10], "big") for o in outputs[-3:]]


ELEMENT = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")  # A itself
NO_ELEMENT = b"\xff" * 32


BATCH = "application/octet-stream"
PROBLEMS = [
    (404, "not-found", "GET", "nothing", None, BATCH),
    (404, "not-found", "GET", f"data/{'0' * 64}", None, BATCH),
    (404, "not-found", "POST", "evaluate/nobody/1", ELEMENT, BATCH),
    (405, "method-not-allowed", "DELETE", "health", None, BATCH),
    (403, "wrong-audience", "POST", "evaluate/business/1", ELEMENT, BATCH),
    (409, "epoch-changed", "POST", "evaluate/people/99", ELEMENT, BATCH),
    (415, "wrong-media-type", "POST", "evaluate/people/EPOCH", ELEMENT, "text/plain"),
    (400, "bad-batch", "POST", "evaluate/people/EPOCH", b"", BATCH),
    (400, "bad-batch", "POST", "evaluate/people/EPOCH", ELEMENT + b"\0", BATCH),
    (413, "batch-too-large", "POST", "evaluate/people/EPOCH", ELEMENT * 4097, BATCH),
    (400, "invalid-element", "POST", "evaluate/people/EPOCH", ELEMENT + bytes(32), BATCH),
    (400, "invalid-element", "POST", "evaluate/people/EPOCH", ELEMENT + NO_ELEMENT + bytes(32), BATCH),
    # "Requests are judged in this order: route, credential, audience, epoch, media type, size, elements."
    (409, "epoch-changed", "POST", "evaluate/people/99", NO_ELEMENT, "text/plain"),
    (415, "wrong-media-type", "POST", "evaluate/people/EPOCH", b"", "text/plain"),
    (413, "batch-too-large", "POST", "evaluate/people/EPOCH", NO_ELEMENT * 4097, BATCH),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", PROBLEMS)
def test_problems_are_the_documented_ones(service, manifest, case) -> None:
    status, slug, method, path, body, media = case
    with pytest.raises(Problem) as caught:
        service.request(method, path.replace("EPOCH", str(manifest["epoch"])), body, Content_Type=media)
    problem = caught.value
    assert (problem.status, problem.slug) == (status, slug)
    extra = {"epoch-changed": ("epoch", manifest["epoch"]), "invalid-element": ("index", 1),
             "batch-too-large": ("limit", 4096)}.get(slug, ("status", status))  # fmt: skip
    assert problem.body[extra[0]] == extra[1]
    assert problem.body["title"]
    assert problem.body["detail"]


@pytest.mark.slow
def test_credentials_ranges_and_headers_are_the_documented_ones(operator, service, manifest) -> None:
    base = manifest["partitions"]["49"]["base"]
    for credential in ("", "cs_wrong"):
        stranger = Service(operator.url, credential)
        for request in (("GET", f"data/{base['sha256']}"), ("POST", "evaluate/people/99", b"")):
            with pytest.raises(Problem, match="401 bad-credential"):
                stranger.request(*request)
        assert json.loads(stranger.request("GET", "health")) == {"status": "ok"}
        assert stranger.root(operator.fingerprint)
        stranger.http.clear()
    with pytest.raises(Problem, match="416 range-not-satisfiable"):
        service.part(base, base["length"], base["length"] + 1)
    url = f"{operator.url}/v1/data/{base['sha256']}"
    for method in ("HEAD", "GET"):
        response = service.http.request(method, url, headers=service.headers)
        assert response.status == 200
        assert response.headers["ETag"] == f'"{base["sha256"]}"'
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert response.headers["Content-Length"] == str(base["length"])


# --- the pages' own examples ---


@pytest.fixture(scope="module")
def example() -> dict[str, bytes]:
    """docs/protocol.md, "A worked example": name → octets, of one line or several."""
    block = (DOCS / "protocol.md").read_text().split("## A worked example")[1].split("```")[1]
    figures = re.findall(r"^(\w+) *= ((?:[0-9a-f]+\s+)+)", block, re.MULTILINE)
    return {name: bytes.fromhex(value) for name, value in figures}


def test_worked_example(example, voprf) -> None:
    public, request = example["public_key"], example["request"]
    blinded = [request[:32], request[32:]]
    evaluated = voprf.read_reply(public, blinded, example["reply"])
    assert b"".join(evaluated) == example["evaluated"]
    assert voprf.weights(public, blinded, evaluated) == [example["weight_0"], example["weight_1"]]
    for i in (1, 2):
        input_, blind = example[f"input_{i}"], example[f"blind_{i}"]
        assert voprf.hash_to_group(input_) == example[f"input_element_{i}"]
        assert voprf.multiply(blind, example[f"input_element_{i}"]) == blinded[i - 1]
        assert voprf.finalize(input_, blind, evaluated[i - 1]) == example[f"output_{i}"]
        assert example[f"output_{i}"][:10] == example[f"token_{i}"]


@pytest.mark.parametrize("at", [0, 31, 32, 64, 100, 127])
def test_a_changed_reply_is_disbelieved(example, voprf, at) -> None:
    reply, request = bytearray(example["reply"]), example["request"]
    reply[at] ^= 1
    with pytest.raises(Disbelieved):
        voprf.read_reply(example["public_key"], [request[:32], request[32:]], bytes(reply))


def dump(text: str) -> bytes:
    """Return what a hexadecimal dump with offsets shows; `*` stands for zeros."""
    data = bytearray()
    for line in text.splitlines():
        if row := re.match(r"    ([0-9a-f]{4})  ((?:[0-9a-f]{2} {1,2}){1,16})", line + " "):
            data += bytes(int(row[1], 16) - len(data)) + bytes.fromhex(row[2])
    return bytes(data)


def test_examples_of_the_directory_page() -> None:
    page = (DOCS / "directory-format.md").read_text()
    data = dump(page.split("The file, 720 bytes")[1].split("# The screen")[0])
    top = re.search(r"top_sha256  ([0-9a-f]{64})", page)[1]
    partition = {"slot_bits": 12, "remainder_bits": 40, "count": 3, "top_sha256": top}
    partition["base"] = {"length": len(data)}
    directory = Directory(partition, lambda start, end: data[start:end])
    values = directory.values()
    assert [f"{value:013x}" for value in values] == ["0011022334455", "0011fffffffee", "fff0000000015"]
    assert directory.shape.value(0x0011022334455_6677889) == values[0]
