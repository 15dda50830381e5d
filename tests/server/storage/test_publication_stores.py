"""What every store of publications does; each reads what a real publish has written."""

import pytest
from server_tools import AMERICAN, GERMAN
from store_tools import PUBLICATIONS


@pytest.fixture(params=PUBLICATIONS)
def published(request, operator):
    operator.add(GERMAN, AMERICAN)
    return PUBLICATIONS[request.param](operator.folder.public)


def test_before_the_first_publish(published, operator):
    assert published.history("people", 3) == []
    assert published.metadata("timestamp.json") is None
    assert published.root() == operator.repository.root_bytes()


def test_what_was_published(published, operator):
    operator.publish()
    operator.add(GERMAN + 1)
    operator.publish()
    now, before = published.history("people", 3)
    assert now == operator.manifest()
    assert (now.edition, before.edition) == (2, 1)
    assert published.history("people", 1) == [now]
    assert published.history("business", 3) == []
    for path in (operator.folder.public / "metadata").iterdir():
        assert published.metadata(path.name) == path.read_bytes()
    assert published.manifest(f"{now.sha256()}.people.json") == now.to_bytes()
    assert published.metadata("9.targets.json") is None
    assert published.manifest(f"{'0' * 64}.people.json") is None
    assert published.data("0" * 64) is None


def test_the_stamp_tells_of_a_publish(published, operator):
    stamps = [published.stamp()]
    for _ in range(2):
        operator.publish()
        stamps.append(published.stamp())
        assert published.stamp() == stamps[-1]
    assert len(set(stamps)) == 3


def test_an_open_data_file_outlives_its_name(published, operator):
    operator.publish()
    base = operator.manifest().partitions["49"].base
    path = operator.folder.data / base.sha256
    whole = path.read_bytes()
    file = published.data(base.sha256)
    path.unlink()
    assert file.size == base.length == len(whole)
    assert file.read(0, file.size) == whole
    assert file.read(5, 3) == whole[5:8]
    assert file.read(file.size - 2, 99) == whole[-2:]
    assert file.read(file.size, 1) == b""
    file.close()
    assert published.data(base.sha256) is None
