"""The files of jobs: what is uploaded, what is put together, what is brought here."""

from __future__ import annotations

import json
import os
import tarfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from nightshift.errors import AccountingError, ConfigError, JobLost, PlatformUnavailable, StorageUnavailable
from nightshift.lake.storage import Location
from nightshift.platforms.base import JobInput, JobSpec
from nightshift.platforms.sagemaker import store as store_module
from nightshift.platforms.sagemaker.channels import channels_of, manifest_of, put_channels
from nightshift.platforms.sagemaker.code import ENTRY, SOURCES, tarball, upload_code
from nightshift.platforms.sagemaker.fetching import fetch
from nightshift.platforms.sagemaker.scoring import put_package, reconcile
from nightshift.platforms.sagemaker.store import JobsStore, checkpoints_of
from nightshift.platforms.sagemaker.tags import aws_tags, cleaned, read_tags
from tests.fakes.toy_jobs import make_toy_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture
def store(tmp_path: Path) -> JobsStore:
    (tmp_path / "jobs").mkdir()
    return JobsStore((tmp_path / "jobs").as_uri(), dict)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


# -- code -----------------------------------------------------------------------------------------


def test_a_tarball_is_the_same_for_the_same_files() -> None:
    assert (
        tarball({"b": b"2", "a": b"1"}) == tarball({"a": b"1", "b": b"2"}) != tarball({"a": b"1", "b": b"3"})
    )


def test_code_is_uploaded_once_for_each_of_its_versions(store: JobsStore, root: Path, tmp_path: Path) -> None:
    toy = make_toy_jobs(tmp_path / "toy")
    folder = upload_code(store, toy)
    with tarfile.open(fileobj=BytesIO((root / folder / SOURCES).read_bytes())) as tar:
        names = set(tar.getnames())
    assert {ENTRY, "jobs/__init__.py", "jobs/__main__.py"} <= names
    assert (root / folder / "jobs" / "__main__.py").exists()
    (root / folder / ENTRY).write_text("of the first upload")
    assert upload_code(store, toy) == folder
    assert (root / folder / ENTRY).read_text() == "of the first upload"
    (toy / "jobs" / "__init__.py").write_text("# newer\n")
    assert upload_code(store, toy) != folder


def test_a_frameworks_image_is_told_what_to_install(store: JobsStore, root: Path, tmp_path: Path) -> None:
    toy = make_toy_jobs(tmp_path / "toy")
    (toy / "containers").mkdir()
    (toy / "containers" / "requirements.txt").write_text("duckdb==1.5.6\n")
    folder = upload_code(store, toy, requirements=True)
    with tarfile.open(fileobj=BytesIO((root / folder / SOURCES).read_bytes())) as tar:
        assert "requirements.txt" in tar.getnames()
    assert upload_code(store, toy) != folder


def test_attempts_share_their_checkpoints() -> None:
    assert checkpoints_of("flights-0123") == checkpoints_of("flights-0123-r12") == ".checkpoints/flights-0123"


# -- channels -------------------------------------------------------------------------------------


def spec(*inputs: JobInput) -> JobSpec:
    return JobSpec("train", {"answer": 42}, inputs, code_sha256="0")


def by_name(channels: tuple[Any, ...]) -> Mapping[str, tuple[str, str]]:
    sources = {each["ChannelName"]: each["DataSource"]["S3DataSource"] for each in channels}
    return {name: (source["S3DataType"], source["S3Uri"]) for name, source in sources.items()}


def test_a_channel_is_a_folder_or_the_files_that_its_manifest_names(store: JobsStore, root: Path) -> None:
    lake = JobInput("clean", "s3://lake/clean", "1", files=("partition=1/a.parquet",))
    model = JobInput("models/champion", "s3a://models/7", "2")
    put_channels(store, "toy", spec(lake, model))
    assert by_name(channels_of(store, "toy", (lake, model), ".code/0")) == {
        "spec": ("S3Prefix", store.uri("toy/job/")),
        "code": ("S3Prefix", store.uri(".code/0/")),
        "clean": ("ManifestFile", store.uri("toy/channels/clean.manifest")),
        "models.champion": ("S3Prefix", "s3://models/7/"),
    }
    manifest = json.loads((root / "toy/channels/clean.manifest").read_text())
    assert (
        manifest
        == [{"prefix": "s3://lake/clean/"}, "partition=1/a.parquet"]
        == manifest_of(lake.uri, lake.files)
    )
    assert json.loads((root / "toy/job/job.json").read_text()) == {"answer": 42}


