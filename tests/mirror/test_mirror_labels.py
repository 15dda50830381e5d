"""A mirror of rows that have labels: it fetches sidecars too, and serves the labels that were signed."""

from dataclasses import replace

import pytest
from mirror_tools import FirstServer, RunningMirror, refused, state_rows, trusting

from contactsync.directory.files import write_file

pytestmark = pytest.mark.slow  # processes

ANNA, BERND, CARLA = "+4915100000001", "+4915100000002", "+4915100000003"
FIRST = (ANNA, "+12125550100", "+447700900123")
SECOND = (*FIRST, BERND)


@pytest.fixture
def labelled(publisher):
    """Its rows have labels."""
    publisher.labels = {ANNA: "anna@example", BERND: "bernd@example"}
    state_rows(publisher, with_labels=True)
    return publisher


def sidecar_of(service):
    return service.manifest.partitions["49"].labels.file.sha256


def file_of_rows(service, data):
    """Which file, and when written: rows that are made anew are another one."""
    found = (data / "rows" / "people" / f"{service.manifest.rows.level.sha256}.rows").stat()
    return found.st_ino, found.st_mtime_ns


def names_in(data):
    return {path.name for path in data.rglob("*") if path.is_file()}


def test_members_are_found_with_their_labels(labelled, tmp_path):
    labelled.publish(*FIRST)
    assert labelled.manifest.rows.labelled
    first = FirstServer(labelled, tmp_path / "first")
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        assert first.labels(mirror, labelled, ANNA, BERND) == [b"anna@example", None]
        assert mirror.health()[1]["rows"] == [first.root]
        # Sidecars are for accounts, as bases are.
        assert mirror.ask(f"/v1/data/{sidecar_of(labelled)}")[0] == 404
        mirror.stop()


def test_an_edition_in_which_only_a_label_changed(labelled, tmp_path):
    """It comes by the delta of the labels, and both editions say what they said."""
    labelled.publish(*FIRST)
    first = FirstServer(labelled, tmp_path / "first")
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        before = sidecar_of(labelled)
        labelled.requests.clear()
        labelled.labels[ANNA] = "anna2@example"
        labelled.publish(*FIRST)
        part = labelled.manifest.partitions["49"]
        assert (part.edition, part.labels.edition) == (1, 2)
        second = FirstServer(labelled, tmp_path / "second")
        mirror.reaches(2)
        assert first.root != second.root
        assert first.labels(mirror, labelled, ANNA) == [b"anna@example"]
        assert second.labels(mirror, labelled, ANNA) == [b"anna2@example"]
        assert labelled.asked(part.labels.deltas[0].file.sha256)
        assert not labelled.asked(part.labels.file.sha256)
        assert "fetched whole" not in mirror.said()
        mirror.stop()
    made, published = (
        folder / "data" / sidecar_of(labelled) for folder in (tmp_path / "mirror", labelled.folder)
    )
    assert made.read_bytes() == published.read_bytes()
    assert before in names_in(tmp_path / "mirror")
    assert not any((tmp_path / "mirror" / "work").iterdir())


def test_members_join_and_leave_over_several_editions(labelled, tmp_path):
    labelled.publish(*FIRST)
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        mirror.stop()
    oldest = sidecar_of(labelled)
    labelled.publish(*SECOND)
    labelled.labels[CARLA] = "carla@example"
    labelled.publish(*SECOND, CARLA)
    labelled.publish(*SECOND[1:], CARLA)
    labelled.requests.clear()
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:  # it is three editions behind
        mirror.reaches(4)
        assert not labelled.asked(sidecar_of(labelled))
        now = FirstServer(labelled, tmp_path / "now")
        said = now.labels(mirror, labelled, ANNA, BERND, CARLA)
        assert said == [None, b"bernd@example", b"carla@example"]
        labelled.publish(*SECOND, CARLA)
        mirror.reaches(5)
        mirror.stop()
    assert oldest not in names_in(tmp_path / "mirror")


def test_a_partition_whose_labels_grew_is_fetched_whole(labelled, tmp_path):
    """No delta leads to labels of another size."""
    labelled.publish(*FIRST)
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        labelled.size = 32
        labelled.crowd = {"49": 4000}
        labelled.labels[ANNA] = "anna@a-longer-name.example"
        labelled.sealed.clear()
        labelled.publish(*FIRST)
        mirror.reaches(2)
        assert labelled.asked(sidecar_of(labelled))
        second = FirstServer(labelled, tmp_path / "second")
        assert second.labels(mirror, labelled, ANNA) == [b"anna@a-longer-name.example"]
        mirror.stop()


