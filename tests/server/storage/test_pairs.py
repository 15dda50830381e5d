"""Number and address of one member, in every store: what is done to one is done to both."""

from datetime import timedelta

import numpy as np
import pytest
from label_rows import PEN, outputs_of

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.pairs import Enrolled
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Added, Consented, Origin, today

N = [b"tel:+49151123456%02d" % i for i in range(30)] + [b"tel:+12025550101"]
A = [b"mailto:user%02d@example.org" % i for i in range(30)]


def of(*identifiers):
    return Members.of(identifiers)


def enrol(store, pairs, audience="people", **options):
    numbers = of(*(number for number, _ in pairs))
    address = {number: KINDS["mailto"].keys_of([one])[0] for number, one in pairs}
    keys = [address[one] for one in numbers.identifiers()]
    return store.enrol(numbers, keys, audience, **options)


def about(store, *identifiers):
    """Audiences, objections, label and the other identifier of each of them; None of a stranger."""
    found = []
    for one in identifiers:
        records = store.show(of(one))
        found.append(
            (
                set(records[0].entry.audiences),
                set(records[0].entry.objections),
                records[0].label,
                records[0].other,
            )
            if records
            else None
        )
    return found


def same(store, number, address, *, audiences=("people",), objections=(), label=None):
    """Whether both identifiers of a member are as is said."""
    wanted = set(audiences), set(objections), label
    return about(store, number, address) == [(*wanted, address), (*wanted, number)]


@pytest.fixture
def both(store):
    """A store in which N[0] and A[0] are one member with a label, and N[1] is another."""
    enrol(store, [(N[0], A[0])])
    store.add(of(N[1]))
    store.label(of(N[0]), [b"anna"])
    store.settle(store.serial())
    return store


def test_two_strangers_become_one_member(both):
    assert same(both, N[0], A[0], label=b"anna")
    assert both.count("people") == 3
    assert both.others(of(N[0], N[1])).identifiers() == [A[0]]
    assert both.others(of(N[1])) is None
    again = enrol(both, [(N[0], A[0]), (N[2], A[2])], verified=today() - timedelta(days=3))
    assert again == Enrolled(Added(1, 1, 0), ())
    assert set(both.touched(both.serial())) == {"49", "mail"}


@pytest.mark.parametrize("given", [N[0], A[0]])
def test_what_is_done_to_one_is_done_to_both(both, given):
    one = of(given)
    assert both.label(one, [b"renamed"]) == Consented(1, 0, 0)
    assert same(both, N[0], A[0], label=b"renamed")
    assert set(both.touched(both.serial())) == {"49", "mail"}
    assert both.consent(one, "business", granted=True, origin=PEN).changed == 1
    assert same(both, N[0], A[0], audiences=("people", "business"), label=b"renamed")
    assert both.remove(one, "business") == 1
    assert both.add(one, "business") == Added(1, 0, 0)
    assert both.consent(one, "business", granted=False, origin=PEN).changed == 1
    assert same(both, N[0], A[0], objections=("business",), label=b"renamed")
    assert both.consent(one, "people", granted=False, origin=PEN).changed == 1
    assert same(both, N[0], A[0], audiences=(), objections=("people", "business")), "no label any more"
    assert both.add(one) == Added(0, 0, 1)
    assert both.consent(one, "people", granted=True, origin=PEN).changed == 1
    assert same(both, N[0], A[0], objections=("business",))
    assert both.remove(one) == 1
    assert about(both, N[0], A[0]) == [None, None]
    assert both.others(of(N[0])) is None
    assert both.count("people") == 1


@pytest.mark.parametrize("given", [N[0], A[0]])
def test_the_tokens_of_both_go(both, given):
    for one in (of(N[0], N[1]), of(A[0])):
        both.store_tokens("people", 1, one, outputs_of(one.identifiers()))
    assert both.labelled("people") == {"49": 4, "mail": 4}
    both.remove(of(given))
    assert both.count_unevaluated("people", 1) == 0
    assert [len(chunk) for chunk in both.tokens("people", 1, "mail")] == []
    assert {"49", "mail"} <= set(both.departures())
    assert both.unerased()
    assert both.erase() == ""
    assert not both.unerased()


