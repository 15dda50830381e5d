"""A process that has loaded what a command needs, and forks one for each command: many can be killed.

A new Python takes one to two seconds for its imports and kernels; a fork of one that has them, hundredths.
`Zygote(warm)` runs `warm` in the process to be forked, so that everything is loaded. Each `run` then runs a
command as `python -m contactsync` would, or Python code, in a fork.

To be killed, such a process is as good as a new one. The kernel knows it as a process of its own: with its
own system calls, descriptors and locks, and its death leaves what a new one's would. What a new one does
besides are its imports, which change no file. What could make a difference is refused:

- a second thread: a fork has only the one that forked, and the locks that were held by the others for ever;
- what has been opened since the start: its lock and its offset would be shared.

strace attaches before the command begins, and counts its system calls from there.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from power_cut import STRACE


def command(*words):
    """What makes a process run `contactsync WORDS`."""
    return {"words": [str(word) for word in words]}


def code(text, *arguments):
    """What makes a process run Python code, as `python -c` does."""
    return {"code": text, "arguments": [str(one) for one in arguments]}


def at_a_terminal(what, terminal, folder):
    """The same in a folder, with a terminal (its path) to talk to that no other session has."""
    return what | {"terminal": terminal, "folder": str(folder)}


class Zygote:
    """`warm` is what loads everything: what `command` or `code` gives. It runs once, in the zygote."""

    def __init__(self, warm):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # else NumPy's import starts threads
        tests = os.pathsep.join((str(Path(__file__).parent), environment["PYTHONPATH"]))
        self.popen = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"PYTHONPATH": tests},
        )
        self._ask(warm)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.stdin.close()
        self.popen.stdout.close()
        self.popen.wait(20)

    def run(self, what, *strace):
        """Run it to its end, under `strace` with these options if there are any; its code, as Popen gives it.

        What it prints goes nowhere, unless it is at a terminal.
        """
        pid = self._ask(what)
        with contextlib.ExitStack() as stack:
            if strace:
                words = [STRACE, "-f", "-p", str(pid), *map(str, strace)]
                tracer = stack.enter_context(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
                attached = tracer.stderr.readline()
                assert attached == f"{words[0]}: Process {pid} attached\n", attached + tracer.stderr.read()
            ended = self._ask("go")
            if strace:
                tracer.stderr.read()
        return ended

    def _ask(self, question):
        self.popen.stdin.write(json.dumps(question) + "\n")
        self.popen.stdin.flush()
        answer = self.popen.stdout.readline()
        assert answer, f"the zygote ended with {self.popen.wait()}"
        return json.loads(answer)


def sit_down(terminal, folder):
    """As somebody's shell would have it: a session of its own, stdin, stdout and stderr are the terminal."""
    os.chdir(folder)
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)  # which makes it the terminal of this session
    for number in range(3):
        os.dup2(opened, number)
    os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))


def perform(what):
    if "terminal" in what:
        sit_down(what["terminal"], what["folder"])
    if "code" in what:
        sys.argv = ["-c", *what["arguments"]]
        exec(compile(what["code"], "<code>", "exec"), {"__name__": "__main__"})
        return
    from contactsync.commands import main

    sys.argv = ["contactsync", *what["words"]]
    main(what["words"])


def performed(what):
    """The code of a process that does nothing else."""
    try:
        perform(what)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a new Python would print it as well
        traceback.print_exc()
        return 1
    return 0


def open_files():
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of the listing itself
            found[path.name] = str(path.readlink())
    return found


def check_forkable(files):
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork needs a process of one thread"
    assert open_files() == files, "something is open since the warm-up"


def serve(questions, answers):
    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    files = open_files()
    status = performed(json.loads(questions.readline()))
    assert status == 0, status
    gc.collect()
    gc.freeze()  # or the children's collections copy all pages of it
    check_forkable(files)
    answer("warm")
    for line in questions:
        gate, start = os.pipe()
        child = os.fork()
        if not child:
            os.close(start)
            answers.close()
            os.read(gate, 1)
            os.close(gate)
            status = performed(json.loads(line))
            sys.stdout.flush()
            os._exit(status)
        os.close(gate)
        answer(child)
        assert json.loads(questions.readline()) == "go"
        os.close(start)
        answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main():
    """What is asked and answered goes through copies of stdin and stdout; commands have none."""
    with os.fdopen(os.dup(0)) as questions, os.fdopen(os.dup(1), "w") as answers:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.close(nothing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(questions, answers)


if __name__ == "__main__":
    main()
