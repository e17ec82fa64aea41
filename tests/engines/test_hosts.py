"""Runs on hosts without a common folder: a store, a job server with its workers, and who submits."""

import time
from collections.abc import Iterator

import pytest

from tests.engines.hosts import MISSING, Hosts, digests, is_written, lab, with_pictures
from tests.engines.prism import PROGRAM, until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(2400),  # on a busy machine
    pytest.mark.skipif(bool(MISSING), reason=f"hosts are lacking: {MISSING}"),
    pytest.mark.skipif(not PROGRAM, reason="no prism: `make test-engines` installs it by Go"),
]
JOBS, POOL = 8073, 50000
RUN = "s3://bucket/run"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """With Prism, which tells of `localhost`, and its pool on the launcher: neither shares its /tmp."""
    assert PROGRAM
    with lab(folder=tmp_path_factory.mktemp("hosts")) as found:
        found.start("launcher", "prism", PROGRAM, f"--job_port={JOBS}", "--serve_http=false")
        pool = "apache_beam.runners.worker.worker_pool_main"
        found.python("launcher", "pool", pool, f"--service_port={POOL}")
        found.await_port("launcher", JOBS)
        found.await_port("launcher", POOL)
        yield found


def test_a_run_in_a_store_is_that_of_one_machine(hosts: Hosts) -> None:
    """The store's cable is pulled for some seconds meanwhile."""
    config = with_pictures(hosts)
    local = hosts.command("local", "run", str(config), "--out", "s3://bucket/local")
    said = local.ended()
    assert local.process.returncode == 0, said
    options = [
        "--runner=PortableRunner", f"--job_endpoint={hosts.ip['launcher']}:{JOBS}",
        "--environment_type=EXTERNAL", f"--environment_config=localhost:{POOL}",
        "--experiments=disable_logging_submission_environment",
    ]  # fmt: skip
    run = hosts.command("run", "run", str(config), "--out", RUN, "--", *options)
    until(is_written(hosts, "run", "prepare"), "no part was prepared")
    hosts.cut("store")
    time.sleep(10)
    hosts.mend("store")
    said = run.ended()
    assert run.process.returncode == 0, said
    here, there = digests(hosts, "local", "run")
    assert there == here
