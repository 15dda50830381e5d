"""A real `serve` process with two audiences, and somebody in front of it who may change its answers."""

from contextlib import closing

import pytest
from middleman import Middleman
from probed_site import Site, points_sent

from contactsync.audit.probe.server import ProbeOptions, audit_server


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("probed"))
    with site.process, closing(site.operator):
        yield site
        assert site.process.stop() == 0
    log = site.process.log.read_text()
    assert "ERROR" not in log
    assert "Traceback" not in log


@pytest.fixture
def middleman(site):
    middleman = Middleman(site.process.port)
    yield middleman
    middleman.close()


@pytest.fixture
def probe(site, middleman):
    """Probe through the middleman, with two accounts, and without what takes long."""

    def probe(points=170, *, accounts=None, pace=0.0, wait=0.0, **options):
        middleman.requests.clear()
        chosen = accounts or [site.account(), site.account()]
        report = audit_server(middleman.url, chosen, points, ProbeOptions(pace=pace, wait=wait, **options))
        assert points_sent(middleman.requests) <= points
        return report

    return probe
