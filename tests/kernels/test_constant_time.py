"""No secret decides about a jump, an address or a division in the machine code of the secret kernels.

Not here: `frame` (its time depends on the messages' lengths) and `multiscalar_vartime` (public data).
"""

import functools
import os
import platform
import subprocess
import sys

import numba
import pytest
from machine_code import Analysis
from machine_code_arm import ArmAnalysis, assembly
from numba import types

from contactsync.kernels import batch, dpf, policy, scalar, selecting, sha512, siv
from contactsync.kernels.lanes import WIDTHS

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the analysis reads x86-64 code")

WORDS = types.Array(types.uint64, 1, "C")
INT = types.int64

SECRET_KERNELS = {
    batch.multiply: (WORDS, WORDS, INT, WORDS, WORDS, WORDS),
    batch.double_encode: (WORDS, WORDS, WORDS),
    batch.derive: (WORDS, WORDS),
    batch.decode: (WORDS, WORDS, WORDS),
    batch.encode: (WORDS, WORDS),
    batch.add: (WORDS, WORDS, WORDS),
    scalar.multiply_add: (WORDS, INT, WORDS, INT, WORDS, INT, WORDS),
    scalar.invert: (WORDS, WORDS, WORDS),
    sha512.sha512: (WORDS, WORDS, INT, WORDS, WORDS),
}
AES_KERNELS = {  # of instructions of x86 alone, and so without a width
    siv.seal: (WORDS, WORDS, WORDS, WORDS, INT, WORDS),
    siv.unseal: (WORDS, WORDS, WORDS, WORDS, INT, WORDS),
    siv.encrypt_blocks: (WORDS, WORDS, WORDS),
    dpf.expand_keys: (WORDS, INT, WORDS, WORDS, WORDS),
}


@functools.cache
def compiled(function, signature):
    """Compiled anew, for the cache keeps no assembly."""
    dispatcher = numba.njit(nogil=True, forceinline=False)(function)
    dispatcher.compile(signature)
    return dispatcher


def analyse(function, signature) -> Analysis:
    """What is found in the code for this processor."""
    (text,) = compiled(function, signature).inspect_asm().values()
    return Analysis(text, function.__name__)


def analyse_for_arm(function, signature) -> ArmAnalysis:
    """What is found in the code that LLVM makes for AArch64."""
    (ir,) = compiled(function, signature).inspect_llvm().values()
    return ArmAnalysis(assembly(ir), function.__name__)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [8, 1], ids=["8-lanes", "1-lane"])
@pytest.mark.parametrize("kernel", SECRET_KERNELS, ids=lambda kernel: kernel.__name__)
def test_secret_kernel(kernel, lanes) -> None:
    if lanes == 8 and not policy.has_ifma():
        pytest.skip("this CPU has no AVX-512 IFMA")
    found = analyse(kernel.py_func, (numba.typeof(WIDTHS[lanes]), *SECRET_KERNELS[kernel]))
    assert found.leaks == set()
    # It has seen loops, and has followed secrets: it is not blind.
    assert found.jumps >= 1
    assert found.secret_instructions > 50


@pytest.mark.slow
@pytest.mark.skipif(not policy.has_aes(), reason="this CPU has no AES instructions")
@pytest.mark.parametrize("kernel", AES_KERNELS, ids=lambda kernel: kernel.__name__)
def test_secret_kernel_of_aes(kernel) -> None:
    found = analyse(kernel.py_func, AES_KERNELS[kernel])
    assert found.leaks == set()
    assert found.jumps >= 1
    assert found.secret_instructions > 50


@pytest.mark.slow
@pytest.mark.parametrize("kernel", SECRET_KERNELS, ids=lambda kernel: kernel.__name__)
def test_code_for_aarch64(kernel) -> None:
    """Of one lane: eight are instructions of x86."""
    found = analyse_for_arm(kernel.py_func, (numba.typeof(WIDTHS[1]), *SECRET_KERNELS[kernel]))
    assert found.leaks == set()
    assert found.jumps >= 1
    assert found.secret_instructions > 50


