"""`python -m bench crawl --country AT --accounts 100`: how long it takes to test all mobile numbers.

A simulation that is run for real: a server on a socket, its accounts in SQLite, and crawlers that send as
much as they are let. Only time is not real. The server gets a clock that stands still; when all crawlers have
been refused, it is set to the moment at which the first of them may ask again, as Retry-After told. Nothing
sleeps.

Every batch is charged. One in `--every`, and each of at most 64 points, is also evaluated, verified and
finalized, and holds the next numbers of the country, in order; of the others the server decodes and evaluates
nothing, and answers them with what was sent.

After `--days` days the simulation ends. What comes later is extrapolated, at the rate of the last third of
these days. `numbers` counts libphonenumber's mobile numbers of one length; what is left out is in
`other_lengths`.

`no quota` is measured in real time: all evaluated, on this machine, in this process.
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import logging
import math
import secrets
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import harness
from bench.harness import Row
from bench.service import Answer, Clock, Service
from contactsync.foundation.errors import BadInput
from contactsync.identifiers.tel import SCHEME
from contactsync.phones.mobile import MobileNumbers
from contactsync.server.company import SMALL
from contactsync.server.evaluation import DecodedBatch, Evaluator
from contactsync.server.quota import BURST, DAY_MS, MOST, PER_DAY, PointQuota, Terms, system_clock
from contactsync.server.settings import Settings
from contactsync.voprf.client import blind, finalize
from contactsync.voprf.server import KeyPair
from contactsync.voprf.suite import MAX_BATCH, NE, Rows

PACKAGES = ("numba", "numpy", "phonenumberslite", "starlette", "uvicorn")
BREAKERS = ("points_per_hour", "new_points_per_hour")
"""As server.toml calls them."""

FEWEST_DAYS = 6
"""So that the last third of them has a rate."""

HOUR, DAY, MONTH, YEAR = 1 / 24, 1, 30, 365

SIGNAL = "Signal CDSI, its published configuration (computed)"
SIGNAL_QUOTA = PointQuota(50_000, 6 * 24)
"""github.com/signalapp/ContactDiscoveryService-Icelake, application.yml, tokenRateLimit: 50,000, and 6 an
hour. Only numbers that the account has not asked for before are charged there."""

WHATSAPP = "WhatsApp until 2025 (arXiv 2511.20252)"
WHATSAPP_HOUR = 100_000_000
WHATSAPP_SESSIONS = 5
"""Numbers an hour that Gegenhuber et al. could test, and from how many sessions: nothing slowed them down."""


class Sampled(Evaluator):
    """Echoes large batches, whose elements it does not even decode.

    Those that are to be evaluated are announced to `real` before they are sent. Small ones take another way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.real: set[bytes] = set()

    def decode(self, blinded: Rows, account: Hashable = None) -> Future[DecodedBatch]:
        """See `Evaluator.decode`."""
        if blinded.tobytes() in self.real:
            return super().decode(blinded, account)
        return _done(DecodedBatch(blinded, ()))

    def evaluate_decoded(self, key: KeyPair, batch: DecodedBatch) -> Future[tuple[Rows, bytes]]:
        """See `Evaluator.evaluate_decoded`."""
        if batch.elements:
            return super().evaluate_decoded(key, batch)
        return _done((batch.blinded, bytes(64)))


def _done(value: object) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


