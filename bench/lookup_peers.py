"""What else looks things up privately: a package from PyPI, if it is installed, and published figures.

sycret is the one package found that makes and evaluates distributed point functions without a compiler (its
evaluation is of one point at a time, over 2^32). PyPI's blyss has the client of Spiral, and no server;
fss-crypto compiles kernels with PyTorch.
"""

from __future__ import annotations

import functools

import numpy as np

from bench.harness import Contender, Row

SYCRET = "sycret"
_FEW = 4
"""Keys whose expansion is measured: all of them would take half a minute."""


def sycret_contenders(keys: int, bits: int) -> dict[str, Contender] | None:
    """Has sycret make so many pairs of keys, and evaluate one at all 2^bits points; None if it is absent.

    An item is a key. Its shares are checked first: they add up to 1 at one point, and to 0 elsewhere.
    """
    try:
        from sycret import EqFactory
    except ImportError:
        return None
    factory = EqFactory(n_threads=1)
    one, other = factory.keygen(_FEW)
    at = factory.alpha(one, other).astype(np.int64)
    for where, value in ((at, 1), (at ^ 1, 0)):
        shares = factory.eval(0, where, one, n_threads=1) + factory.eval(1, where, other, n_threads=1)
        assert (shares % (1 << 32) == value).all(), "sycret's shares do not add up"
    points = np.tile(np.arange(1 << bits, dtype=np.int64), _FEW)
    of_each = np.repeat(one, 1 << bits, axis=0)
    return {
        "sycret makes": Contender(functools.partial(factory.keygen, keys), keys),
        "sycret expands": Contender(functools.partial(factory.eval, 0, points, of_each, n_threads=1), _FEW),
    }


def _published(scheme: str, where: str, servers: int, task: str, octets: str, time: str) -> Row:
    return {
        "scheme": scheme,
        "source": where,
        "servers": servers,
        "task": task,
        "traffic": octets,
        "time": time,
    }


PUBLISHED: list[Row] = [
    _published(
        "PIR-PSI (Demmler, Rindal, Rosulek, Trieu)", "PoPETs 2018(4), abstract", 2,
        "1,024 contacts, 67 million members", "4.28 MiB", "1.36 s, several threads",
    ),
    _published(
        "DISCO (Scaling Mobile Private Contact Discovery to Billions of Users)", "ESORICS 2023, abstract", 2,
        "up to 1,024 contacts, over 2 billion members", "-", "online under 2 s, client on a smartphone",
    ),
    _published(
        "Checklist (Kogan, Corrigan-Gibbs)", "ePrint 2021/345, text of the paper", 2,
        "1 look-up, 3 million entries", "-", "under 0.5 ms of a core on average; a hint for each client",
    ),
    _published(
        "SimplePIR (Henzinger et al.)", "USENIX Security 2023, abstract", 1,
        "1 look-up, 1 GB", "242 kB, after a hint of 121 MB", "10 GB/s a core",
    ),
    _published(
        "DoublePIR (Henzinger et al.)", "USENIX Security 2023, abstract", 1,
        "1 look-up, 1 GB", "345 kB, after a hint of 16 MB", "7.4 GB/s a core",
    ),
    _published(
        "SealPIR (Angel, Chen, Laine, Setty)", "as OnionPIR (CCS 2021) states it in its introduction", 1,
        "1 entry of 30 KB among 1 million", "-", "about 400 s of the server",
    ),
]  # fmt: skip
"""Each as its source states it. Machines differ, and are not named in these passages."""
