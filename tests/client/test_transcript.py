"""The record of a sync, as a file."""

from contactsync.client.transcript import TranscriptWriter, read_transcript


def test_a_transcript_of_nothing_is_removed(tmp_path):
    path = tmp_path / "transcript"
    with TranscriptWriter(path, "https://server"):
        pass
    assert not path.exists(), "the same command may be tried again"
    with TranscriptWriter(path, "https://server") as writer:
        writer.record(1, True, memoryview(b"GET"))
    assert len(list(read_transcript(path))) == 1
