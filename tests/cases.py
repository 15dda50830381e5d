"""Many small cases in one test: a test of its own would cost each more than it takes to run."""

import pytest


def each(cases, check):
    """Call `check` for every case, a name and arguments. Those that fail are raised together, by name."""
    assert cases
    failed = []
    for name, *arguments in cases:
        try:
            check(*arguments)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - all of them are shown
            error.add_note(f"in the case {name!r}")
            failed.append(error)
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} of {len(cases)} cases", failed)