def test_what_is_on_this_machine_is_uploaded_once(store: JobsStore, root: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "data").mkdir(parents=True)
    (model / "MLmodel").write_text("flavors:")
    (model / "data" / "weights").write_text("1 2 3")
    given = JobInput("models/champion", model.as_uri(), "flights@7")
    put_channels(store, "toy", spec(given))
    (_, uri) = by_name(channels_of(store, "toy", (given,), ".code/0"))["models.champion"]
    folder = Path(uri.removeprefix("file://"))
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["MLmodel", "weights"]
    (model / "MLmodel").unlink()
    (model / "MLmodel").write_text("of another day")
    put_channels(store, "other", spec(given))
    assert (folder / "MLmodel").read_text() == "flavors:"
    (folder / "MLmodel").unlink()  # a lifecycle rule has taken it
    put_channels(store, "third", spec(given))
    assert (folder / "MLmodel").read_text() == "of another day"


def test_what_sagemaker_cannot_read_is_refused(store: JobsStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s3://"):
        channels_of(store, "toy", (JobInput("clean", "abfs://lake/clean", "1"),), ".code/0")
    with pytest.raises(ConfigError, match="is not there"):
        put_channels(store, "toy", spec(JobInput("clean", tmp_path.as_uri(), "1", files=("a.parquet",))))
    with pytest.raises(ConfigError, match="cannot be the name"):
        channels_of(store, "toy", (JobInput("code", "s3://lake", "1"),), ".code/0")
    many = tuple(JobInput(f"table{number}", "s3://lake", "1") for number in range(19))
    with pytest.raises(ConfigError, match="SageMaker takes 18"):
        channels_of(store, "toy", many, ".code/0")


def test_a_store_that_does_not_answer_is_a_platform_that_does_not(
    store: JobsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise StorageUnavailable("reading s3://nightshift-jobs failed: 503")

    monkeypatch.setattr(store_module, "read_object", down)
    with pytest.raises(PlatformUnavailable, match="503"):
        store.read("spec.json")


def test_sign_in_is_asked_for_again_after_a_while(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[float] = []

    def options() -> dict[str, str]:
        asked.append(0.0)
        return {}

    clock = [1000.0]
    monkeypatch.setattr("nightshift.platforms.sagemaker.store.time.monotonic", lambda: clock[0])
    store = JobsStore(tmp_path.as_uri(), options)
    for _ in range(3):
        store.exists("x")
    clock[0] += 3600
    store.exists("x")
    assert len(asked) == 2


# -- tags -----------------------------------------------------------------------------------------


def test_tags_hold_what_aws_takes_and_come_back() -> None:
    tags = aws_tags({"run": "manual__2013-01-05T00:00:00+00:00", "task": "a#b|c"}, {"cost-centre": "ml"})
    assert {"Key": "cost-centre", "Value": "ml"} in tags
    assert read_tags(tags) == {"run": "manual__2013-01-05T00:00:00+00:00", "task": "a_b_c"}
    assert len(cleaned("x" * 300)) == 256
    assert cleaned("Zürich 3") == "Zürich 3"


# -- scoring --------------------------------------------------------------------------------------


def test_a_model_is_packed_once_with_the_code_that_serves_it(
    store: JobsStore, root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "champion"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:")
    champion = JobInput("models/champion", folder.as_uri(), "flights@7")
    document = {
        "model": "m",
        "partition": "2013-01-05",
        "splits": {"holdout": ["2013-01-05"]},
        "manifests": {},
    }
    toy = make_toy_jobs(tmp_path / "toy")
    uri = put_package(store, toy, champion, ".code/0", document)
    packed = root / uri.removeprefix(store.root + "/")
    with tarfile.open(packed) as tar:
        assert {"model/MLmodel", "code/jobs/__init__.py", "job.json"} <= set(tar.getnames())
        found = tar.extractfile("job.json")
        assert found is not None
        assert json.load(found) == {"model": "m"}
    other_day = {**document, "partition": "2013-01-06"}
    assert put_package(store, toy, champion, ".code/0", other_day) == uri
    assert put_package(store, toy, champion, ".code/1", document) != uri


def answers(
    store: JobsStore, day: str, rows: list[tuple[Any, Any]], place: str = "transform/{day}/{day}.part-0"
) -> None:
    lines = [json.dumps({"row_id": row_id, "prediction": value}) + "\n" for row_id, value in rows]
    store.write(f"toy/{place.format(day=day)}.jsonl.out", "".join(lines))


def counted(store: JobsStore, **days: int) -> None:
    partitions = {day.replace("_", "-"): {"rows_in": rows} for day, rows in days.items()}
    store.write_json("toy-f/output/model/counts.json", {"partitions": partitions, "failed": {}})


@pytest.mark.parametrize(
    "place", [f"transform/{folder}{{day}}.part-0" for folder in ("{day}/", "features/{day}/", "")]
)
def test_answers_become_the_predictions_of_their_days(store: JobsStore, root: Path, place: str) -> None:
    counted(store, d_1=2, d_2=1)
    answers(store, "d-1", [(7, 0.25), (3, 1.0)], place)
    answers(store, "d-2", [(7, 0.5)], place)
    counts = reconcile(store, "toy", 9.0)
    assert counts == {
        "rows_in": 3,
        "rows_out": 3,
        "seconds": 9.0,
        "partitions": {"d-1": {"rows_in": 2, "rows_out": 2}, "d-2": {"rows_in": 1, "rows_out": 1}},
        "failed": {},
    }
    table = pq.read_table(root / "toy/result/predictions/d-1/part-00000.parquet")
    assert table.to_pydict() == {"row_id": [7, 3], "prediction": [0.25, 1.0]}


def test_an_answer_of_no_day_is_refused(store: JobsStore) -> None:
    counted(store, d_1=1)
    answers(store, "d-1", [(1, 0.5)], "transform/{day}/part-0")
    with pytest.raises(AccountingError, match="none of its days"):
        reconcile(store, "toy", 1.0)


@pytest.mark.parametrize(
    "rows",
    [
        [(1, 0.5)],
        [(1, 0.5), (1, 0.5)],
        [(1, 0.5), (2, 0.5), (3, 0.5)],
        [(1, 0.5), (2, None)],
        [(1, 0.5), (2, 1.5)],
        [(1, 0.5), ("two", 0.5)],
        [],
    ],
    ids=["one is missing", "twice", "one too many", "no number", "no probability", "no id", "nothing"],
)
def test_answers_that_are_not_exactly_the_rows_are_refused(store: JobsStore, rows: list[Any]) -> None:
    counted(store, d_1=2)
    answers(store, "d-1", rows)
    with pytest.raises(AccountingError):
        reconcile(store, "toy", 1.0)


# -- fetching -------------------------------------------------------------------------------------


def test_outputs_are_brought_once_and_whole_by_several_at_a_time(tmp_path: Path) -> None:
    source, cache = tmp_path / "source", tmp_path / "cache"
    for number in range(20):
        (source / str(number)).mkdir(parents=True)
        (source / str(number) / "file").write_text(str(number))
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(Location(source.as_uri()), cache)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(list(found[0].rglob("file"))) == 20
    assert [path for path in cache.iterdir() if path != found[0]] == []


def test_old_copies_are_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folders = []
    for name in ("old", "used", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        folders.append(fetch(Location((tmp_path / name).as_uri()), cache))
        week_ago = time.time() - 7 * 86_400
        os.utime(folders[-1], (week_ago, week_ago))
        if name == "used":
            fetch(Location((tmp_path / "used").as_uri()), cache)
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_a_copy_that_cannot_be_put_in_its_place_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(Location((tmp_path / "source").as_uri()), tmp_path / "cache")


def test_a_copy_is_whole_for_as_long_as_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    old = fetch(Location((tmp_path / "old").as_uri()), cache)
    os.utime(old, (0, 0))
    removed: list[Path] = []
    monkeypatch.setattr(
        "nightshift.platforms.sagemaker.fetching.shutil.rmtree", lambda path, **_: removed.append(Path(path))
    )
    fetch(Location((tmp_path / "new").as_uri()), cache)
    assert not old.exists()
    assert [path.name[:5] for path in removed if (path / "file").exists()] == [".old-"]


def test_nothing_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobLost, match="there is nothing"):
        fetch(Location((tmp_path / "empty").as_uri()), tmp_path / "cache")
