"""``nightshift why`` and ``nightshift reproduce``, called as a user calls them, on models really trained."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.cli.main import main
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.platforms.base import JobSpec, JobState
from nightshift.platforms.local import LocalPlatform
from nightshift.provenance import reproduce as reproduce_module
from nightshift.provenance.compare import Compared
from nightshift.provenance.reproduce import Reproduction
from nightshift.registry.tracking import Tracking
from tests.contract.platform_contract import wait_for
from tests.fakes.job_inputs import PARTITIONS
from tests.fakes.toy_jobs import make_toy_jobs
from tests.unit.provenance.deployment import output_of
from tests.unit.registry.outputs import MANIFESTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.provenance.conftest import Nights

pytestmark = pytest.mark.server


@pytest.fixture
def moved_lake(nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake, copied to another place, where one of its days was delivered again with fewer rows."""
    shutil.copytree(nights.deployment.settings.home / "lake", tmp_path / "lake")
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__LAKE_URI", (tmp_path / "lake").as_uri())
    lake = Lake(Location((tmp_path / "lake").as_uri()), nights.deployment.pipeline.pipeline)
    clean = lake.table("clean")
    rows = clean.read([PARTITIONS[5]]).drop_columns(["partition"])
    clean.replace_partition(PARTITIONS[5], rows.slice(0, 50))
    return lake


def test_trees_are_made_again_to_the_last_bit_from_the_rows_as_they_were(
    nights: Nights, moved_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", nights.trees.name, nights.trees.version, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["compared"]["bit_equal"] is True
    assert found["compared"]["rows"] > 1000
    assert found["compared"]["tolerance"] == 0
    assert found["warnings"] == []
    assert found["job"].startswith(f"{nights.trees.name.replace('_', '-')}-reproduce-1-")
    assert "best after" in said.err  # the job's own words, as they come


def test_a_network_is_made_again_within_its_tolerance(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", nights.network.name, nights.network.version]) == 0
    assert "(torch_mlp) is the same to the last bit: every metric and" in capsys.readouterr().out


def test_a_model_whose_files_were_vacuumed_away_cannot_be_made_again(
    nights: Nights, moved_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    (gone,) = moved_lake.table("clean").manifest([PARTITIONS[6]]).files
    (moved_lake.location.path() / "clean" / gone.path).unlink()
    assert main(["reproduce", nights.trees.name, nights.trees.version]) == 2
    said = capsys.readouterr().err
    assert f"files of version 12 of table 'clean' are not there any more: {gone.path}" in said
    assert "vacuumed away" in said


def test_a_version_of_before_the_records_cannot_be_made_again(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, name = nights.deployment.settings.mlflow_tracking_uri, nights.deployment.pipeline.pipeline
    from nightshift.registry.models import Models

    tracking = Tracking(uri)
    run_id = tracking.find_or_create_run(name, "old-job", "train", {})
    tracking.log_training(run_id, output_of(nights.trained["torch_mlp"]), MANIFESTS)
    old = Models(uri).register(name, run_id, "2013-01-02", "0" * 64, {})
    assert main(["reproduce", name, old.version]) == 2
    assert "registered without the job that trained it" in capsys.readouterr().err
    assert main(["why", name, old.version]) == 0
    assert "registered before records were kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("compared", "code", "words"),
    [
        (
            Compared(False, False, 0.0, 900, 3, 0.25, {"holdout_roc_auc": {"then": 0.5, "now": None}}),
            1,
            ["3 of 900 predictions differ, by 0.25 at most", "is DIFFERENT", "holdout_roc_auc: undefined"],
        ),
        (Compared(True, False, 1e-4, 900, 3, 1e-6, {}), 0, ["is the same: 0.0001 is allowed"]),
        (Compared(False, False, 0.0, -1, 0, float("inf"), {}), 1, ["holdout rows or their labels are not"]),
    ],
    ids=["different", "within tolerance", "other rows"],
)
def test_the_comparison_decides_the_exit_code(
    nights: Nights,
    compared: Compared,
    code: int,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Reproduction(
        pipeline="p",
        version="1",
        model="m",
        job="j",
        output="/o",
        seconds=1.0,
        warnings=("numpy: 2 here, it was 1",),
        compared=compared,
    )
    monkeypatch.setattr(reproduce_module, "reproduce", lambda *_, **__: made)
    assert main(["reproduce", nights.trees.name, nights.trees.version]) == code
    said = capsys.readouterr().out
    assert all(word in said for word in [*words, "not as it was: numpy: 2 here"])
    main(["reproduce", nights.trees.name, nights.trees.version, "--json"])
    assert json.loads(capsys.readouterr().out)["compared"]["rows"] == compared.rows


def test_a_job_that_nobody_waits_for_any_more_is_stopped(nights: Nights, tmp_path: Path) -> None:
    platform = LocalPlatform(tmp_path / "jobs", make_toy_jobs(tmp_path / "toy"), grace_s=0.5, gpus=0)
    spec = JobSpec("train", {"counter": str(tmp_path / "starts"), "seconds": 60}, (), code_sha256="0")

    def interrupt(line: str) -> None:
        if "started" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce_module._run(platform, spec, nights.trees, interrupt)
    (job,) = platform.find({})
    wait_for(lambda: (status := platform.status(job.ref)) and status.state is JobState.STOPPED)


def test_why_prints_the_whole_story_and_says_where_it_is(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    name, version = nights.trees.name, nights.trees.version
    assert main(["why", name, version, "--open-nothing"]) == 0
    said = capsys.readouterr().out
    for words in (
        f"{name} version {version}: ",
        "clean at version 12: ",
        "train: 2013-01-06..2013-01-09 (4 days), ",
        "9 days: 8 passed, 1 without a report; ",
        "the same as today's",
        "max_iter 40",
        "4 trials (2 complete, 1 fail, 1 pruned); the best is number 1: average_precision 0.41000",
        "with learning_rate 0.02",
        "Python 3.",
        "train ",
        "why.json and why.html are with its run: http://127.0.0.1:",
    ):
        assert words in said
    assert main(["why", name, version, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["record"]["splits"] == nights.plan["splits"]


def test_an_unknown_version_is_answered_with_the_known_ones(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", nights.trees.name, "99"]) == 1
    assert "has no version '99'; there are 1.." in capsys.readouterr().err
    assert main(["reproduce", nights.trees.name, "99"]) == 2
    assert main(["why", "flights_of_nobody", "1"]) == 2
