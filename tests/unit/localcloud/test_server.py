"""The server as a program: what it leaves behind when it is killed, and what it finds when it comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from localcloud.aws import at, running
from tests.unit.localcloud.conftest import Bench, gone

if TYPE_CHECKING:
    from localcloud.aws import LoopbackAws


def test_a_killed_server_leaves_no_process_and_finds_its_data_again(tmp_path: Path) -> None:
    with running(tmp_path) as aws:
        bench = Bench(aws)
        done = bench.start("echo done > model/m; echo told")
        bench.end(done)
        lost = bench.start("setsid sleep 600 & echo $!; sleep 600 & echo $!; wait")
        bench.until(lambda: len(bench.lines(lost)) == 2)
        children = [int(line) for line in bench.lines(lost)]
        weed = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_weed(entry, tmp_path)]
        assert len(weed) == 1
        os.kill(aws.pid, signal.SIGKILL)
        bench.until(lambda: all(gone(pid) for pid in [*children, *weed]))
    with running(tmp_path) as again:
        assert (again.endpoint, again.s3_endpoint) == (aws.endpoint, aws.s3_endpoint)
        assert bench.objects("out/") == {f"{done}/output/model/m": "done\n"}
        assert bench.end(lost)["FailureReason"].startswith("InternalServerError")
        assert bench.end(done)["TrainingJobStatus"] == "Completed"
        assert bench.lines(done) == ["told"]


def _is_weed(entry: Path, home: Path) -> bool:
    try:
        return f"-dir={home}/s3/data".encode() in (entry / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://example.com"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example.com"}],
    ids=["another origin", "a fetch", "a rebound name"],
)
@pytest.mark.parametrize("path", ["/", "/loopback/faults"])
def test_a_web_page_cannot_run_a_job_here(
    loopback_aws: LoopbackAws, path: str, headers: dict[str, str]
) -> None:
    target = {"X-Amz-Target": "SageMaker.CreateTrainingJob"}
    answer = httpx.post(loopback_aws.endpoint + path, headers={**target, **headers}, content=b"{}")
    assert answer.status_code == 403


def test_two_servers_do_not_share_a_home(loopback_aws: LoopbackAws) -> None:
    command = [sys.executable, "-m", "localcloud.aws", "--home", loopback_aws.home]
    include = str(Path(__file__).parents[3] / "include")
    second = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": include}, check=False
    )
    assert second.returncode == 1
    assert "another loopback AWS lives in" in second.stderr
    assert at(Path(loopback_aws.home)) == loopback_aws


def test_the_card_is_all_that_airflow_needs(loopback_aws: LoopbackAws) -> None:
    connection = json.loads(loopback_aws.environment["AIRFLOW_CONN_NIGHTSHIFT_AWS"])
    assert connection == loopback_aws.connection
    assert set(loopback_aws.options.values()) >= {"s3://nightshift-lake", "nightshift_aws"}
    assert (
        loopback_aws.client("iam").get_role(RoleName="nightshift-jobs")["Role"]["Arn"]
        == loopback_aws.role_arn
    )
    key = loopback_aws.client("kms").describe_key(KeyId="alias/nightshift-jobs")["KeyMetadata"]
    assert key["Enabled"]
    buckets = {bucket["Name"] for bucket in loopback_aws.client("s3").list_buckets()["Buckets"]}
    assert set(loopback_aws.buckets.values()) <= buckets
