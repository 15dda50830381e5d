import numpy as np
import pytest

from contactsync.tokens import Tokens


@pytest.mark.slow
def test_round_trip_and_order() -> None:
    outputs = np.random.default_rng(1).integers(0, 256, (1000, 64), dtype=np.uint8)
    tokens = Tokens.from_outputs(outputs)
    assert (tokens.to_bytes() == outputs[:, :10]).all()
    order = np.lexsort((tokens.tail, tokens.head))
    rows = [bytes(r) for r in outputs[order]]
    assert rows == sorted(rows)
    assert len(Tokens.concatenate([tokens, tokens.take(tokens.head > 2**63)])) > 1000
    assert len(Tokens.concatenate([])) == 0