def test_an_edition_without_labels_follows_and_one_with_labels_again(labelled, tmp_path):
    labelled.publish(*FIRST)
    before = sidecar_of(labelled)
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        state_rows(labelled, with_labels=False)
        labelled.labels[ANNA] = "anna2@example"
        labelled.publish(*FIRST)
        assert not labelled.manifest.rows.labelled
        mirror.reaches(2)
        made = file_of_rows(labelled, tmp_path / "mirror")
        labelled.labels[ANNA] = "anna3@example"
        labelled.publish(*FIRST)
        mirror.reaches(3)
        assert file_of_rows(labelled, tmp_path / "mirror") == made, "labels have changed: no row has"
        mirror.until(lambda *_: not {before, sidecar_of(labelled)} & names_in(tmp_path / "mirror"))
        assert not labelled.asked(sidecar_of(labelled))
        state_rows(labelled, with_labels=True)
        labelled.publish(*SECOND)
        mirror.reaches(4)
        now = FirstServer(labelled, tmp_path / "now")
        assert now.labels(mirror, labelled, ANNA, BERND) == [b"anna3@example", b"bernd@example"]
        mirror.stop()


def test_an_edition_of_the_same_rows_keeps_them(labelled, tmp_path):
    labelled.publish(*FIRST)
    made = []
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        made.append(file_of_rows(labelled, tmp_path / "mirror"))
        labelled.publish(*FIRST)
        mirror.reaches(2)
        made.append(file_of_rows(labelled, tmp_path / "mirror"))
        assert FirstServer(labelled, tmp_path / "now").labels(mirror, labelled, ANNA) == [b"anna@example"]
        mirror.stop()
    assert made[0] == made[1]


def test_a_restart_serves_from_the_disk(labelled, tmp_path):
    labelled.publish(*FIRST)
    first, data = FirstServer(labelled, tmp_path / "first"), tmp_path / "mirror"
    with RunningMirror(labelled, data) as mirror:
        mirror.stop()
    labelled.tamper = lambda _, reply: setattr(reply, "cut", 0)
    with RunningMirror(labelled, data) as mirror:
        assert first.labels(mirror, labelled, ANNA) == [b"anna@example"]
        mirror.stop()


def test_what_is_taken_out_of_service_goes_with_its_labels(labelled, tmp_path):
    labelled.publish(*SECOND)
    old, sidecar = labelled.manifest.rows.level.sha256, sidecar_of(labelled)
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        labelled.publish(*FIRST)
        new = labelled.manifest.rows.level.sha256
        mirror.until(lambda _, body: body["rows"] == [new, old])
        assert sidecar in names_in(tmp_path / "mirror")
        (labelled.folder / "data" / old).unlink()
        mirror.until(lambda _, body: body["rows"] == [new])
        mirror.until(lambda *_: not {old, sidecar} & names_in(tmp_path / "mirror"))
        FirstServer(labelled, tmp_path / "first").look_up(mirror, [1, 2])
        mirror.stop()


# ---- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["the one before", "the new one"])
def test_a_sidecar_that_is_damaged_in_the_folder_is_fetched(labelled, tmp_path, which):
    labelled.publish(*FIRST)
    data = tmp_path / "mirror"
    with RunningMirror(labelled, data) as mirror:
        mirror.stop()
    damaged = data / "data" / sidecar_of(labelled)
    octets = bytearray(damaged.read_bytes())
    octets[-1] ^= 1
    labelled.publish(*SECOND)
    if which == "the one before":
        damaged.write_bytes(octets)
    else:  # as long as it should be, and not what it should be
        right = (labelled.folder / "data" / sidecar_of(labelled)).read_bytes()
        (data / "data" / sidecar_of(labelled)).write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with RunningMirror(labelled, data) as mirror:
        mirror.reaches(2)
        second = FirstServer(labelled, tmp_path / "second")
        assert second.labels(mirror, labelled, ANNA, BERND) == [b"anna@example", b"bernd@example"]
        assert bool(labelled.asked(sidecar_of(labelled))) == (which == "the one before")
        mirror.stop()


