"""The merge takes what fits the plan, in any order, and nothing else."""

import dataclasses

import pytest
from publishing_tools import InLine
from server_tools import AMERICAN, GERMAN, Operator

from contactsync.foundation.errors import OurError
from contactsync.publication.manifest import AUDIENCES
from contactsync.server.publishing.amending import AmendJob
from contactsync.server.publishing.job import BuildJob, BuiltPartition
from contactsync.server.publishing.merge import merge
from contactsync.server.publishing.plan import plan_editions


class Recording(InLine):
    """Keeps what comes of the build jobs."""

    def __init__(self):
        super().__init__()
        self.results = []

    def submit(self, function, /, job):
        future = super().submit(function, job)
        if isinstance(job, BuildJob | AmendJob):
            self.results.append(future.result())
        return future


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The plan of a second edition, in which 49 changed and 1 ended, its key, and the results of its jobs."""
    operator = Operator(tmp_path_factory.mktemp("merge") / "server")
    operator.add(*range(GERMAN, GERMAN + 2000), AMERICAN)
    operator.publish()
    operator.add(GERMAN + 5000)
    operator.registry.remove(operator.registry.unevaluated("people", 9, "1", None, 9))
    published = {audience: operator.repository.current(audience) for audience in AUDIENCES}
    _, (plan,) = plan_editions(operator.registry, operator.folder, published, new_epoch=False)
    executor = Recording()
    operator.publish(executor=executor)
    yield plan, operator.manifest().public_key, executor.results, operator
    operator.close()


def test_any_order_gives_the_manifest(second):
    plan, key, results, operator = second
    assert len(results) == 2
    for order in (results, results[::-1]):
        manifest, outcome = merge(plan, key, 1, order, operator.folder.data)
        assert manifest.to_bytes() == operator.manifest().to_bytes()
        assert (outcome.changed, outcome.evaluated, outcome.edition) == (("1", "49"), 1, 2)


def test_the_same_content_makes_no_edition(second):
    plan, key, results, operator = second
    same = [dataclasses.replace(r, content=plan.old.partitions[r.partition]) for r in results]
    manifest, outcome = merge(plan, key, 0, same, operator.folder.data)
    assert manifest is plan.old
    assert (outcome.changed, outcome.edition) == (None, 1)


def changed(name):
    def change(results):
        german = next(result for result in results if result.partition == "49")
        content, rest = german.content, [result for result in results if result is not german]
        old = dataclasses.replace
        return {
            "missing": rest,
            "twice": [*results, german],
            "of another epoch": [*rest, old(german, epoch=2)],
            "of another edition": [*rest, old(german, edition=3)],
            "of another audience": [*rest, old(german, audience="business")],
            "not asked for": [*results, BuiltPartition("people", 1, 2, "33", None)],
            "holds another": [*rest, old(german, content=old(content, name="1"))],
            "content of the future": [*rest, old(german, content=old(content, edition=7))],
            "content of the past": [*rest, old(german, content=old(content, edition=1, deltas=()))],
            "other bits": [*rest, old(german, content=old(content, remainder_bits=40))],
            "no such file": [
                *rest, old(german, content=old(content, base=old(content.base, sha256="0" * 64)))
            ],
            "a cut file": [*rest, old(german, content=old(content, base=old(content.base, length=1)))],
            "a broken chain": [
                *rest,
                old(german, content=old(content, deltas=(old(content.deltas[0], to_edition=9),))),
            ],
        }[name]  # fmt: skip

    return change


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "49 returned no result"),
        ("twice", "came twice"),
        ("of another epoch", "another edition"),
        ("of another edition", "another edition"),
        ("of another audience", "another edition"),
        ("not asked for", "the plan does not contain"),
        ("holds another", "another partition"),
        ("content of the future", "edition 7"),
        ("content of the past", "edition 1"),
        ("other bits", "40 remainder bits"),
        ("no such file", "not there"),
        ("a cut file", "not there"),
        ("a broken chain", "deltas that do not end at its base"),
    ],
)
def test_what_does_not_fit_is_refused(second, name, why):
    plan, key, results, operator = second
    with pytest.raises(OurError, match=why):
        merge(plan, key, 1, changed(name)(results), operator.folder.data)
