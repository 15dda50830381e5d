"""The documents are enough to follow patches: the second client finds who is there now by an old base."""

import pytest
from second_client import (
    Delta,
    Directory,
    Disbelieved,
    Service,
    check_patches,
    patched,
    read_delta,
    read_patches,
)
from test_second_client import (
    BOOK,
    COMES_BACK,
    GERMANS,
    JOINS,
    LEAVES,
    OTHERS,
    PASSES_THROUGH,
    Operator,
    found_by,
    identifiers,
    load,
    voprf,
)

__all__ = ["voprf"]
MEMBERS = [*GERMANS[:20_000], *OTHERS]
BESIDE = [f"+49151990{i:05}" for i in range(6)]


class Client:
    """What is held of one partition: its base and its edition, and patches by their SHA-256."""

    def __init__(self, service: Service, manifest: dict) -> None:
        self.service, self.partition, self.patches = service, manifest["partitions"]["49"], {}
        self.directory = load(service, self.partition)
        self.values = set(self.directory.values())
        self.fetched = 0

    def read(self, file: dict) -> bytes:
        if file["sha256"] not in self.patches:
            self.fetched += 1
            self.patches[file["sha256"]] = self.service.data(file)
        return self.patches[file["sha256"]]

    def now(self, manifest: dict) -> set[int]:
        """The values of now, with the base that is held; what is no longer stated is dropped."""
        partition, self.fetched = manifest["partitions"]["49"], 0
        for name in ("base", "edition", "count", "top_sha256", "screen", "false_positive_rate"):
            assert partition[name] == self.partition[name]
        patches = read_patches(partition, self.read)
        stated = {one["file"]["sha256"] for one in partition["patches"]["files"]}
        self.patches = {name: data for name, data in self.patches.items() if name in stated}
        return patched(self.values, patches)


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operator")
    operator = Operator(folder, MEMBERS, rows=False, remainder_bits=40, patched_from=1000)
    yield operator
    operator.stop()


@pytest.fixture(scope="module")
def service(operator):
    service = Service(operator.url, operator.credential)
    yield service
    service.http.clear()


@pytest.mark.slow
def test_finds_who_is_there_now_by_the_base_of_an_earlier_edition(operator, service, voprf, tmp_path) -> None:
    root = service.root(operator.fingerprint)

    def manifest() -> dict:
        return service.manifest("people", root, tmp_path)

    first = manifest()
    tokens = voprf.tokens(service, first, identifiers([*BOOK, LEAVES, JOINS]))
    client = Client(service, first)
    assert "patches" not in client.partition
    value = {one: client.directory.shape.value(token) for one, token in tokens.items() if b"+49" in one}

    def found(values: set[int]) -> set[bytes]:
        return {one for one in value if value[one] in values}

    def stock() -> set[bytes]:
        report = operator.stock_sync()
        assert report["new_identifiers"] == 0
        return {one for one in found_by(report) if b"+49" in one}

    members = identifiers(MEMBERS) & value.keys()
    assert found(client.values) == members == {one for one in found_by(operator.first_sync) if b"+49" in one}

    operator.run("members", "remove", LEAVES, COMES_BACK)
    operator.run("members", "add", JOINS, PASSES_THROUGH)
    operator.run("publish")
    second = manifest()
    now = found(client.now(second))
    changed = identifiers([JOINS, PASSES_THROUGH])
    assert now == (members | changed) - identifiers([LEAVES, COMES_BACK]) == stock()
    assert client.fetched == 1
    assert found(client.values) == members, "the base is of the edition before"

    operator.run("members", "remove", PASSES_THROUGH)
    operator.run("members", "add", COMES_BACK)
    operator.run("publish")
    third = manifest()
    now = client.now(third)
    assert found(now) == (members | identifiers([JOINS])) - identifiers([LEAVES]) == stock()
    assert client.fetched == 1, "the older patch is held"
    assert [(one["from"], one["to"]) for one in third["partitions"]["49"]["patches"]["files"]] == [
        (1, 2),
        (2, 3),
    ]
    by_ranges(service, third, value, found(now))
    must_be_refused(third, client)

    for number in BESIDE:
        operator.run("members", "add", number)
        operator.run("publish")
    merged = manifest()
    assert [(one["from"], one["to"]) for one in merged["partitions"]["49"]["patches"]["files"]] == [(1, 9)]
    later = client.now(merged)
    assert client.fetched == 1
    assert len(client.patches) == 1
    assert (now - later, len(later - now)) == (set(), len(BESIDE))

    operator.set("patched_from", 0)
    operator.run("publish")
    anew = manifest()["partitions"]["49"]
    assert "patches" not in anew
    (listed,) = anew["deltas"]
    delta = read_delta(service.data(listed["file"]), anew)
    assert (delta.editions, delta.old_sha256) == ((1, 10), client.partition["base"]["sha256"])
    assert patched(client.values, [delta]) == set(load(service, anew).values()) == later


def by_ranges(service: Service, manifest: dict, value: dict[bytes, int], expected: set[bytes]) -> None:
    """Buckets are of the base; the patches come after them."""
    partition = manifest["partitions"]["49"]
    base = partition["base"]
    directory = Directory(partition, lambda start, end: service.part(base, start, end))
    now = {one for one in value if directory.holds(value[one])}
    for patch in read_patches(partition, service.data):
        now |= {one for one in value if value[one] in patch.joined}
        now -= {one for one in value if value[one] in patch.left}
    assert now == expected


def must_be_refused(manifest: dict, client: Client) -> None:
    """What a client does not believe of patches that it could read."""
    partition = manifest["partitions"]["49"]
    stated = partition["patches"]
    first, last = stated["files"]
    check_patches(partition, manifest)
    for other in (
        partition | {"labels": {}},
        {name: value for name, value in partition.items() if name != "critical"},
        {name: value for name, value in partition.items() if name != "patches"},
        *(
            partition | {"patches": stated | more}
            for more in (
                {"files": []},
                {"files": [last]},
                {"files": [first]},
                {"edition": manifest["edition"] + 1},
                {"count": 23_171},
                {"count": 11_585},
                {"state": stated["state"].upper()},
                {"files": [first, last | {"file": last["file"] | {"length": partition["base"]["length"]}}]},
                {"files": [first, last | {"file": last["file"] | {"length": 160}}]},
            )
        ),
    ):
        with pytest.raises(Disbelieved):
            check_patches(other, manifest)
    with pytest.raises(Disbelieved, match="rows beside patches"):
        check_patches(partition, manifest | {"rows": {}})
    for more in ({"count": stated["count"] + 1}, {"state": "ab" * 32}, {"files": [last]}):
        with pytest.raises(Disbelieved):
            read_patches(partition | {"patches": stated | more}, client.read)
    patches: list[Delta] = read_patches(partition, client.read)
    with pytest.raises(Disbelieved, match="by a patch"):
        patched(client.values, [patches[0], patches[0]])