def test_two_expire_together_and_are_counted_once(both):
    assert both.expire(today() + timedelta(days=1), dry_run=True) == 2
    both.add(of(A[0]), verified=today())
    both.add(of(N[3]), verified=today() - timedelta(days=30))
    enrol(both, [(N[4], A[4])], verified=today() - timedelta(days=30))
    both.add(of(A[5]), verified=today() - timedelta(days=30))
    watched = []
    gone = both.expire(today() - timedelta(days=9), watch=lambda some, _: watched.extend(some.identifiers()))
    assert gone == 3
    assert watched == [N[3], N[4], A[5]]
    assert about(both, N[3], N[4], A[4], A[5]) == [None] * 4
    assert same(both, N[0], A[0], label=b"anna")
    both.add(of(A[0]), verified=today())
    assert both.expire(today()) == 0, "to verify one is to verify both"


def test_who_is_known_with_one_of_them_is_known_with_both(store):
    store.add(of(N[0]))
    store.label(of(N[0]), [b"anna"])
    store.consent(of(N[0]), "business", granted=True, origin=PEN)
    store.consent(of(A[1]), "people", granted=False, origin=PEN)
    store.consent(of(N[2]), "people", granted=False, origin=PEN)
    found = enrol(store, [(N[0], A[0]), (N[1], A[1]), (N[2], A[2])], origin=Origin("app"))
    assert found == Enrolled(Added(0, 1, 2), ())
    assert same(store, N[0], A[0], audiences=("people", "business"), label=b"anna")
    (record,) = store.show(of(A[0]))
    assert {(one.audience, one.granted, one.source) for one in record.consents} == {
        ("business", True, "app"),
        ("people", True, "app"),
    }
    everything = ("people", "business")
    assert same(store, N[1], A[1], audiences=(), objections=everything), "an objection goes before"
    assert same(store, N[2], A[2], audiences=(), objections=everything)


CONFLICTS = {
    "both known": (N[1], A[1]),
    "the number has another address": (N[0], A[9]),
    "the address has another number": (N[9], A[0]),
    "each has another": (N[0], A[2]),
}


@pytest.mark.parametrize("pair", CONFLICTS.values(), ids=CONFLICTS)
def test_two_members_are_never_merged(both, pair):
    both.add(of(A[1]))
    enrol(both, [(N[2], A[2])])
    everybody = (*N[:3], N[9], *A[:3], A[9])
    before = about(both, *everybody)
    found = enrol(both, [pair, (N[8], A[8])])
    assert found.added == Added(1, 0, 0)
    (place,) = found.conflicts
    assert of(pair[0], N[8]).identifiers()[place] == pair[0]
    assert about(both, *everybody) == before
    assert same(both, N[8], A[8])


def test_an_address_is_of_one_number_also_within_a_batch(store):
    found = enrol(store, [(N[0], A[0]), (N[1], A[0]), (N[-1], A[0])])
    assert found == Enrolled(Added(1, 0, 0), (1, 2)) or found == Enrolled(Added(1, 0, 0), (0, 2))
    assert store.count("people") == 2


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [(N[0], N[9], A[0]), (A[0], A[9], N[0]), (N[0], N[-1], A[0]), (N[1], N[9], None)],
)
def test_a_member_moves_with_everything_but_tokens(both, old, new, left):
    both.consent(of(old), "business", granted=True, origin=PEN)
    tokens = of(old)
    both.store_tokens("people", 1, tokens, outputs_of([old]))
    label = about(both, old)[0][2]
    both.settle(both.serial())
    both.move(of(old), of(new), origin=Origin("desk"))
    assert about(both, old) == [None]
    assert about(both, new) == [({"people", "business"}, set(), label, left)]
    if left:
        assert about(both, left) == [({"people", "business"}, set(), b"anna", new)]
    (record,) = both.show(of(new))
    assert record.tokens == {}
    assert record.entry.verified == today()
    assert {one.source for one in record.consents} == {"desk"}
    partitions = {KINDS[tokens.kind].partition_of(one) for one in (old, new)}
    assert set(both.touched(both.serial())) == partitions
    assert KINDS[tokens.kind].partition_of(old) in both.departures()
    assert both.unerased()


