"""Batch transform: the model's server really answers, and its answers are put together by object."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from localcloud.aws.transform import batches
from tests.unit.localcloud.conftest import LIVE

if TYPE_CHECKING:
    from tests.unit.localcloud.conftest import Bench


@pytest.fixture
def model(bench: Bench) -> str:
    """A model whose file is the prefix of every answer."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("prefix")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"> "))
    bucket, _, prefix = bench.place.removeprefix("s3://").partition("/")
    bench.s3.put_object(Bucket=bucket, Key=f"{prefix}/model.tar.gz", Body=packed.getvalue())
    name = f"model-{uuid4().hex[:8]}"
    bench.sm.create_model(**model_request(bench, name))
    return name


def model_request(bench: Bench, name: str) -> dict[str, Any]:
    container = {"Image": bench.image("true"), "ModelDataUrl": f"{bench.place}/model.tar.gz"}
    return {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": bench.aws.role_arn}


def request(bench: Bench, model: str, **changes: Any) -> dict[str, Any]:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{bench.place}/in/"}}
    return {
        "TransformJobName": f"score-{uuid4().hex[:8]}",
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "TransformInput": {"DataSource": source, "ContentType": "text/plain", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": f"{bench.place}/scored", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **changes,
    }


def end(bench: Bench, name: str) -> dict[str, Any]:
    def described() -> dict[str, Any]:
        found: dict[str, Any] = bench.sm.describe_transform_job(TransformJobName=name)
        return found

    bench.until(lambda: described()["TransformJobStatus"] not in LIVE)
    return described()


def test_every_line_is_answered_in_its_place(bench: Bench, model: str) -> None:
    bench.put("in/day=1/part.txt", "a\nb\n")
    bench.put("in/day=2/part.txt", "c\nd")
    asked = request(bench, model)
    bench.sm.create_transform_job(**asked)
    assert end(bench, asked["TransformJobName"])["TransformJobStatus"] == "Completed"
    found = bench.objects("scored/")
    assert found == {"day=1/part.txt.out": "> A\n> B\n", "day=2/part.txt.out": "> C\n> D\n"}
    assert bench.lines(asked["TransformJobName"], "TransformJobs") == ["batch of 2", "batch of 2"]
    with pytest.raises(bench.sm.exceptions.ResourceInUse, match="Job name must be unique"):
        bench.sm.create_transform_job(**asked)


def test_records_can_be_sent_one_by_one(bench: Bench, model: str) -> None:
    bench.put("in/part.txt", "a\nb\n")
    asked = request(bench, model, BatchStrategy="SingleRecord")
    bench.sm.create_transform_job(**asked)
    assert end(bench, asked["TransformJobName"])["TransformJobStatus"] == "Completed"
    assert bench.lines(asked["TransformJobName"], "TransformJobs") == ["batch of 1", "batch of 1"]
    assert bench.objects("scored/") == {"part.txt.out": "> A\n> B\n"}


@pytest.mark.parametrize(("status", "error"), [(415, "ClientError"), (500, "AlgorithmError")])
def test_a_server_that_says_no_fails_the_job(bench: Bench, model: str, status: int, error: str) -> None:
    bench.put("in/bad.txt", f"fail:{status}\n")
    bench.put("in/good.txt", "a\n")
    asked = request(bench, model)
    bench.sm.create_transform_job(**asked)
    ended = end(bench, asked["TransformJobName"])
    assert ended["FailureReason"] == f"{error}: See job logs for more information"
    said = "\n".join(bench.lines(asked["TransformJobName"], "TransformJobs"))
    assert f"in/bad.txt: Bad HTTP status received from algorithm: {status}" in said
    assert bench.objects("scored/") == {"good.txt.out": "> A\n"}


def test_a_stop_does_not_wait_for_an_answer(bench: Bench, model: str) -> None:
    bench.put("in/part.txt", "wait\n")
    asked = request(bench, model)
    bench.sm.create_transform_job(**asked)
    bench.until(lambda: bench.lines(asked["TransformJobName"], "TransformJobs"))
    bench.sm.stop_transform_job(TransformJobName=asked["TransformJobName"])
    assert end(bench, asked["TransformJobName"])["TransformJobStatus"] == "Stopped"
    assert bench.objects("scored/") == {}


def test_a_container_that_does_not_start_fails_the_job(bench: Bench, model: str) -> None:
    bench.put("in/part.txt", "a\n")
    name = f"broken-{uuid4().hex[:8]}"
    made = model_request(bench, name)
    bench.aws.add_image(made["PrimaryContainer"]["Image"], serve=["sh", "-c", "echo no; exit 1"])
    bench.sm.create_model(**made)
    asked = request(bench, name)
    bench.sm.create_transform_job(**asked)
    assert end(bench, asked["TransformJobName"])["FailureReason"].startswith("AlgorithmError")
    assert bench.lines(asked["TransformJobName"], "TransformJobs") == ["no"]


def test_models_are_unique_have_files_and_go(bench: Bench, model: str) -> None:
    made = model_request(bench, model)
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        bench.sm.create_model(**made)
    made["PrimaryContainer"]["ModelDataUrl"] = f"{bench.place}/none.tar.gz"
    with pytest.raises(ClientError, match="Could not find model data"):
        bench.sm.create_model(**{**made, "ModelName": "another"})
    bench.sm.delete_model(ModelName=model)
    with pytest.raises(ClientError, match="Could not find model"):
        bench.sm.create_transform_job(**request(bench, model))


def test_batches_are_as_large_as_the_payload_allows() -> None:
    body = b"aa\nbb\ncccc\n"
    assert list(batches(body, 6, many=True)) == [b"aa\nbb\n", b"cccc\n"]
    assert list(batches(body, 0, many=True)) == [body]
    assert list(batches(body, 6, many=False)) == [b"aa\n", b"bb\n", b"cccc\n"]
