"""How many strings of digits some patterns have in common, exactly: product of automata, state by state.

Made for the patterns of libphonenumber's metadata and of the profile: digits, sets, groups, alternatives,
repetitions with bounds. It refuses anything else.
"""

import re
from collections.abc import Iterator
from functools import cache
from re import _parser as parser

ALL = frozenset("0123456789")
Node = tuple  # what is left to match: nested pairs (item, rest), () at the end


def counted(*patterns: str, length: int) -> int:
    """How many strings of `length` digits match every pattern fully."""
    starts = tuple(frozenset(_closed(tuple(_items(parser.parse(one))))) for one in patterns)

    @cache
    def ways(states: tuple[frozenset, ...], left: int) -> int:
        if not all(states):
            return 0
        if left == 0:
            return int(all(() in state for state in states))
        return sum(ways(tuple(_step(state, digit) for state in states), left - 1) for digit in sorted(ALL))

    return ways(starts, length)


def _items(tree) -> Iterator[tuple]:
    for operation, argument in tree:
        name = str(operation)
        if name == "LITERAL":
            yield ("one", frozenset(chr(argument)))
        elif name == "IN":
            yield ("one", frozenset().union(*map(_members, argument)))
        elif name == "SUBPATTERN":
            yield from _items(argument[3])
        elif name == "BRANCH":
            yield ("either", tuple(tuple(_items(branch)) for branch in argument[1]))
        elif name == "MAX_REPEAT":
            least, most, inner = argument
            assert most < 20, "without a bound"
            once = tuple(_items(inner))
            yield from once * least
            rest: tuple = ()
            for _ in range(most - least):
                rest = (("either", (once + rest, ())),)
            yield from rest
        else:
            raise NotImplementedError(name)


def _members(part) -> frozenset[str]:
    name, argument = str(part[0]), part[1]
    if name == "LITERAL":
        return frozenset(chr(argument))
    if name == "RANGE":
        return frozenset(map(chr, range(argument[0], argument[1] + 1)))
    assert (name, str(argument)) == ("CATEGORY", "CATEGORY_DIGIT")
    return ALL


def _closed(state: tuple) -> Iterator[tuple]:
    """What a state is without alternatives at its front."""
    if not state or state[0][0] == "one":
        yield state
        return
    for branch in state[0][1]:
        yield from _closed(branch + state[1:])


@cache
def _after(state: tuple, digit: str) -> frozenset:
    return frozenset(_closed(state[1:])) if state and digit in state[0][1] else frozenset()


@cache
def _step(states: frozenset, digit: str) -> frozenset:
    return frozenset().union(*(_after(state, digit) for state in states))


def brute(*patterns: str, length: int) -> int:
    """The same by trying."""
    texts = (f"{number:0{length}}" for number in range(10**length))
    return sum(all(re.fullmatch(one, text) for one in patterns) for text in texts)
