"""Training jobs really run: inputs, environment, outputs, states, logs, and every way they end."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.localcloud.conftest import gone

if TYPE_CHECKING:
    from tests.unit.localcloud.conftest import Bench

LOSS = {"MetricDefinitions": [{"Name": "loss", "Regex": r"loss=([0-9.]+)"}]}
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
}


def channel(name: str, uri: str, kind: str = "S3Prefix", **more: Any) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}},
        **more,
    }


def test_a_job_runs_in_the_opt_ml_contract_and_leaves_its_model(bench: Bench) -> None:
    bench.put("data/day=1/a.txt", "one")
    bench.put("data/day=2/b.txt", "two")
    head = {"prefix": f"{bench.place}/data/"}
    manifest = bench.put("m.manifest", json.dumps([head, "day=2/b.txt"]))
    request = bench.request(
        "cp -r input model/; env > model/env; pwd; echo $PLACE; echo loss=0.5; echo loss=0.25",
        HyperParameters={"depth": "3"},
        Environment={"PLACE": "/opt/ml/model"},
        InputDataConfig=[
            channel("all", f"{bench.place}/data/", InputMode="FastFile"),
            channel("some", manifest, "ManifestFile"),
        ],
    )
    request["AlgorithmSpecification"] |= LOSS
    bench.sm.create_training_job(**request)
    ended = bench.end(request["TrainingJobName"])
    assert bench.steps(ended) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert [(one["MetricName"], one["Value"]) for one in ended["FinalMetricDataList"]] == [("loss", 0.25)]
    model = bench.objects(f"out/{request['TrainingJobName']}/output/model/")
    files = {key for key in model if key.startswith("input/data")}
    assert files == {
        "input/data/all/day=1/a.txt",
        "input/data/all/day=2/b.txt",
        "input/data/some/day=2/b.txt",
    }
    assert json.loads(model["input/config/hyperparameters.json"]) == {"depth": "3"}
    assert json.loads(model["input/config/resourceconfig.json"])["hosts"] == ["algo-1"]
    assert json.loads(model["input/config/inputdataconfig.json"])["all"]["TrainingInputMode"] == "FastFile"
    base, place = bench.lines(request["TrainingJobName"])[:2]
    assert place == f"{base}/model"
    names = {line.partition("=")[0] for line in model["env"].splitlines()}
    given = {"TRAINING_JOB_NAME", "TRAINING_JOB_ARN", "AWS_REGION", "SAGEMAKER_BASE_DIR", "PLACE"}
    assert given < names
    assert not {name for name in names if name.startswith(("SM_", "AIRFLOW", "PYTEST", "VIRTUAL"))}


def test_the_same_name_twice_is_turned_down_in_the_services_own_words(bench: Bench) -> None:
    request = bench.request("true")
    bench.sm.create_training_job(**request)
    with pytest.raises(
        bench.sm.exceptions.ResourceInUse, match="a training job with this name already exists"
    ):
        bench.sm.create_training_job(**request)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"TrainingJobName": "under_score"}, "regular expression"),
        ({"TrainingJobName": "a" * 64}, "regular expression"),
        ({"ResourceConfig": {"InstanceType": "ml.none", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "enum"),
        ({"RetryStrategy": {"MaximumRetryAttempts": 31}}, "value less than or equal to 30"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        ({"InputDataConfig": [channel("x", "s3://nightshift-jobs/nowhere/")]}, "No S3 objects found"),
        ({"InputDataConfig": [channel("x", "s3://b/c", "AugmentedManifestFile")]}, "does not do this"),
        ({"RoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role"),
    ],
    ids=["pattern", "length", "enum", "bound", "spot without a wait", "empty input",
         "not on the loopback", "role"],
)  # fmt: skip
def test_a_request_that_aws_would_turn_down_is_turned_down(
    bench: Bench, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ClientError, match=said) as error:
        bench.start("true", **changes)
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_a_failure_is_told_in_the_jobs_words_and_leaves_no_model(bench: Bench) -> None:
    name = bench.start("echo x > model/m; echo 'ValueError: no such column' > output/failure; exit 3")
    ended = bench.end(name)
    assert ended["FailureReason"] == "AlgorithmError: ValueError: no such column, exit code: 3"
    assert (ended["TrainingJobStatus"], bench.steps(ended)[-1]) == ("Failed", "Failed")
    assert bench.objects("out/") == {}


def test_an_output_that_cannot_be_written_is_the_callers_error(bench: Bench) -> None:
    name = bench.start("echo m > model/m", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket/out"})
    assert bench.end(name)["FailureReason"].startswith("ClientError: Artifact upload failed")


def test_packed_outputs(bench: Bench) -> None:
    name = bench.start(
        "echo m > model/m; echo d > output/data/d", OutputDataConfig={"S3OutputPath": f"{bench.place}/out"}
    )
    uri = bench.end(name)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    for file, inside in (("model", "m"), ("output", "d")):
        packed = bench.s3.get_object(Bucket=bucket, Key=key.replace("model.tar", f"{file}.tar"))[
            "Body"
        ].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            assert archive.getnames() == [inside]


def test_a_stopped_job_may_say_goodbye_and_keeps_its_model(bench: Bench) -> None:
    name = bench.start("trap 'echo bye > model/bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    bench.until_line(name, "up")
    bench.sm.stop_training_job(TrainingJobName=name)
    ended = bench.end(name)
    assert (ended["TrainingJobStatus"], bench.steps(ended)[-3:]) == (
        "Stopped",
        ["Training", "Stopping", "Stopped"],
    )
    assert bench.objects("out/") == {f"{name}/output/model/bye": "bye\n"}
    with pytest.raises(ClientError, match="the training job is in status Stopped"):
        bench.sm.stop_training_job(TrainingJobName=name)


def test_a_job_past_its_runtime_is_ended_with_all_it_started(bench: Bench) -> None:
    name = bench.start(
        "trap '' TERM; setsid sleep 600 & echo $!; sleep 600", StoppingCondition={"MaxRuntimeInSeconds": 1}
    )
    ended = bench.end(name)
    assert (ended["TrainingJobStatus"], ended["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    child = int(bench.lines(name)[0])
    bench.until(lambda: gone(child))


def test_an_interrupted_spot_job_goes_on_from_its_checkpoints_and_costs_less(bench: Bench) -> None:
    bench.aws.fault("spot_interruption", job="*", after_s=1.2)
    script = "cat checkpoints/*; echo half > checkpoints/step; sleep 1.3"
    name = bench.start(script, CheckpointConfig={"S3Uri": f"{bench.place}/ckpt"}, **SPOT)
    ended = bench.end(name)
    assert bench.steps(ended)[2:7] == ["Training", "Interrupted", "Starting", "Downloading", "Training"]
    assert ended["TrainingJobStatus"] == "Completed"
    assert "half" in bench.lines(name)
    assert ended["BillableTimeInSeconds"] < ended["TrainingTimeInSeconds"]
    assert bench.objects("ckpt/") == {"step": "half\n"}


def test_only_spot_jobs_are_interrupted(bench: Bench) -> None:
    name = bench.start("sleep 0.3")
    with pytest.raises(ValueError, match="is no spot job"):
        bench.aws.fault("spot_interruption", job=name)


def test_several_hosts_run_side_by_side(bench: Bench) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    name = bench.start(
        "cat input/config/resourceconfig.json > model/$(basename $PWD); echo $MASTER_ADDR",
        ResourceConfig=resources,
    )
    assert bench.end(name)["TrainingJobStatus"] == "Completed"
    model = bench.objects(f"out/{name}/output/model/")
    assert {key: json.loads(text)["current_host"] for key, text in model.items()} == {
        "algo-1": "algo-1", "algo-2": "algo-2",
    }  # fmt: skip
    assert bench.lines(name) == ["127.0.0.1", "127.0.0.1"]


def test_one_failing_host_ends_the_others(bench: Bench) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    name = bench.start("[ $(basename $PWD) = algo-1 ] && sleep 600; exit 7", ResourceConfig=resources)
    assert bench.end(name)["FailureReason"].endswith("exit code: 7")


def test_a_service_error_is_tried_again_where_the_request_says_so(bench: Bench) -> None:
    bench.aws.fault("internal_error", times=2)
    name = bench.start("echo again", RetryStrategy={"MaximumRetryAttempts": 1})
    assert bench.end(name)["FailureReason"].startswith("InternalServerError")
    bench.aws.fault("internal_error")
    name = bench.start("echo again", RetryStrategy={"MaximumRetryAttempts": 1})
    ended = bench.end(name)
    assert (ended["TrainingJobStatus"], "Restarting" in bench.steps(ended)) == ("Completed", True)


def test_log_events_can_be_read_on_from_a_time(bench: Bench) -> None:
    name = bench.start("for n in 1 2 3 4 5; do echo line $n; done; sleep 0.4; echo last")
    bench.end(name)
    ask = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": f"{name}/"}
    events = bench.logs.filter_log_events(**ask)["events"]
    times = [event["timestamp"] for event in events]
    assert len(set(times)) == 6
    later = bench.logs.filter_log_events(**ask, startTime=times[3] + 1)["events"]
    assert [event["message"] for event in later] == ["line 5", "last"]


def test_jobs_are_listed_in_pages_and_carry_tags(bench: Bench) -> None:
    tags = [{"Key": "pipeline", "Value": "toy"}]
    names = [bench.start("true", TrainingJobName=f"listed-{n}", Tags=tags) for n in range(3)]
    first = bench.sm.list_training_jobs(NameContains="listed-", MaxResults=2)
    rest = bench.sm.list_training_jobs(NameContains="listed-", MaxResults=2, NextToken=first["NextToken"])
    seen = [*first["TrainingJobSummaries"], *rest["TrainingJobSummaries"]]
    assert [one["TrainingJobName"] for one in seen] == names
    arn = seen[0]["TrainingJobArn"]
    bench.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": "1"}])
    assert len(bench.sm.list_tags(ResourceArn=arn)["Tags"]) == 2
    bench.sm.delete_tags(ResourceArn=arn, TagKeys=["more"])
    assert bench.sm.list_tags(ResourceArn=arn)["Tags"] == tags


def test_a_job_nobody_created_is_not_there(bench: Bench) -> None:
    with pytest.raises(ClientError, match="Requested resource not found") as error:
        bench.describe("nobody")
    assert error.value.response["Error"]["Code"] == "ValidationException"