def adds_alone(wide, narrow, blocks, at, bits, place, masks, sums, a, b, c, each):  # noqa: PLR0917
    for group in range(3):
        selecting._select(bits, place, 5, masks, 64 * group)
    for row in range(32):
        selecting._add_row(wide, narrow, blocks, at, each, masks, row, 32, sums, (a, b, c))


def adds_together(wide, narrow, blocks, at, bits, place, masks, sums, a, b, c, each):  # noqa: PLR0917
    for client in range(24):
        selecting._select(bits, place, 5, masks, 64 * client)
    selecting._add(wide, narrow, blocks, (at, each, 16, 8), masks, 32, sums, (a, b, c), 100, 8)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [adds_alone, adds_together], ids=lambda kernel: kernel.__name__)
def test_selected_rows_are_masked_and_not_skipped(kernel) -> None:
    """Inside the kernel of `selecting`, places are computed from public constants: here they are given."""
    widths = [numba.typeof(WIDTHS[lanes]) for lanes in (8, 1)]
    octets = types.Array(types.uint8, 1, "C")
    found = analyse(kernel, (*widths, WORDS, INT, octets, INT, WORDS, WORDS, INT, INT, INT, INT))
    assert found.leaks == set()
    assert found.jumps >= 1
    assert found.secret_instructions > 20


# --- the analysis finds what it looks for -------------------------------------------------------------


def branches(secrets, out):
    for i in range(secrets.size):
        if secrets[i] & 1:
            out[i] = secrets[i] * 3
        else:
            out[0] += 7


def looks_up(secrets, table, out):
    for i in range(secrets.size):
        out[i] = table[secrets[i] & 15]


def loops(secrets, out):
    for i in range(secrets.size):
        x = secrets[i]
        while x & 1:
            x = x * 5 >> 1
        out[i] = x


def divides(secrets, out):
    for i in range(secrets.size):
        out[i] = (1 << 40) // (secrets[i] | 1)


@numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _steps(count, x):
    for i in range(count):
        x = (x ^ (x >> 3)) * 5 + i
    return x


def loops_in_a_callee(secrets, out):
    for i in range(secrets.size):
        out[i] = _steps(secrets[i], 3)


def keeps_to_sizes(secrets, out):
    for i in range(secrets.size):
        mask = -(secrets[i] & 1)
        out[i] = (secrets[i] ^ (mask & 7)) + _steps(20, secrets[i])


@pytest.mark.slow
@pytest.mark.parametrize("code", [analyse, analyse_for_arm], ids=["x86-64", "aarch64"])
@pytest.mark.parametrize(
    ("function", "arrays", "leak"),
    [
        (branches, 2, "a conditional jump depends on a secret"),
        (looks_up, 3, "an address depends on a secret"),
        (loops, 2, "a conditional jump depends on a secret"),
        (loops_in_a_callee, 2, "a conditional jump depends on a secret"),
        (divides, 2, "a division takes a secret"),
        (keeps_to_sizes, 2, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_analysis_tells_good_from_bad(function, arrays, leak, code) -> None:
    found = code(function, (types.Array(types.int64, 1, "C"),) * arrays)
    if leak is None:
        assert found.leaks == set()
        assert found.jumps >= 2
    else:
        assert any(text.startswith(leak) for text in found.leaks), found.leaks


@pytest.mark.slow
def test_secret_kernels_on_a_plain_cpu() -> None:
    """What LLVM makes of one lane for a CPU without any extension is other code: no BMI, no AVX."""
    options = ["-q", "-p", "no:cacheprovider", "-k", "test_secret_kernel and 1-lane"]
    command = [sys.executable, "-m", "pytest", *options, __file__]
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{len(SECRET_KERNELS)} passed" in done.stdout, done.stdout