class Course:
    """What a crawl came to: when, in days, how many numbers had been tested."""

    def __init__(self, days: float) -> None:
        self.days = days
        self.times = [0.0]
        self.counts = [0]
        self.sent = 0
        self.refused = 0
        self.evaluated = 0

    def add(self, day: float, points: int) -> None:
        """A batch was answered."""
        self.sent += 1
        self.times.append(day)
        self.counts.append(self.counts[-1] + points)

    def tested(self, day: float) -> float:
        """Numbers tested by a day; behind the end of the simulation by extrapolation."""
        known = self.counts[bisect.bisect_right(self.times, day) - 1]
        return known if day <= self.days else known + self.rate * (day - self.days)

    @property
    def rate(self) -> float:
        """Numbers a day, from the first to the last answer in the last third of the simulation."""
        first = self.times[min(bisect.bisect_left(self.times, self.days * 2 / 3), len(self.times) - 1)]
        last = self.times[-1]
        return (self.counts[-1] - self.tested(first)) / (last - first) if last > first else 0.0

    def days_for(self, numbers: float) -> float:
        """The day on which so many have been tested."""
        if self.counts[-1] >= numbers:
            return self.times[bisect.bisect_left(self.counts, numbers)]
        return self.days + (numbers - self.counts[-1]) / self.rate if self.rate else math.inf


class Crawl:
    """Accounts that share the numbers of a country, and a server whose time is theirs."""

    def __init__(self, service: Service, clock: Clock, country: MobileNumbers, every: int) -> None:
        self._service = service
        self._clock = clock
        self._country = country
        self._every = every
        self._evaluator: Sampled = service.app._evaluator
        self._next = 0  # the place of the next number that is tested for real

    def run(self, names: Sequence[str], allowance: PointQuota, days: float, most: int = MAX_BATCH) -> Course:
        """Let all of them send what they are let, for so many days from now or until they have all numbers.

        They send batches as large as allowed, and of at most `most` points, until their burst is used up, and
        then what comes back in a day.
        """
        course, begin = Course(days), self._clock.now
        end = begin + round(days * DAY_MS)
        full = min(most, allowance.burst)
        later = min(full, allowance.per_day)
        sizes = dict.fromkeys(names, full)
        waiting = [(begin, name) for name in names]
        heapq.heapify(waiting)
        while waiting[0][0] <= end and course.counts[-1] < len(self._country):
            when, name = heapq.heappop(waiting)
            self._clock.now = when
            answer = self._send(name, sizes[name], course)
            if answer.status == 200:
                course.add((when - begin) / DAY_MS, sizes[name])
            else:
                assert answer.wait > 0, f"refused for ever: {answer.status} {answer.problem}"
                course.refused += 1
                smaller = answer.problem.get("left") or later
                if answer.status == 429 and smaller < sizes[name]:  # the rest; or how long until `later`?
                    sizes[name] = smaller
                else:
                    when += answer.wait * 1000
            heapq.heappush(waiting, (when, name))
        self._clock.now = end
        return course

    def _send(self, name: str, points: int, course: Course) -> Answer:
        if points > SMALL and course.sent % self._every:
            return self._service.ask(name, secrets.token_bytes(points * NE))
        numbers = [self._country.number((self._next + i) % len(self._country)) for i in range(points)]
        blinding = blind([SCHEME + number.encode() for number in numbers])
        body = blinding.blinded.tobytes()
        self._evaluator.real = {body}
        answer = self._service.ask(name, body)
        if answer.status == 200:
            evaluated = np.frombuffer(answer.body[: points * NE], np.uint8).reshape(-1, NE)
            finalize(blinding, evaluated, answer.body[points * NE :], self._service.manifest.public_key)
            course.evaluated += points
            self._next += points
        return answer


def measured_rate(folder: Path, seconds: float) -> float:
    """Points a second that the server evaluates for two accounts who are let, all of them, in real time."""
    with (
        Service(folder, system_clock, Evaluator(), settings=dict.fromkeys(BREAKERS, 0)) as service,
        ThreadPoolExecutor(2) as pool,
    ):
        service.add(["0", "1"], Terms("", MOST, MOST))
        elements = blind([b"%d" % i for i in range(MAX_BATCH)]).blinded

        def crawl(name: str) -> int:
            chance, batches = np.random.default_rng(), 0
            while time.perf_counter() < end:
                assert service.ask(name, chance.permutation(elements).tobytes()).status == 200
                batches += 1
            return batches

        crawl_once = service.ask("0", elements.tobytes())  # so that all kernels are loaded
        assert crawl_once.status == 200
        begin = time.perf_counter()
        end = begin + seconds
        batches = sum(pool.map(crawl, ["0", "1"]))
        return batches * MAX_BATCH / (time.perf_counter() - begin)


