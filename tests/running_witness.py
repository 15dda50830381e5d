"""`contactsync witness` as its own process, and a caller of it."""

import http.client
import os
import signal
import subprocess
import sys
import urllib.parse

from contactsync.publication.log.notes import Verifier

NAME = "witness.example.org/w1"


class RunningWitness:
    """`contactsync witness`, on a port of its own."""

    def __init__(self, state, *vkeys, options=(), files=None):
        """`files`: how many it may open."""
        logs = [word for vkey in vkeys for word in ("--log", vkey)]
        command = [
            "witness",
            "--listen",
            "127.0.0.1:0",
            "--state",
            str(state),
            "--name",
            NAME,
            *logs,
            *options,
        ]
        program = [sys.executable, "-m", "contactsync", *command]
        self.process = subprocess.Popen(
            ["prlimit", f"--nofile={files}", *program] if files else program,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.verifier = Verifier.parse(self.process.stdout.readline().strip())
        said = self.process.stdout.readline()
        assert said.startswith("listening on http"), (said, self.process.stderr.read())
        self.url = said.split()[-1]
        self.port = urllib.parse.urlsplit(self.url).port

    def post(self, body, path="/add-checkpoint", method="POST", headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def stop(self):
        """End it as its operator does. What it has written to its log."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, said
        assert "Traceback" not in said
        return said
