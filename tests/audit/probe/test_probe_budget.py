"""The plan of a probe: the most important first, never more than allowed, nothing left out in silence."""

import pytest

from contactsync.audit.probe.budget import BATCH, LEAST, MOST_PAIRS, PointBudget, plan, steps_for
from contactsync.foundation.errors import BadInput, OurError


def sent_and_charged(made):
    """What the steps of a plan send at most, but for the last one, and what they are charged."""
    steps = [step for name, step in made.steps.items() if name != "out-of-quota"]
    more = 2 * BATCH * made.pairs - next((s.points - 16 for s in steps if s.name == "timing"), 0)
    return sum(s.points for s in steps) + more, sum(s.charged for s in steps) + more


@pytest.mark.parametrize("left", [0, 7, 8, 40, 300, 900, 5000, 16384])
@pytest.mark.parametrize("accounts", [1, 2, 5])
@pytest.mark.parametrize("has_next", [False, True])
def test_no_plan_exceeds_the_budget_nor_what_the_account_has(left, accounts, has_next):
    steps = steps_for(accounts, left, has_next=has_next)
    for budget in (8, 9, 17, 60, 200, 500, 1000, 4000, 17000, 40000):
        made = plan(budget, left, steps)
        sent, charged = sent_and_charged(made)
        assert sent <= budget
        assert charged <= left
        assert made.pairs <= MOST_PAIRS
        if "out-of-quota" in made:
            # What is still left after the others, and one point more, must fit as well.
            assert sent + (left - charged) + 1 <= budget
        assert {*made.steps, *(one.name for one in made.left_out)} == {one.name for one in steps}


def test_the_most_important_comes_first():
    steps = steps_for(2, 10**6, has_next=True)
    taken = [set(plan(budget, 10**6, steps).steps) for budget in range(8, 2000, 8)]
    assert taken[0] == {"key"}
    for name in ("accounts", "charges", "determinism", "parallel"):
        first = next(budget for budget, names in enumerate(taken) if name in names)
        assert "timing" not in taken[first], f"{name} comes before times"
    assert "timing" in taken[-1]
    assert "out-of-quota" not in taken[-1]
    assert "out-of-quota" in plan(500, 200, steps_for(2, 200, has_next=False))


@pytest.mark.parametrize("points", [-5, 0, LEAST - 1])
def test_a_budget_that_proves_nothing_is_refused(points):
    with pytest.raises(BadInput, match=f"a budget of {points} points is too small"):
        PointBudget(points)


def test_a_budget_cannot_be_overdrawn():
    budget = PointBudget(20)
    budget.spend(12)
    with pytest.raises(OurError, match="9 points would exceed the budget"):
        budget.spend(9)
    assert (budget.sent, budget.left) == (12, 8)