def _row(
    case: str, accounts: int, country: MobileNumbers, tested: Callable[[float], float], days: float
) -> Row:
    most = len(country)
    horizons = {"hour": HOUR, "day": DAY, "month": MONTH, "year": YEAR}
    month = tested(MONTH)
    return {
        "case": case,
        "accounts": accounts,
        **{f"first_{name}": min(most, round(tested(at))) for name, at in horizons.items()},
        "days": days if math.isfinite(days) else None,
        "accounts_for_30_days": math.ceil(most * accounts / month) if month else None,
    }


def _steady(case: str, accounts: int, country: MobileNumbers, rate: float) -> Row:
    """A row of so many numbers a day, whatever the accounts; one account is enough."""
    row = _row(case, accounts, country, lambda day: rate * day, len(country) / rate)
    return row | {"accounts_for_30_days": 1 if rate * MONTH >= len(country) else None}


def _computed(case: str, accounts: int, country: MobileNumbers, quota: PointQuota) -> Row:
    """A row of leaky buckets, by arithmetic."""
    days = max(0, len(country) / accounts - quota.burst) / quota.per_day
    return _row(case, accounts, country, lambda day: accounts * (quota.burst + quota.per_day * day), days)


@dataclass(frozen=True, slots=True)
class Setup:
    """Who crawls, and under what. `breakers` are points an hour, of all and of new accounts; 0: none."""

    country: MobileNumbers
    accounts: int
    allowance: PointQuota
    breakers: tuple[int, int]
    days: float
    every: int

    def simulate(self, folder: Path, breakers: tuple[int, int]) -> Course:
        """Run the crawl against a new server."""
        clock = Clock(system_clock())
        settings = dict(zip(BREAKERS, breakers, strict=True))
        with Service(folder, clock, Sampled(), settings=settings) as service:
            names = [f"{i:06}" for i in range(self.accounts)]
            service.add(names, Terms("", self.allowance.burst, self.allowance.per_day))
            most = min(limit for limit in (MAX_BATCH, *breakers) if limit)  # what is larger never passes
            crawl = Crawl(service, clock, self.country, self.every)
            course = crawl.run(names, self.allowance, self.days, most)
            charged = sum(use.points_total for use in service.accounts.uses())
            assert charged == course.counts[-1], "each number was charged, and charged once"
        return course

    def row(self, case: str, course: Course, breakers: tuple[int, int]) -> Row:
        """What a crawl came to. No number of accounts is enough if breakers let less through in a month."""
        row = _row(case, self.accounts, self.country, course.tested, course.days_for(len(self.country)))
        young = Settings().new_account_days
        everybody, new = (limit or MOST for limit in breakers)
        most = 24 * (young * min(everybody, new) + (MONTH - young) * everybody)
        return row if most >= len(self.country) else row | {"accounts_for_30_days": None}