def test_nobody_moves_to_who_is_there_nor_from_who_is_not(both):
    before = about(both, N[0], N[1], A[0])
    with pytest.raises(BadInput, match="stored already"):
        both.move(of(N[0]), of(N[1]))
    with pytest.raises(BadInput, match="nothing is stored"):
        both.move(of(N[8]), of(N[9]))
    with pytest.raises(BadInput, match="from one number to another"):
        both.move(of(N[0]), of(A[9]))
    assert about(both, N[0], N[1], A[0]) == before


@pytest.mark.parametrize("given", [N[0], A[0]])
def test_two_part_and_each_keeps_what_it_had(both, given):
    assert both.unpair(of(given)) == 1
    assert both.unpair(of(given)) == 0
    assert about(both, N[0], A[0]) == [({"people"}, set(), b"anna", None)] * 2
    assert both.unerased()
    both.remove(of(A[0]))
    assert about(both, N[0], A[0]) == [({"people"}, set(), b"anna", None), None]


def test_an_audience_is_replaced_by_numbers_and_addresses(both):
    """Who is in the file with one of two stays with both; who is missing with both is one who is missing."""
    enrol(both, [(N[2], A[2]), (N[3], A[3]), (N[4], A[4])])
    both.add(of(A[5], A[6]))
    seen, watched = [], []

    def enter():
        enrol(both, [(N[7], A[7])])
        both.add(of(N[0], N[8]))
        both.add(of(A[2], A[5]))

    both.replace(
        of(N[0], N[7], N[8]),
        "people",
        also=of(A[2], A[5], A[7]),
        enter=enter,
        allow=seen.append,
        watch=lambda some, audience: watched.append((some.identifiers(), audience)),
    )
    assert (seen[0].before, seen[0].removed) == (7, 4)
    assert watched == [([N[1], N[3], N[4]], None), ([A[6]], None)]
    assert about(both, N[1], N[3], A[3], N[4], A[4], A[6]) == [None] * 6
    assert same(both, N[0], A[0], label=b"anna")
    assert same(both, N[2], A[2])
    assert same(both, N[7], A[7])
    assert about(both, N[8], A[5]) == [({"people"}, set(), None, None)] * 2


def test_numbers_alone_replace_numbers_alone(both):
    both.add(of(A[5]))
    both.replace(of(N[1]), "people", allow=lambda _: None)
    assert about(both, N[0], A[0]) == [None, None]
    assert about(both, N[1], A[5]) == [({"people"}, set(), None, None)] * 2


def test_many_pairs_are_of_those_that_they_were_given_to(store):
    rng = np.random.default_rng(3)
    codes = rng.choice([b"+1202555%04d", b"+4915112%06d", b"+3545551%03d"], 2000)
    digits = rng.integers(0, 999, 2000).tolist()
    numbers = sorted({b"tel:" + code % n for code, n in zip(codes, digits, strict=True)})
    pairs = [(number, b"mailto:%d@example.org" % (7919 * i % 100_003)) for i, number in enumerate(numbers)]
    found = enrol(store, pairs)
    assert found == Enrolled(Added(len(pairs), 0, 0), ())
    shown = {record.entry.identifier: record.other for record in store.show(of(*numbers[::97]))}
    assert shown == dict(pairs[::97])
    assert store.remove(of(*(address for _, address in pairs[::2]))) == len(pairs[::2])
    assert store.count("people") == 2 * len(pairs[1::2])
