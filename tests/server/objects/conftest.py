"""Object stores of each kind, empty."""

import itertools

import pytest
from store_servers import BUCKET, CREDENTIALS, KINDS, FaultyProxy, S3Server

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory):
    """By kind, started when it is first asked for."""
    running = {}

    def server(kind):
        if kind not in running:
            running[kind] = S3Server(kind, tmp_path_factory.mktemp(kind) / "log")
        return running[kind]

    yield server
    for one in running.values():
        one.close()


@pytest.fixture
def use_s3(s3_servers, monkeypatch):
    """Point the environment at a server of this kind; the URL of an empty prefix there."""

    def use(kind):
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_servers(kind).endpoint}.items():
            monkeypatch.setenv(name, value)
        return f"s3://{BUCKET}/test-{next(_NUMBERS)}/prefix"

    return use


@pytest.fixture(params=[*KINDS, "file"])
def store_url(request, tmp_path, use_s3):
    """An empty store, of each kind in turn."""
    return (tmp_path / "store").as_uri() if request.param == "file" else use_s3(request.param)


@pytest.fixture
def faulty(s3_servers, use_s3, monkeypatch):
    """A proxy before a server, which passes everything until it is told otherwise; and the URL of a store."""
    url = use_s3("moto")
    proxy = FaultyProxy(s3_servers("moto").endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy, url
    proxy.close()
