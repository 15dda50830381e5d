"""Merkle trees as RFC 6962 §2.1 writes them down, slowly: the twin of contactsync.publication.log.

Nothing of the package is used. D is a list of entries, and every hash is computed from entries each time.
"""

import hashlib


def sha256(octets):
    return hashlib.sha256(octets).digest()


def largest_power(n):
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def MTH(D):
    if len(D) == 0:
        return sha256(b"")
    if len(D) == 1:
        return sha256(b"\x00" + D[0])
    k = largest_power(len(D))
    return sha256(b"\x01" + MTH(D[:k]) + MTH(D[k:]))


def PATH(m, D):
    if len(D) == 1:
        return []
    k = largest_power(len(D))
    if m < k:
        return [*PATH(m, D[:k]), MTH(D[k:])]
    return [*PATH(m - k, D[k:]), MTH(D[:k])]


def PROOF(m, D):
    return SUBPROOF(m, D, True)


def SUBPROOF(m, D, b):
    if m == len(D):
        return [] if b else [MTH(D)]
    k = largest_power(len(D))
    if m <= k:
        return [*SUBPROOF(m, D[:k], b), MTH(D[k:])]
    return [*SUBPROOF(m - k, D[k:], False), MTH(D[:k])]


def consistent(m, n, D, first, second):
    """Whether D, which gave the root `second` of n entries, begins with the m that gave `first`."""
    return MTH(D[:m]) == first and MTH(D[:n]) == second
