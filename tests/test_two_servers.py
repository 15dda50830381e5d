"""Private look-up from the command line: an operator, a mirror, and clients who ask both."""

import json
import signal
import subprocess
import sys
import time

import pytest
from middleman import Middleman

from contactsync.foundation.errors import BadDirectory
from contactsync.library.books import address_book
from contactsync.library.client import Client, Options

MEMBERS = [f"+49151{i:07d}" for i in range(700)] + [f"+3932012{i:05d}" for i in range(200)]
MAILS = [f"p{i}@example.org" for i in range(40)]
BOOK = [*MEMBERS[::90], *MAILS[::10], *(f"+49171{i:07d}" for i in range(12)), "+33612345678"]
LABELS = {number: f"@{number[-5:]}" for number in MEMBERS[::2]}
WANTED = {f"tel:{one}" for one in MEMBERS[::90]} | {f"mailto:{one}" for one in MAILS[::10]}


def contactsync(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "contactsync", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


class Running:
    """A server of its own process."""

    def __init__(self, log, *arguments):
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "contactsync", "server", *map(str, arguments), "--port", "0"],
                stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), (line, log.read_text())
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(30)
        self.process.stdout.close()


class Service:
    """An installation with rows, its server, a mirror, and a client that trusts both.

    With `labels`, every other number has one.
    """

    def __init__(self, folder, *, labels=False):
        self.folder, self.data = folder, folder / "server"
        contactsync("server", "init", "--data", self.data)
        users = folder / "users.csv"
        mails = [*MAILS, *("" for _ in MEMBERS[len(MAILS) :])]
        rows = [
            f"{number},{mail}{',' if labels else ''}{LABELS.get(number, '') if labels else ''}"
            for number, mail in zip(MEMBERS, mails, strict=True)
        ]
        users.write_text("\n".join(["phone,email,label" if labels else "phone,email", *rows]))
        words = ("--label-column", "label") if labels else ()
        self.admin("members", "import", users, "--email-column", "email", *words)
        self.publish("--private-lookup", "yes")
        self.credential = folder / "credential"
        self.credential.write_text(self.admin("accounts", "add", "client").stdout)
        self.credential.chmod(0o600)
        self.book = folder / "book.txt"
        self.book.write_text("\n".join(BOOK))
        self.log = folder / "server.log"
        self.first = Running(self.log, "serve", "--data", self.data, "--private-lookup")
        self.mirror = self.start_mirror()
        self.state = folder / "state"

    def admin(self, *arguments, code=0):
        return contactsync("server", *arguments, "--data", self.data, code=code)

    def publish(self, *options):
        self.admin("publish", *options)

    def start_mirror(self, *, every="1s"):
        words = ("mirror", self.first.url, "--data", self.folder / "mirror", "--yes", "--every", every)
        return Running(self.folder / "mirror.log", *words, "--credential-file", self.credential)

    def trust(self, second, *, first=None, state=None, code=0):
        words = ("--second", second, "--yes", "--state", state or self.state)
        return contactsync("trust", first or self.first.url, *words, code=code)

    def sync(self, *options, state=None, code=0, book=None, first=None):
        if first is not None:
            contactsync("trust", first, "--yes", "--state", state)
        words = ("--credential-file", self.credential, "--state", state or self.state)
        done = contactsync("sync", book or self.book, *words, *options, code=code)
        return json.loads(done.stdout) if "--json" in options and code == 0 else done

    def two(self, *options, **how):
        return self.sync("--privacy", "two-server", "--json", *options, **how)

    def close(self):
        self.first.stop()
        self.mirror.stop()


