"""Migrates copies of a folder of version 1 in forked children, each of which kills itself at another step.

Run by test_version_1.py in a process of its own: `migration_driver.py FOLDER DEAD FIRST`. A step is a
statement that SQLite is about to run, or a call that changes the disk (CALLS). A child dies (SIGKILL) before
its n-th step or, if that is a call, right after it. Prints the folders of the dead.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from contactsync.server.settings import DataFolder
from contactsync.server.storage import opening

CALLS = ["open", "replace", "fsync", "unlink"]


def arm(limit, moment):
    steps = 0

    def step():
        nonlocal steps
        steps += 1
        return steps == limit

    def counted(function):
        def call(*arguments, **options):
            mine = step()
            if mine and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def connect(*arguments, **options):
        connection = real(*arguments, **options)
        connection.set_trace_callback(lambda _sql: step() and os.kill(os.getpid(), signal.SIGKILL))
        return connection

    real, sqlite3.connect = sqlite3.connect, connect
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def is_killed(path, first, limit, moment):
    child = os.fork()
    if not child:
        arm(limit, moment)
        getattr(opening, f"open_{first}")(DataFolder(path)).close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def main(folder, dead, first):
    found = []
    for moment in ("before", "after"):
        limit = 1
        while True:
            copy = dead / f"{moment}-{limit}"
            shutil.copytree(folder, copy)
            if not is_killed(copy, first, limit, moment):
                break
            found.append(str(copy))
            limit += 1
    print(json.dumps(found))


main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
