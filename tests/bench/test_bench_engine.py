"""That what the engine's bench measures can still be called: nothing else calls it in this way."""

from bench import engine


def test_one_batch_goes_through_everything_that_is_measured():
    fixture = engine.Fixture(8, quick=True)
    (batch,) = fixture.batches
    assert batch["evaluated"].shape == (8, 32)
    assert len(batch["proof"]) == 64
