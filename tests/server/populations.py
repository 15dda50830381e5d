"""Plausible accounts of a service, and crawlers among them, as a store would count them."""

import math
import random

from contactsync.foundation.limits import MAX_BATCH
from contactsync.server.quota import BURST, DAY_MS, PER_DAY, STEP, Terms
from contactsync.server.storage.ports import Account, AccountUse

NOW = 1_800_000_000_000
DAY = 86_400
SMALLEST_BOOK, LARGEST_BOOK = 50, 2_000


def padded(n):
    """As a client pads its new contacts: to a power of two, and at least to eight."""
    return max(STEP, 1 << (n - 1).bit_length())


class Population:
    """Accounts of which each has an id, and the uses of all. `chance` decides everything."""

    def __init__(self, seed=1, *, audience="people", quota_class="", epochs=(0,)):
        self.chance = random.Random(seed)
        self.audience = audience
        self.quota_class = quota_class
        self.epochs = sorted(NOW - round(days * DAY_MS) for days in epochs)  # days ago
        self.uses = []

    def add(self, name, age, batches):
        """An account that is `age` days old. `batches` are what it sent: (days ago, points)."""
        account = Account(
            name, self.audience, NOW // 1000 - round(age * DAY), len(self.uses) + 1, Terms(self.quota_class)
        )
        newest = self.epochs[-1]
        epoch_points = sum(points for ago, points in batches if NOW - ago * DAY_MS >= newest)
        points = sum(points for _, points in batches)
        last_used = min((ago for ago, _ in batches), default=None)
        use = AccountUse(
            account,
            last_used=None if last_used is None else (NOW // 1000 - round(last_used * DAY)) // DAY * DAY,
            points_today=sum(points for ago, points in batches if ago < 0.5),
            points_total=points,
            refused=0,
            level=0,
            at=NOW,
            batches=len(batches),
            full_batches=sum(points == MAX_BATCH for _, points in batches),
            epoch_points=epoch_points or points,
        )
        self.uses.append(use)
        return use

    def book(self):
        """A size of an address book: log-normal, and nineteen of twenty within 50 to 2,000."""
        middle = math.log(SMALLEST_BOOK * LARGEST_BOOK) / 2
        spread = math.log(LARGEST_BOOK / SMALLEST_BOOK) / 4
        return round(self.chance.lognormvariate(middle, spread))

    def honest(self, count, age, *, syncs=1.0, book=None):
        """People who looked their book up in each epoch, and then send a cover round with each sync."""
        for _ in range(count):
            days = age() if callable(age) else age
            own = book() if callable(book) else book or self.book()
            ago = [(NOW - since) / DAY_MS for since in self.epochs[1:]]
            begins = [days, *(epoch for epoch in ago if epoch < days)]
            batches = []
            for begin in begins:
                points = padded(own)
                while points:
                    batches.append((begin, min(points, MAX_BATCH)))
                    points -= min(points, MAX_BATCH)
            covers = round(days * syncs * self.chance.uniform(0.5, 1))
            batches += [(self.chance.uniform(0, days), STEP) for _ in range(covers)]
            self.add(f"honest {len(self.uses)}", days, batches)

    def crawler(self, name, age, *, burst=BURST, per_day=PER_DAY, size=MAX_BATCH):
        """Somebody who takes all there is: the burst, and then what comes back, once a day."""
        batches = [(age, min(size, burst - at)) for at in range(0, burst, size)]
        return self.add(name, age, batches + [(day, per_day) for day in range(int(age))])

    def farm(self, name, count, age, points, *, within=0.2, size=512):
        """Accounts that are added within so many days, and each use about so many points."""
        for i in range(count):
            days = age + self.chance.uniform(0, within)
            own = round(points * self.chance.uniform(0.95, 1.05))
            batches = [(days, min(size, own - at)) for at in range(0, own, size)]
            self.add(f"{name} {i}", days, batches)