def run(folder: Path, setup: Setup, seconds: float) -> tuple[list[Row], dict[str, object]]:
    """All rows, and what was done to have them."""
    country, quota = setup.country, setup.allowance
    cases = {f"quotas: {quota.burst:,}, and {quota.per_day:,} a day": (0, 0)}
    if any(setup.breakers):
        everybody, new = (f"{limit:,} an hour" if limit else "no limit" for limit in setup.breakers)
        cases[f"the same, and breakers: {everybody}; new accounts {new}"] = setup.breakers
    done = [setup.simulate(folder / f"{i}", breakers) for i, breakers in enumerate(cases.values())]
    rate = measured_rate(folder / "free", seconds)
    rows = [
        *(setup.row(case, course, cases[case]) for case, course in zip(cases, done, strict=True)),
        _steady(f"no quota: {rate:,.0f} points a second here", 1, country, rate * 86_400),
        _computed(SIGNAL, setup.accounts, country, SIGNAL_QUOTA),
        _steady(WHATSAPP, WHATSAPP_SESSIONS, country, WHATSAPP_HOUR * 24),
    ]
    facts = {
        "country": country.region,
        "digits": country.digits,
        "numbers": len(country),
        "other_lengths": {n: count for n, count in country.lengths.items() if n != country.digits},
        "simulated_days": setup.days,
        "batches_charged": sum(course.sent for course in done),
        "requests_refused": sum(course.refused for course in done),
        "points_charged": sum(course.counts[-1] for course in done),
        "points_evaluated": sum(course.evaluated for course in done),
        "steady_points_a_day": done[0].rate,
    }
    return rows, facts


def _sentences(facts: dict[str, object]) -> str:
    others = "".join(f"; {count:,} of {n}" for n, count in facts["other_lengths"].items())
    return (
        f"{facts['country']}: {facts['numbers']:,} mobile numbers of {facts['digits']} digits{others}\n"
        f"{facts['points_charged']:,} points in {facts['batches_charged']:,} batches were charged over the"
        f" socket; {facts['points_evaluated']:,} of them were evaluated and verified\n"
        f"{facts['requests_refused']:,} requests were refused\n"
        f"{facts['simulated_days']:g} days were simulated; what is later is extrapolated, at"
        f" {facts['steady_points_a_day']:,.0f} numbers a day"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST:,}")
    return int(text)


def _limit(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench crawl",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, ours = parser.add_argument, Settings()
    add("--country", default="AT", metavar="AT", help="ISO 3166 (default: %(default)s)")
    add(
        "--digits",
        type=_positive,
        default=0,
        metavar="N",
        help="digits of a number without calling code (default: those of the example number)",
    )
    for name, default, meaning in (
        ("--accounts", 100, ""),
        ("--burst", BURST, "points of an account at once "),
        ("--per-day", PER_DAY, "points of an account a day "),
        ("--days", MONTH, f"days that are simulated, at least {FEWEST_DAYS} "),
        ("--every", 8, "evaluate one batch in N; 1: all "),
        ("--seconds", 5, "for how long to measure without a quota "),
    ):
        add(name, type=_positive, default=default, metavar="N", help=f"{meaning}(default: {default:,})")
    for name, default in (
        ("--points-per-hour", ours.points_per_hour),
        ("--new-points-per-hour", ours.new_points_per_hour),
    ):
        add(
            name,
            type=_limit,
            default=default,
            metavar="N",
            help=f"as in server.toml; 0: none (default: {default:,})",
        )
    add("--json", metavar="FILE", help="write the rows as one JSON list")
    add("--markdown", metavar="FILE", help="put the table into the crawl section of a document")
    options = parser.parse_args(arguments)  # fmt: skip
    if options.days < FEWEST_DAYS:
        parser.error(f"--days must be {FEWEST_DAYS} at least")
    try:
        country = MobileNumbers(options.country, options.digits)
    except (BadInput, ValueError) as error:
        parser.error(str(error))
    setup = Setup(
        country, options.accounts, PointQuota(options.burst, options.per_day),
        (options.points_per_hour, options.new_points_per_hour), options.days, options.every,
    )  # fmt: skip
    logging.getLogger("contactsync").addHandler(logging.NullHandler())  # the alarms are expected
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-") as folder:
        rows, facts = run(Path(folder), setup, options.seconds)
    where, said = harness.environment(PACKAGES), _sentences(facts)
    print(harness.table(rows), said, where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, [facts | row for row in rows])
    if options.markdown:
        points = "\n".join(f"- {line}" for line in said.splitlines())
        harness.update_section(options.markdown, "crawl", f"{where}\n\n{harness.markdown(rows)}\n\n{points}")
