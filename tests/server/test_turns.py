"""Fair queueing by account: who asks for much waits behind who asks for little."""

import heapq
from collections import Counter

from contactsync.server.turns import Turns


def serve(turns, jobs, count):
    """The accounts of the first `count` of these jobs, by their turns."""
    queue = [(turns.draw(account, cost), i, account) for i, (account, cost) in enumerate(jobs)]
    heapq.heapify(queue)
    served = []
    for _ in range(count):
        turn, _, account = heapq.heappop(queue)
        turns.reach(turn)
        served.append(account)
    return served


def test_a_newcomer_does_not_wait_for_all_that_one_has_asked_for():
    turns = Turns()
    assert serve(turns, [("greedy", 1)] * 300 + [("honest", 1)], 2) == ["greedy", "honest"]


def test_accounts_share_by_cost_and_not_by_jobs():
    served = Counter(serve(Turns(), [("large", 4)] * 100 + [("small", 1)] * 100, 100))
    assert served["small"] == 4 * served["large"]


def test_who_was_away_has_saved_nothing_up():
    turns = Turns()
    for _ in range(10):
        turns.reach(turns.draw("steady", 1))
    assert turns.now == 9
    assert turns.draw("away", 1) == 9
    turns.reach(3)
    assert turns.now == 9, "time does not go back"


def test_what_is_for_nobody_begins_now():
    turns = Turns()
    assert [turns.draw(None, 5) for _ in range(3)] == [0, 0, 0]


def test_accounts_of_the_past_are_forgotten():
    turns = Turns()
    for i in range(10_000):
        turns.reach(turns.draw(i, 1) + 1)
    assert len(turns._ends) <= 257
    turns.draw("waiting", 100)
    for i in range(10_000):
        turns.draw(-i, 0)
    assert turns.draw("waiting", 1) == turns.now + 100
