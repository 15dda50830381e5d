"""Witnesses that end with their test."""

import pytest
from running_witness import RunningWitness


@pytest.fixture
def start():
    running = []

    def begin(*arguments, **options):
        running.append(RunningWitness(*arguments, **options))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.kill()
