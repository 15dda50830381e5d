"""From the registry to a published edition: plan, jobs, merge, switch.

A plan says what may have changed (plan.py). Members without a token of the epoch are evaluated and their
tokens stored, some at a time, so that the next publish continues where a killed one stopped. Then the files
of each partition that may have changed are built and named by their hashes. Both are jobs (job.py) that any
executor may run (running.py). Their results are merged into the manifests (merge.py), and one switch of the
TUF repository makes it all visible. Whatever happens before the switch, the old edition is still served.
After it only cleaning up is left, which the next publish does as well.

The same members, keys and history give the same files and the same manifest, byte for byte.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from securesystemslib.signer import Signer

from contactsync.foundation import durable
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import ContactSyncError, NotCleanedUp, OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.ceremony import apply, check, remaining
from contactsync.publication.tuf.repository import ONLINE, PUBLISHING, Repository
from contactsync.publication.tuf.request import SigningRequest
from contactsync.server.belonging import doubts, holds_tokens_of
from contactsync.server.keyring import Keyring
from contactsync.server.objects.copying import copy_published
from contactsync.server.passphrases import erase_left_behind
from contactsync.server.publishing.amending import amend_tasks, note_bases, run_amend
from contactsync.server.publishing.job import (
    STILL_SERVED,
    BuiltPartition,
    reason_of,
    run_build,
    run_evaluate,
)
from contactsync.server.publishing.looked_up import damaged_parts, state_all_rows, state_rows
from contactsync.server.publishing.merge import Outcome, merge
from contactsync.server.publishing.plan import AudiencePlan, plan_editions
from contactsync.server.publishing.pools import JobPool, Machines, here
from contactsync.server.publishing.reading import READ_AT_ONCE, Evaluation, build_tasks
from contactsync.server.publishing.report import EditionReport, reports
from contactsync.server.publishing.rotation import Aim, Order, Rotations, announcing, begun
from contactsync.server.publishing.running import run_all
from contactsync.server.publishing.taking_out import take_out
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.storage.ports import MemberStore
from contactsync.server.witnessed.finishing import finish_logged
from contactsync.server.witnessed.keeper import LogKeeper
from contactsync.voprf.server import KeyPair

WORK: Final = ".work"
"""The folder beside the data files for what is not one yet. It goes with the publish that made it."""

NOT_SETTLED: Final = 0
"""The serial of a publication that brings no change of the members to anybody."""


class Publisher:
    """Publishes one data folder. One object serves one publish at a time."""

    def __init__(
        self,
        folder: DataFolder,
        registry: MemberStore,
        keyring: Keyring,
        progress: Progress = silent,
        *,
        memory: int = 512 << 20,
        executor: Executor | None = None,
        machines: Machines | None = None,
    ) -> None:
        """`memory` is about what the builds that run at once may use together, in octets.

        `executor` runs the jobs and is left open; it is handed the secret key of each epoch. None is threads
        of this process, as many as the setting `evaluator_threads` says. `machines` are connected instead
        where there is something to do.
        """
        self._folder = folder
        self._registry = registry
        self._keyring = keyring
        self._progress = progress
        self._memory = memory
        self._executor = executor
        self._machines = machines
        self._at_once = folder.settings().evaluator_threads or os.cpu_count() or 1
        self._log = LogKeeper(folder, keyring)
        self._repository = Repository(folder.public, self._log)
        self._expunge = False
        self._unclean = ""
        self.taken_out = 0
        """How many files the last publish took out of service; `taken_out_bytes` is how long they were."""
        self.taken_out_bytes = 0
        self.reports: dict[tuple[str, int], EditionReport] = {}
        """What the last publish has changed for clients, by audience and epoch."""
        self.remains = ""
        """Why what was removed can still be read in the registry's files, after the last publish."""
        self.doubts: Mapping[str, str] = {}
        """Why what is published was suspect in the last publish, by audience (belonging.py)."""

    def publish(
        self,
        *,
        new_epoch: bool = False,
        order: Order | None = None,
        expunge: bool = False,
        elsewhere: Callable[[Collection[Manifest], int], None] | None = None,
    ) -> list[Outcome]:
        """Publish what the registry holds now; `new_epoch` makes new keys and evaluates all members again.

        `order` says what else is wanted than a publish. With `elsewhere` nothing is published: it takes the
        manifests, whose files are in place, and the serial of the registry; `finish` goes on when they have
        been signed. An epoch that begins because its overlap has ended is then prepared alone.

        To `expunge` takes every file out of service that may hold a token of somebody who has left, as soon
        as the next edition is in its place; clients then fetch whole partitions.

        Raises Busy (another publish is running), BadInput (too little memory, an order that cannot be
        followed), OurError (keys, damaged files, a full disk), and NotCleanedUp, after the switch.
        """
        assert not (expunge and elsewhere), "what is only prepared takes nothing out of service"
        self._expunge, self._unclean = expunge, ""
        self.taken_out = self.taken_out_bytes = 0
        self.reports = {}
        order = order or Order(Aim.NEW_EPOCH if new_epoch else Aim.PUBLISH)
        with self._folder.lock(wait=LOCK_WAIT), self._registry.publishing(), _errors_of_disk():
            erase_left_behind(self._folder)  # of a change of the passphrase
            signers = self._keyring.signers()
            order, resumed = self._finish_logged(signers, order)
            self._check_signers(signers, PUBLISHING if elsewhere is None else ONLINE)
            before = self._current()
            self.doubts = doubts(self._registry, before)
            if self.doubts:
                self._registry.depart()  # whoever left before is not known here
            rotations = self._rotations()
            first = rotations.begin(before, order, elsewhere=elsewhere is not None)
            # What a killed publish took back must be gone before another seed is drawn.
            rotations.forget([one for one in before.values() if one is not None])
            if first and order.aim is not Aim.NEW_EPOCH:
                first = {
                    who: state_rows(self._folder, before[who], one, self._progress)
                    for who, one in first.items()
                }
                after = [first.get(one.audience, one) for one in before.values() if one is not None]
                # What is suspect stays so, until all of it was compared.
                self._registry.expect([one for one in after if one.audience not in self.doubts])
                if elsewhere is not None:
                    elsewhere(after, NOT_SETTLED)
                    return [begun(one) for one in first.values()]
                rotations.mark(before, after)
                self._repository.renew_root(signers, datetime.now(UTC))
                self._repository.publish(after, signers, datetime.now(UTC))
                self._tell(before, after)
                self._clean_up(after, NOT_SETTLED)
                if order.aim is Aim.ROTATE and any(one.edition == 1 for one in first.values()):
                    order = Order()  # it was the end of a rotation that was asked for
            told = {(one.audience, one.epoch, one.edition) for one in resumed}
            outcomes = [
                one
                for one in self._publish(before | first, order, signers, elsewhere)
                if one.changed is not None or (one.audience, one.epoch, one.edition) not in told
            ]
            passed_over = order.aim is Aim.NEW_EPOCH
            ended = [begun(one) for one in first.values() if one.edition == 1 and not passed_over]
            if elsewhere is None:
                self._copy()
            self._check_cleaned([*resumed, *ended, *outcomes])
            return [*resumed, *ended, *outcomes]

    def _publish(
        self,
        before: Mapping[str, Manifest | None],
        order: Order,
        signers: Mapping[str, Signer],
        elsewhere: Callable[[Collection[Manifest], int], None] | None,
    ) -> list[Outcome]:
        """Build and publish the next edition after what is published, `before`.

        Of `before` may be the first edition of an epoch that is passed over: it was never published itself.
        """
        rotations = self._rotations()
        serial, plans = plan_editions(
            self._registry,
            self._folder,
            before,
            new_epoch=order.aim is Aim.NEW_EPOCH,
            another=order.aim is Aim.ANOTHER,
            rewrite=order.aim is Aim.REWRITE,
            overlaps={audience: rotations.until(one, order) for audience, one in before.items()},
            suspect=self.doubts,
            expunge=self._expunge,
        )
        keys = {plan.of: self._key(plan) for plan in plans}
        for (audience, epoch), key in keys.items():
            keep = audience in self.doubts and holds_tokens_of(self._registry, audience, epoch, key)
            self._registry.adopt(audience, epoch, key.public, keep=keep)
        with self._pool(plans) as pool:
            evaluated = {plan.of: self._evaluate(pool, plan, keys[plan.of]) for plan in plans}
            if wanted := {plan.of: plan.partitions for plan in plans if plan.partitions}:
                self._registry.begin_log(wanted, self._keyring.new_departed_key())
            results = self._build(pool, plans)
        merged = {
            plan.of: merge(
                plan,
                keys[plan.of].public,
                evaluated[plan.of],
                [result for result in results if (result.audience, result.epoch) == plan.of],
                self._folder.data,
            )
            for plan in plans
        }
        after, outcomes = announcing(before, plans, merged)
        after, outcomes = state_all_rows(self._folder, before, after, outcomes, self._progress)
        # A publish that was killed may have named files, and this one found no more to be done for them.
        durable.sync_folder(self._folder.data)
        self._registry.expect(after)
        if elsewhere is not None:
            elsewhere(after, serial)
            return outcomes
        rotations.mark(before, after)
        now = datetime.now(UTC)
        self._repository.renew_root(signers, now)  # before the switch, which clients check under it
        if all(manifest == before[manifest.audience] for manifest in after):
            self._repository.refresh(signers, now, force=True)
            self._log.collect()
        else:
            earlier = [one for one in before.values() if one is not None]
            self._repository.publish(after, signers, now, earlier=earlier)
        self._tell(before, after)
        self._clean_up(after, serial)
        return outcomes

    def finish(self, request: SigningRequest, serial: int) -> bool:
        """Publish what was signed elsewhere; whether the root is another one then.

        `serial` is of the registry when it was prepared. Killed in the middle it may be called again. Raises
        as `publish`, and BadInput, with nothing changed, if the request is stale or signed by too few.
        """
        self._unclean = ""
        with self._folder.lock(wait=LOCK_WAIT), self._registry.publishing(), _errors_of_disk():
            manifests = request.of(request.targets).values()
            finish_logged(self._repository, self._log, self._keyring.signers(), datetime.now(UTC))
            before = self._current()
            if remaining(self._repository, request):
                if any(damaged_parts(self._folder.data, one) for one in manifests):
                    raise OurError("files of the prepared edition are missing", hint="prepare it again")
                self._rotations().check_not_late(before, manifests)
                check(self._repository, request, datetime.now(UTC))
                self._rotations().mark(before, manifests)
            signers = self._keyring.signers(ONLINE)
            renewed = apply(self._repository, request, signers, datetime.now(UTC))
            self._tell(before, manifests)
            self._clean_up(manifests, serial)
            self._copy()
        self._check_cleaned(())
        return renewed

    def _finish_logged(self, signers: Mapping[str, Signer], order: Order) -> tuple[Order, list[Outcome]]:
        """Publish what was logged and not switched to: what is left of the order then, and what was done.

        Who gave the order for it gives it again, and sees the edition before it served until then.
        """
        if self._log.pending is None:
            return order, []
        before = self._current()
        resumed = finish_logged(self._repository, self._log, signers, datetime.now(UTC))
        if not resumed:
            return order, []
        self._tell(before, resumed)
        self._clean_up(resumed, NOT_SETTLED)
        changed = [(old, one) for one in resumed if (old := before[one.audience]) is not None and old != one]
        is_done = {
            Aim.NEW_EPOCH: any(one.epoch > old.epoch for old, one in changed),
            Aim.FINISH: any(one.epoch > old.epoch for old, one in changed),
            Aim.TAKE_BACK: any(old.next is not None and one.next is None for old, one in changed),
        }
        news = [one for one in resumed if before[one.audience] != one]
        outcomes = [outcome for one in news for outcome in self._resumed(one)]
        return (Order() if is_done.get(order.aim, False) else order), outcomes

    def _resumed(self, manifest: Manifest) -> Iterator[Outcome]:
        """What the run that could not finish has done: what is new in an edition and what it announces."""
        yield begun(manifest, self.reports[manifest.audience, manifest.epoch])
        if (ahead := manifest.ahead()) is not None and manifest.next is not None:
            told = self.reports[ahead.audience, ahead.epoch]
            if told.changes:
                yield replace(begun(ahead, told), until=manifest.next.until)

    def _current(self) -> dict[str, Manifest | None]:
        return {audience: self._repository.current(audience) for audience in AUDIENCES}

    def _rotations(self) -> Rotations:
        return Rotations(self._keyring, self._registry, int(datetime.now(UTC).timestamp()))

    def _key(self, plan: AudiencePlan) -> KeyPair:
        """The key of a plan's epoch; drawn now if the epoch has never been published nor announced."""
        audience, epoch, old = plan.audience, plan.epoch, plan.old
        facts = self._keyring.facts(audience, epoch)
        if old is None and facts is not None and plan.until is None and facts.overlap is not None:
            # A rotation was begun with it. A new epoch at once is for when keys/ may have been stolen since.
            self._registry.drop_tokens(audience, range(epoch, epoch + 1))
            self._keyring.destroy_seed(audience, epoch)
            facts = None
        if old is None and facts is None:
            # Tokens of another seed, in a registry that comes from elsewhere, would match nobody.
            self._registry.drop_tokens(audience, range(epoch, epoch + 1))
            overlap = None if plan.until is None else plan.until - int(datetime.now(UTC).timestamp())
            self._keyring.new_seed(audience, epoch, overlap)
        key = self._keyring.key_pair(audience, epoch)
        if old is not None and key.public != old.public_key:
            raise OurError(
                f"the key of {audience} in keys/ is not the key with which epoch {epoch} was published",
                hint="restore keys/ from the backup that belongs to public/"
                + ("" if plan.until is None else ", or run `server rotate --undo`"),
            )
        return key

    def _pool(self, plans: Sequence[AudiencePlan]) -> contextlib.AbstractContextManager[JobPool]:
        if self._machines is not None and any(plan.partitions for plan in plans):
            return self._machines(self._folder.data)
        return here(self._executor, self._at_once, self._memory)

    def _evaluate(self, pool: JobPool, plan: AudiencePlan, key: KeyPair) -> int:
        """Give a token to each member of the plan's partitions who has none; how many that were."""
        evaluation = Evaluation(self._registry, plan, key, pool.evaluated)
        # What is read ahead keeps the jobs supplied while what came of the last ones is stored.
        limit = 2 * (pool.at_once + READ_AT_ONCE // pool.evaluated)
        ended = run_all(pool.executor, run_evaluate, evaluation.tasks(), limit=limit)
        with contextlib.closing(ended) as results:
            for task, tokens in results:
                evaluation.take(task.kept, tokens)
                self._progress(f"evaluating {plan.audience}", evaluation.done, evaluation.total)
        evaluation.finish()
        return evaluation.done

    def _build(self, pool: JobPool, plans: Sequence[AudiencePlan]) -> list[BuiltPartition]:
        """Build what the plans name, from one moment of the registry."""
        data = self._folder.data.absolute()  # jobs may run where the working folder is another
        work = data / WORK
        shutil.rmtree(work, ignore_errors=True)  # of a publish that was killed
        work.mkdir(0o700)
        total = sum(len(plan.partitions) for plan in plans)
        built: dict[tuple[str, int, str], tuple[BuiltPartition, int]] = {}
        keys = self._keyring.departed_keys()
        self._progress("partitions", 0, total)
        run = partial(run_all, pool.executor, limit=pool.memory, work=work, progress=self._progress)
        try:
            with self._registry.snapshot():
                serial = self._registry.serial()
                # What can be made of what is published; then the rest, and what could not be made so.
                for some in (
                    run(run_amend, amend_tasks(self._registry, plans, keys, work, data)),
                    run(run_build, build_tasks(self._registry, plans, work, data, pool, but=built)),
                ):
                    with contextlib.closing(some) as results:
                        for task, result in results:
                            Path(task.job.spool).unlink()
                            if result is not None:
                                of = result.audience, result.epoch, result.partition
                                built[of] = result, task.job.count
                                self._progress("partitions", len(built), total)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        note_bases(self._registry, serial, built.values())
        return [result for result, _ in built.values()]

    def _check_signers(self, signers: Mapping[str, Signer], roles: Collection[str]) -> None:
        """Raise OurError unless the keys of these roles are here, and those of the root are its own, if any.

        The key of another installation, put back for the renewal of the root, would renew nothing.
        """
        self._repository.check_signers(signers, roles)
        root = self._repository.root()
        here = {signer.public_key.keyid for name, signer in signers.items() if name.split("-")[0] == "root"}
        if here and here.isdisjoint(root.roles["root"].keyids):
            self._repository.check_signers(signers, ["root"])

    def _tell(self, before: Mapping[str, Manifest | None], after: Collection[Manifest]) -> None:
        for manifest in after:
            for one in reports(before[manifest.audience], manifest):
                told = self.reports.get((one.audience, one.epoch))
                if told is None or told.edition != one.edition:  # else it was published in this run already
                    self.reports[one.audience, one.epoch] = one

    def _check_cleaned(self, outcomes: Sequence[Outcome]) -> None:
        if self._unclean:
            raise NotCleanedUp(
                f"published; {self._unclean}",
                hint="clients see the new edition: do not give the same order again; fix the cause, then"
                " `server publish` does what is left (`server status` names seeds of ended epochs)",
                outcomes=outcomes,
            )

    def _copy(self) -> None:
        """Bring the store to what is published. A failure is kept for the end: here it is published."""
        try:
            copy_published(self._folder, self._progress)
        except (ContactSyncError, OSError) as error:
            self._unclean = self._unclean or f"the store has not all of it: {error}"

    def _clean_up(self, published: Collection[Manifest], serial: int) -> None:
        """Remove what is not needed any more. A failure is kept for the end: the switch has been made."""
        try:
            self._remove_the_old(published, serial)
        except OSError as error:
            self._unclean = f"cleaning up failed: {error.strerror} ({error.filename or 'data folder'})"
        except ContactSyncError as error:
            self._unclean = f"cleaning up failed: {error}"

    def _remove_the_old(self, published: Collection[Manifest], serial: int) -> None:
        """Delete what no client can be asking for any more; nothing of it decides what is served."""
        self._registry.settle(serial, published)
        left = self._registry.departures() if self._expunge and serial != NOT_SETTLED else ()
        self._rotations().forget(published)
        for manifest in published:
            self._registry.drop_tokens(manifest.audience, range(manifest.epoch))
            self._keyring.destroy_seeds(manifest.audience, manifest.epoch)
        self._keyring.destroy_departed_keys(self._registry.sealed_to())
        gone = take_out(self._folder, self._repository, published, left)
        self.taken_out += len(gone)
        self.taken_out_bytes += sum(gone)
        if self._expunge and serial != NOT_SETTLED:
            durable.sync_folder(self._folder.data)
            self._registry.expunged(serial)
        self.remains = self._registry.erase(0)


@contextlib.contextmanager
def _errors_of_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OurError(reason_of(error), hint=STILL_SERVED) from error
