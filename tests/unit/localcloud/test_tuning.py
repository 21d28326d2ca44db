"""Tuning jobs: trials are training jobs that really run, and the search learns from what they print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.unit.localcloud.conftest import LIVE

if TYPE_CHECKING:
    from tests.unit.localcloud.conftest import Bench

RANGES = {
    "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0.1", "MaxValue": "1"}],
    "IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "4", "ScalingType": "Logarithmic"}],
    "CategoricalParameterRanges": [{"Name": "how", "Values": ["a", "b"]}],
}
# The score is x itself.
SCORE = 'x=$(sed \'s/.*"x": "\\([0-9.]*\\).*/\\1/\' input/config/hyperparameters.json)'


def request(bench: Bench, script: str, trials: int = 4, **config: Any) -> dict[str, Any]:
    training = bench.request(script)
    training["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "score", "Regex": "score=([0-9.]+)"}]
    training.pop("TrainingJobName")
    return {
        "HyperParameterTuningJobName": f"tune-{uuid4().hex[:10]}",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "RandomSeed": 7,
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": trials, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": RANGES,
            **config,
        },
        "TrainingJobDefinition": {**training, "StaticHyperParameters": {"fixed": "1"}},
        "Tags": [{"Key": "pipeline", "Value": "toy"}],
    }


def end(bench: Bench, name: str) -> dict[str, Any]:
    def described() -> dict[str, Any]:
        found: dict[str, Any] = bench.sm.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return found

    bench.until(lambda: described()["HyperParameterTuningJobStatus"] not in LIVE)
    return described()


def trials(bench: Bench, name: str, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.sm.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, MaxResults=100, **asked
    )["TrainingJobSummaries"]
    return found


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_the_best_trial_is_found(bench: Bench, strategy: str) -> None:
    asked = request(bench, f"{SCORE}; echo score=$x", Strategy=strategy)
    bench.sm.create_hyper_parameter_tuning_job(**asked)
    ended = end(bench, asked["HyperParameterTuningJobName"])
    found = trials(bench, asked["HyperParameterTuningJobName"], SortBy="FinalObjectiveMetricValue")
    values = [float(one["TunedHyperParameters"]["x"]) for one in found]
    assert (ended["HyperParameterTuningJobStatus"], len(values)) == ("Completed", 4)
    assert values == sorted(values)
    best = ended["BestTrainingJob"]
    assert best["TrainingJobName"] == found[-1]["TrainingJobName"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(values[-1])
    assert (
        ended["TrainingJobStatusCounters"]["Completed"] == ended["ObjectiveStatusCounters"]["Succeeded"] == 4
    )
    trial = bench.describe(best["TrainingJobName"])
    assert trial["TuningJobArn"] == ended["HyperParameterTuningJobArn"]
    assert trial["HyperParameters"].items() >= {"fixed": "1", "_tuning_objective_metric": "score"}.items()
    assert bench.sm.list_tags(ResourceArn=trial["TrainingJobArn"])["Tags"] == asked["Tags"]


def test_trials_that_are_not_worth_their_time_are_ended_early(bench: Bench) -> None:
    # The first three run through; a later one that is worse at its first report has to go.
    script = (
        f"{SCORE}; n=$(ls -d ../../tune-*-00[123]-* 2>/dev/null | grep -c $(basename $(dirname $PWD))); "
        "[ $n = 1 ] && { echo score=5; echo score=6; exit 0; }; echo score=1; sleep 30"
    )
    asked = request(bench, script, TrainingJobEarlyStoppingType="Auto")
    asked["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxParallelTrainingJobs"] = 1
    bench.sm.create_hyper_parameter_tuning_job(**asked)
    ended = end(bench, asked["HyperParameterTuningJobName"])
    assert ended["HyperParameterTuningJobStatus"] == "Completed"
    assert ended["TrainingJobStatusCounters"]["Stopped"] == 1
    assert ended["ObjectiveStatusCounters"]["Succeeded"] == 4


def test_hyperband_runs(bench: Bench) -> None:
    band = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}}
    asked = request(
        bench, f"{SCORE}; for n in 1 2 3; do echo score=$x; done", Strategy="Hyperband", StrategyConfig=band
    )
    bench.sm.create_hyper_parameter_tuning_job(**asked)
    ended = end(bench, asked["HyperParameterTuningJobName"])
    assert ended["HyperParameterTuningJobStatus"] == "Completed"


def test_a_stop_ends_the_trials(bench: Bench) -> None:
    asked = request(bench, "echo score=1; sleep 60")
    name = asked["HyperParameterTuningJobName"]
    bench.sm.create_hyper_parameter_tuning_job(**asked)
    bench.until(lambda: len(trials(bench, name)) == 2)
    bench.sm.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    ended = end(bench, name)
    assert ended["HyperParameterTuningJobStatus"] == "Stopped"
    assert {one["TrainingJobStatus"] for one in trials(bench, name)} == {"Stopped"}


def test_a_search_without_any_success_fails(bench: Bench) -> None:
    asked = request(bench, "exit 1")
    bench.sm.create_hyper_parameter_tuning_job(**asked)
    ended = end(bench, asked["HyperParameterTuningJobName"])
    assert ended["HyperParameterTuningJobStatus"] == "Failed"
    assert "No training job succeeded after 4 attempts" in ended["FailureReason"]


def test_a_warm_start_needs_its_parent(bench: Bench) -> None:
    first = request(bench, f"{SCORE}; echo score=$x", trials=2)
    bench.sm.create_hyper_parameter_tuning_job(**first)
    end(bench, first["HyperParameterTuningJobName"])
    second = request(bench, f"{SCORE}; echo score=$x", trials=1, Strategy="Bayesian")
    parents = [{"HyperParameterTuningJobName": "nobody"}]
    warm = {"WarmStartType": "IdenticalDataAndAlgorithm", "ParentHyperParameterTuningJobs": parents}
    with pytest.raises(bench.sm.exceptions.ResourceNotFound):
        bench.sm.create_hyper_parameter_tuning_job(**second, WarmStartConfig=warm)
    parents[0] = {"HyperParameterTuningJobName": first["HyperParameterTuningJobName"]}
    bench.sm.create_hyper_parameter_tuning_job(**second, WarmStartConfig=warm)
    assert end(bench, second["HyperParameterTuningJobName"])["HyperParameterTuningJobStatus"] == "Completed"


def test_names_are_short_and_unique(bench: Bench) -> None:
    asked = request(bench, "true", trials=1)
    with pytest.raises(ClientError, match=r"regular expression|length"):
        bench.sm.create_hyper_parameter_tuning_job(**{**asked, "HyperParameterTuningJobName": "a" * 33})
    bench.sm.create_hyper_parameter_tuning_job(**asked)
    with pytest.raises(bench.sm.exceptions.ResourceInUse, match=r"already exists\. Choose a different name"):
        bench.sm.create_hyper_parameter_tuning_job(**asked)
    end(bench, asked["HyperParameterTuningJobName"])