def test_a_download_of_a_sidecar_is_resumed(labelled, tmp_path):
    labelled.publish(*FIRST)
    sidecar, came = sidecar_of(labelled), []

    def tamper(request, reply):
        if request.path.endswith(sidecar):
            reply.cut = 0 if came else 100_000
            came.append(request)

    labelled.tamper = tamper
    assert refused(labelled, tmp_path / "mirror", *trusting(labelled))[0] == 4
    labelled.tamper = lambda *_: None
    labelled.requests.clear()
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        asked = [one.headers.get("range") for one in labelled.requests if one.path.endswith(sidecar)]
        assert asked == ["bytes=100000-"]
        first = FirstServer(labelled, tmp_path / "first")
        assert first.labels(mirror, labelled, ANNA) == [b"anna@example"]
        mirror.stop()


def test_a_sidecar_that_is_not_the_one_named_is_not_used(labelled, tmp_path):
    labelled.publish(*FIRST)

    def change(request, reply):
        if request.path.endswith(sidecar_of(labelled)):
            reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])

    labelled.tamper = change
    code, said = refused(labelled, tmp_path / "mirror", *trusting(labelled))
    assert (code, "does not match the signed manifest" in said) == (5, True)
    labelled.tamper = lambda *_: None
    (labelled.folder / "data" / sidecar_of(labelled)).unlink()
    code, said = refused(labelled, tmp_path / "mirror", *trusting(labelled))
    assert (code, "is for this --audience" in said) == (6, True)


def test_a_sidecar_that_is_none_is_not_served(labelled, tmp_path):
    """The operator signs octets of the right length that are no sidecar: no rows can be made of them."""
    honest = labelled.labelled

    def lying(partition, edition, tokens, old):
        made = honest(partition, edition, tokens, old)
        if edition != 2 or partition.name != "49":
            return made
        path = labelled.folder / "data" / "lie"
        file = write_file(path, [bytes(made.labels.file.length)])
        path.rename(path.with_name(file.sha256))
        return replace(made, labels=replace(made.labels, file=file, deltas=()))

    labelled.publish(*FIRST)
    first, stated = FirstServer(labelled, tmp_path / "first"), labelled.manifest.rows
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        labelled.labelled, labelled.rows_of = lying, lambda _: stated
        labelled.publish(*FIRST)
        mirror.until(lambda _, body: "not a contactsync sidecar" in (body["problem"] or ""))
        assert mirror.health()[1]["edition"] == 1
        assert first.labels(mirror, labelled, ANNA) == [b"anna@example"]
        mirror.stop()


def test_a_delta_of_labels_that_leads_elsewhere_is_passed_over(labelled, tmp_path):
    labelled.publish(*FIRST)
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        honest = labelled.labelled

        def lying(partition, edition, tokens, old):
            """The delta of another change, in a manifest that is signed all the same."""
            made = honest(partition, edition, tokens, old)
            if partition.name != "49" or old is None:
                return made
            right = labelled.sealed.copy()
            labelled.sealed = {octets: entry[::-1].copy() for octets, entry in right.items()}
            wrong = honest(partition, edition, tokens, old)
            labelled.sealed = right
            return replace(made, labels=replace(made.labels, deltas=wrong.labels.deltas))

        labelled.labelled = lying
        labelled.labels[ANNA] = "anna2@example"
        labelled.publish(*FIRST)
        mirror.reaches(2)
        assert "the labels of partition 49 are fetched whole" in mirror.said()
        second = FirstServer(labelled, tmp_path / "second")
        assert second.labels(mirror, labelled, ANNA) == [b"anna2@example"]
        mirror.stop()


def test_rows_with_other_labels_than_the_sidecars_are_not_served(labelled, tmp_path):
    """The operator changes a label, and states the rows of the edition before: those that the mirror has."""
    labelled.publish(*FIRST)
    first, earlier = FirstServer(labelled, tmp_path / "first"), labelled.manifest.rows
    with RunningMirror(labelled, tmp_path / "mirror") as mirror:
        labelled.rows_of = lambda _: earlier
        labelled.labels[ANNA] = "mallory@example"
        labelled.publish(*FIRST)
        mirror.until(lambda _, body: body["problem"])
        status, health = mirror.health()
        assert (status, health["edition"]) == (200, 1)
        assert "directories and labels of epoch 1, edition 2 give other rows" in health["problem"]
        assert "ERROR" in mirror.said()
        assert first.labels(mirror, labelled, ANNA) == [b"anna@example"]
        mirror.until(lambda *_: sidecar_of(labelled) not in names_in(tmp_path / "mirror"))
        state_rows(labelled, with_labels=True)
        labelled.publish(*SECOND)
        mirror.reaches(3)
        third = FirstServer(labelled, tmp_path / "third")
        assert third.labels(mirror, labelled, ANNA, BERND) == [b"mallory@example", b"bernd@example"]
        mirror.stop()