def found(result):
    return {match["identifier"] for match in result["matches"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = Service(tmp_path_factory.mktemp("two"))
    made.trust(made.mirror.url)
    yield made
    made.close()


def middle(request, server, tamper=lambda *_: None):
    between = Middleman(server.port, tamper)
    request.addfinalizer(between.close)
    return between


@pytest.mark.slow
def test_it_finds_whom_a_download_finds_and_downloads_no_directory(service, tmp_path, request):
    first, second = middle(request, service.first), middle(request, service.mirror)
    state = tmp_path / "state"
    said = service.trust(second.url, first=first.url, state=state).stdout
    assert f"second {second.url}: shows the same root" in said
    (kept,) = json.loads(contactsync("status", "--json", "--state", state).stdout)["servers"]
    assert kept["second"] == second.url
    result = service.two(state=state)
    assert found(result) == WANTED
    assert result["privacy"] == "two-server"
    assert "asked two servers about up to 64 contacts" in result["leak"]

    paths = [one.path for one in first.requests if one.path.startswith("/v1/data/")]
    assert len(paths) == 1, "the level alone"
    assert result["bytes_received"] > sum(len(one.body) for one in first.requests if "lookup" in one.path)
    # The second one is told nothing of the account, and sees a question and a look for the edition.
    assert {one.header("authorization") for one in second.requests} == {""}
    asked = [(one.method, one.path.split("/")[2]) for one in second.requests if "tuf" not in one.path]
    assert asked == [("GET", "data"), ("POST", "lookup")]
    bodies = [one.body for server in (first, second) for one in server.requests if "lookup" in one.path]
    assert len({len(body) for body in bodies}) == 1
    assert bodies[0] != bodies[1]

    # Once more: nothing is new. Eight rows are asked for, as if something were.
    first.requests.clear()
    again = service.two(state=state)
    assert found(again) == WANTED
    assert "up to 8 contacts" in again["leak"]
    assert not [one for one in first.requests if one.path.startswith("/v1/data/")]


def flip(_, body):
    return body[:777] + bytes([body[777] ^ 1]) + body[778:]


def zeros(_, body):
    return bytes(len(body))


def inverse(_, body):
    return bytes(255 - octet for octet in body)


class Replay:
    """Answers each question as the first one."""

    def __init__(self):
        self.kept = None

    def __call__(self, _, body):
        self.kept = self.kept or body
        return self.kept


@pytest.mark.slow
def test_a_lie_of_either_server_discards_all_and_keeps_what_was_known(service, tmp_path, request):
    lies = {"where": None, "how": None}

    def tamper(name):
        def change(passing, reply):
            if lies["where"] == name and passing.path.startswith("/v1/lookup/"):
                reply.body = lies["how"](passing, reply.body)

        return change

    first = middle(request, service.first, tamper("first"))
    second = middle(request, service.mirror, tamper("second"))
    somebody = MEMBERS[1]
    fingerprint = Client(service.state).introduce(service.first.url).fingerprint

    def book_of(*more):
        path = tmp_path / f"{len(more)}.txt"
        path.write_text("\n".join([*BOOK, *more]))
        return address_book(path, region="DE")

    def client(name):
        made = Client(tmp_path / name)
        made.introduce(first.url, fingerprint=fingerprint, second=second.url).accept()
        return made

    def two(made, *, more=()):
        credential = service.credential.read_text().strip()
        result = made.sync(book_of(*more), credential=credential, options=Options(privacy="two-server"))
        return {match.identifier for match in result.matches}

    for where, how in [("first", flip), ("second", flip), ("first", zeros), ("second", inverse)]:
        made = client(f"{where}-{how.__name__}")
        lies["where"] = None
        assert two(made) == WANTED
        lies.update(where=where, how=how)
        with pytest.raises(BadDirectory, match="all of it was discarded"):
            two(made, more=[somebody])
        assert made.last_matches(book_of()) == {one.encode() for one in WANTED}
        lies["where"] = None
        assert two(made, more=[somebody]) == WANTED | {f"tel:{somebody}"}

    # The answer to an earlier question of the same size, which was right.
    lies.update(where="second", how=Replay())
    assert two(client("before")) == WANTED
    with pytest.raises(BadDirectory, match="all of it was discarded"):
        two(client("replayed"))


@pytest.mark.slow
def test_a_mirror_that_is_one_edition_behind_is_asked_for_that_one(tmp_path):
    service = Service(tmp_path)
    try:
        service.trust(service.mirror.url)
        before = service.two()
        assert found(before) == WANTED
        service.mirror.stop()
        service.mirror = service.start_mirror(every="1h")  # it has looked, and does not look again
        service.trust(service.mirror.url)
        late = tmp_path / "late.txt"
        late.write_text("+491719999999\n")
        service.admin("members", "import", late)
        service.publish()
        book = tmp_path / "new.txt"
        book.write_text("\n".join([*BOOK, "+491719999999"]))
        result = service.two(book=book)
        assert result["edition"] == before["edition"]
        assert found(result) == WANTED
        # What is kept is of the edition in force: other modes go on with it, and nothing is asked anew.
        again = service.two(book=book)
        assert "up to 8 contacts" in again["leak"]
        newest = service.sync("--json", book=book)
        assert newest["edition"] == before["edition"] + 1
        assert newest["new_identifiers"] == 0
        assert found(newest) == WANTED | {"tel:+491719999999"}
        # Two editions behind it is of no use, and that is said before anything is asked.
        for number in ("+491719999998", "+491719999997"):
            late.write_text(f"{number}\n")
            service.admin("members", "import", late)
            service.publish()
        failed = service.two(book=book, code=1)
        assert "neither the rows of the newest edition" in failed.stdout + failed.stderr
        service.mirror.stop()
        service.mirror = service.start_mirror()
        service.trust(service.mirror.url)
        result = service.two(book=book)
        assert found(result) == WANTED | {"tel:+491719999999"}
        assert result["new_identifiers"] == 0
    finally:
        service.close()


@pytest.mark.slow
def test_without_the_second_server_nothing_is_asked(service, tmp_path, request):
    first, second = middle(request, service.first), middle(request, service.mirror)
    state = tmp_path / "state"
    service.trust(second.url, first=first.url, state=state)
    second.close()
    failed = service.two("--timeout", "3s", state=state, code=4)
    assert second.url in failed.stdout + failed.stderr
    assert not [one for one in first.requests if one.method == "POST"]
    # Another mode still works, and so does the choice of another mirror.
    assert found(service.sync("--json", state=state)) == WANTED
    service.trust(service.mirror.url, first=first.url, state=state)
    assert found(service.two(state=state)) == WANTED


@pytest.mark.slow
def test_what_cannot_be_asked_says_what_to_do(service, tmp_path):
    alone = tmp_path / "alone"
    contactsync("trust", service.first.url, "--yes", "--state", alone)
    failed = service.two(state=alone, code=3)
    assert "--second URL" in failed.stdout + failed.stderr
    failed = service.two("--transcript", tmp_path / "transcript", code=3)
    assert "a transcript is of one server" in failed.stdout + failed.stderr
    assert not (tmp_path / "transcript").exists()
    for second, why in {
        service.first.url: "the second server is the first one",
        "http://mirror.example.net": "not encrypted",
        "ftp://127.0.0.1": "not a plain http",
    }.items():
        failed = service.trust(second, state=tmp_path / "never", code=3)
        assert why in failed.stderr, second
    contactsync("trust", service.first.url, "--second", "none", "--yes", "--state", service.state)
    assert "--second URL" in service.two(code=3).stdout
    service.trust(service.mirror.url)


@pytest.mark.slow
def test_a_server_of_another_operator_is_no_mirror(service, tmp_path):
    data = tmp_path / "other"
    contactsync("server", "init", "--data", data)
    users = tmp_path / "users.txt"
    users.write_text("\n".join(MEMBERS[:3]))
    contactsync("server", "members", "import", users, "--data", data)
    contactsync("server", "publish", "--data", data)
    other = Running(tmp_path / "log", "serve", "--data", data)
    try:
        failed = service.trust(other.url, state=tmp_path / "never", code=5)
        assert "is no mirror of" in failed.stderr
    finally:
        other.stop()


@pytest.mark.slow
def test_nothing_of_the_look_up_is_logged(service):
    """Who asked, and from where, is in no log: two logs of one time and address would join the halves."""
    service.two()
    for log in (service.log, service.folder / "mirror.log"):
        text = log.read_text()
        assert service.credential.read_text().strip() not in text
        assert "127.0.0.1:" not in text.replace(f"127.0.0.1:{service.first.port}", "")


def labels_of(result):
    return {match["identifier"]: match["label"] for match in result["matches"]}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_labels_come_with_the_rows_whoever_matches(tmp_path, request):
    service = Service(tmp_path, labels=True)
    request.addfinalizer(service.close)
    first, second = middle(request, service.first), middle(request, service.mirror)
    for state in (service.state, tmp_path / "without"):
        service.trust(second.url, first=first.url, state=state)

    def asked():
        """Sizes of all questions to both, in order; forgotten with that."""
        seen = [[len(one.body) for one in each.requests if "lookup" in one.path] for each in (first, second)]
        paths = [one.path for one in first.requests if one.path.startswith("/v1/data/")]
        first.requests.clear(), second.requests.clear()
        return seen, len(paths)

    result = service.two()
    assert found(result) == WANTED
    by_download = service.sync("--json", state=tmp_path / "download", first=service.first.url)
    assert labels_of(result) == labels_of(by_download)
    numbers = {one for one in MEMBERS[::90] if one in LABELS}
    assert {labels_of(result)[f"tel:{one}"] for one in numbers} == {LABELS[one] for one in numbers}
    assert len(numbers) > 3
    sizes, files = asked()
    assert files == 1, "the level, and no sidecar"

    # Who wants no labels asks for the same.
    without = service.two("--labels", "no", state=tmp_path / "without")
    assert found(without) == WANTED
    assert not any(labels_of(without).values())
    assert asked() == (sizes, 1)

    # One label changes, and one goes: the next edition is looked up whole, and shows it.
    changed, removed = sorted(numbers)[:2]
    service.admin("members", "label", changed, "@changed")
    service.admin("members", "label", removed, "--remove")
    service.publish()
    # Another book comes first: what it is told must not hide the edition from this one.
    other = tmp_path / "other.txt"
    other.write_text(f"{changed}\n+33612345678\n")
    deadline = time.monotonic() + 120
    while labels_of(service.two(book=other))[f"tel:{changed}"] != "@changed":
        assert time.monotonic() < deadline
        time.sleep(1)
    asked()
    result = service.two()
    wanted = labels_of(by_download) | {f"tel:{changed}": "@changed", f"tel:{removed}": None}
    assert labels_of(result) == wanted
    assert asked() == (sizes, 0)
    again = service.two()
    assert labels_of(again) == wanted, "what nobody was asked for stays"
    assert "up to 8 contacts" in again["leak"]

    # Labels once wanted: everybody is asked for, not only who matched.
    service.two("--labels", "no", state=tmp_path / "without")
    asked()
    late = service.two(state=tmp_path / "without")
    assert labels_of(late) == wanted
    assert asked()[0] == sizes


@pytest.mark.slow
def test_a_service_without_rows(tmp_path):
    data = tmp_path / "server"
    contactsync("server", "init", "--data", data)
    users = tmp_path / "users.txt"
    users.write_text("\n".join(MEMBERS[:3]))
    contactsync("server", "members", "import", users, "--data", data)
    contactsync("server", "publish", "--data", data)
    credential = tmp_path / "credential"
    credential.write_text(contactsync("server", "accounts", "add", "x", "--data", data).stdout)
    credential.chmod(0o600)
    server = Running(tmp_path / "log", "serve", "--data", data)
    try:
        state = tmp_path / "state"
        between = Middleman(server.port)
        contactsync("trust", server.url, "--second", between.url, "--yes", "--state", state)
        words = ("--credential-file", credential, "--state", state, "--privacy", "two-server", "--json")
        failed = contactsync("sync", users, *words, code=5)
        assert "no rows for private look-up" in failed.stdout
        between.close()
    finally:
        server.stop()
