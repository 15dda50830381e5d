"""The routes of accounts: who may ask, and how much."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.server import sign_in
from contactsync.server.accounts import check_class, check_name, new_credential, rows_of
from contactsync.server.admin.calls import AdminAnswer, Call, Fields
from contactsync.server.admin.idempotency import Repeats
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.http.threads import Threads
from contactsync.server.quota import MOST, Terms
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import AccountStore, AccountUse, NewAccount

ADDED_AT_ONCE: Final = 1000
PAGE: Final = 1000
"""Accounts of one answer."""

OVERLAP: Final = 7 * 86_400
"""Seconds that a credential stays valid beside a new one, unless the request says otherwise."""

_LONGEST_OVERLAP: Final = 366 * 86_400
_TERMS: Final = ("class", "burst", "per_day")


class AccountRoutes:
    """`/v1/accounts/…`."""

    def __init__(
        self, folder: DataFolder, accounts: AccountStore, repeats: Repeats, threads: Threads
    ) -> None:
        self._folder = folder
        self._accounts = accounts
        self._repeats = repeats
        self._threads = threads

    async def list(self, call: Call) -> AdminAnswer:
        """A page of accounts by name, after the name in the query."""
        after = call.query("after").get("after", "")

        def page() -> AdminAnswer:
            found = [use for use in self._accounts.uses() if use.account.name > after]
            rows = rows_of(self._folder, found[:PAGE])
            more = {"next": rows[-1]["name"]} if len(found) > PAGE else {}
            return AdminAnswer(200, {"accounts": rows, **more})

        return await self._threads.run(page)

    async def show(self, call: Call) -> AdminAnswer:
        """One account."""
        call.query()

        def one() -> AdminAnswer:
            (row,) = rows_of(self._folder, [self._use(call.segments[2])])
            return AdminAnswer(200, row)

        return await self._threads.run(one)

    async def add(self, call: Call) -> AdminAnswer:
        """Add accounts, all or none. Their credentials are in the answer, and nowhere else."""
        call.query()
        body = await call.fields("accounts", needed=["accounts"])
        new, terms = [], []
        for index, value in enumerate(items := body.items("accounts", ADDED_AT_ONCE)):
            at = f"/accounts/{index}"
            one = Fields(value, ("name", "audience", *_TERMS), ["name"], at)
            name, audience = one.text("name"), one.choice("audience", AUDIENCES, AUDIENCES[0])
            if "name" in one:
                _checked(one, "name", lambda name=name: check_name(name))
            given = _read_terms(one)
            terms.append((at, given.get("quota_class")))
            body.errors += one.errors
            if not one.errors:
                own = {key: value for key, value in given.items() if value is not None}
                new.append(NewAccount(name, audience, new_credential(), Terms(**own)))
        if not items and not body.errors:
            body.wrong("/accounts", "is empty")
        names = [one.name for one in new]
        if len(set(names)) < len(names):
            body.wrong("/accounts", "has a name twice")
        body.finish()

        def add() -> AdminAnswer:
            for at, name in terms:
                _checked(body, "class", lambda name=name: check_class(self._folder, name), at)
            body.finish()
            try:
                self._accounts.add_all(new)
            except BadInput as error:
                raise AdminProblem("account-exists", str(error), error.hint) from None
            shown = [{"name": one.name, "credential": one.credential} for one in new]
            return AdminAnswer(201, {"accounts": shown})

        return await self._repeats.elsewhere(call, lambda: self._threads.run(add))

    async def change(self, call: Call) -> AdminAnswer:
        """Change a quota. What the body does not name stays; what is null follows the class."""
        call.query()
        body = await call.fields(*_TERMS, "refill")
        given, refill = _read_terms(body), body.flag("refill")
        if not body.values and not body.errors:
            body.wrong("", f"must name one of {', '.join(_TERMS)} and refill")
        body.finish()

        def change() -> AdminAnswer:
            name = self._use(call.segments[2]).account.name
            _checked(body, "class", lambda: check_class(self._folder, given.get("quota_class")))
            body.finish()
            self._accounts.change([name], lambda old: dataclasses.replace(old, **given), refill=refill)
            (row,) = rows_of(self._folder, [self._use(name)])
            return AdminAnswer(200, row)

        return await self._repeats.elsewhere(call, lambda: self._threads.run(change))

    async def revoke(self, call: Call) -> AdminAnswer:
        """Revoke an account."""
        call.query()
        await call.read()

        def revoke() -> AdminAnswer:
            self._accounts.revoke(self._use(call.segments[2]).account.name)
            return AdminAnswer(204, None)

        return await self._repeats.elsewhere(call, lambda: self._threads.run(revoke))

    async def rotate(self, call: Call) -> AdminAnswer:
        """Give an account another credential."""
        call.query()
        body = await call.fields("overlap")
        overlap = body.whole("overlap", 0, _LONGEST_OVERLAP)
        body.finish()

        def rotate() -> AdminAnswer:
            name, credential = self._use(call.segments[2]).account.name, new_credential()
            self._accounts.rotate(name, credential, (OVERLAP if overlap is None else overlap) * 1000)
            return AdminAnswer(201, {"name": name, "credential": credential})

        return await self._repeats.elsewhere(call, lambda: self._threads.run(rotate))

    async def sign_in(self, call: Call) -> AdminAnswer:
        """A one-time code for a page of the account's user."""
        call.query()
        body = await call.fields("code_seconds", "credential_seconds")
        least = sign_in.SHORTEST_SECONDS
        code_seconds = body.whole("code_seconds", least, sign_in.LONGEST_CODE_SECONDS)
        credential_seconds = body.whole("credential_seconds", least, sign_in.LONGEST_CREDENTIAL_SECONDS)
        body.finish()

        def give() -> AdminAnswer:
            name = self._use(call.segments[2]).account.name
            code = sign_in.new_code(credential_seconds or sign_in.CREDENTIAL_SECONDS)
            self._accounts.add_code(name, code, (code_seconds or sign_in.CODE_SECONDS) * 1000)
            return AdminAnswer(201, {"name": name, "code": code})

        return await self._repeats.elsewhere(call, lambda: self._threads.run(give))

    def _use(self, name: str) -> AccountUse:
        try:
            (use,) = self._accounts.uses(name)
        except BadInput as error:
            raise AdminProblem("no-such-account", "there is no account with this name", error.hint) from None
        return use


def _read_terms(body: Fields) -> dict[str, Any]:
    """What a body says of a quota, by the names of `Terms`."""
    given: dict[str, Any] = {name: body.whole(name, 1, MOST) for name in ("burst", "per_day") if name in body}
    if "class" in body:
        given["quota_class"] = "" if body.values["class"] is None else body.text("class")
    return given


def _checked(body: Fields, name: str, check: Any, at: str = "") -> None:
    try:
        check()
    except BadInput as error:
        body.wrong(f"{at}/{name}", str(error), **({"hint": error.hint} if error.hint else {}))
