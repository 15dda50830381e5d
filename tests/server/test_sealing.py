"""What a passphrase costs whoever guesses it. Other tests of keys make it cheap."""

import pytest

from contactsync.server import sealing


@pytest.mark.slow
def test_the_cost_is_the_second_recommended_of_rfc_9106():
    first, second = sealing.new_kdf(), sealing.new_kdf()
    assert {name: value for name, value in first.items() if name != "salt"} == {
        "name": "argon2id",
        "iterations": 3,
        "lanes": 4,
        "memory_kib": 64 << 10,
    }
    assert len(bytes.fromhex(first["salt"])) == 16
    assert first["salt"] != second["salt"]
    sealed = sealing.seal(sealing.derive(first, b"correct horse"), b"a label", bytes(32))
    assert sealing.unseal(sealing.derive(first, b"correct horse"), b"a label", sealed) == bytes(32)
    with pytest.raises(sealing.NotOpened):
        sealing.unseal(sealing.derive({**first, "memory_kib": 32}, b"correct horse"), b"a label", sealed)
