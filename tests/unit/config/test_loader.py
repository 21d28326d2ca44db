"""Pipeline files: the shipped ones load, and a mistake is answered with what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from nightshift.config.loader import json_schema, load_all, load_pipeline
from nightshift.config.settings import PROJECT, Settings
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PIPELINES = PROJECT / "include" / "pipelines"


@pytest.fixture
def document() -> dict:
    return yaml.safe_load((PIPELINES / "flight_delays.yaml").read_text())


def write(folder: Path, document: dict, name: str = "flight_delays.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_pipeline_file_loads(path: Path) -> None:
    assert load_pipeline(path).pipeline == path.stem


def test_a_typo_names_file_field_and_the_nearest_word(tmp_path: Path, document: dict) -> None:
    document["validation"]["max_fracton"] = document["validation"].pop("max_fraction")
    with pytest.raises(ConfigError) as error:
        load_pipeline(write(tmp_path, document))
    assert str(error.value) == (
        "flight_delays.yaml: validation.max_fracton: no such field; did you mean 'max_fraction'?"
    )


@pytest.mark.parametrize(
    ("section", "field", "value", "words"),
    [
        (
            "validation",
            "max_fraction",
            1.5,
            "validation.max_fraction: Input should be less than or equal to 1",
        ),
        ("partitions", "end", "2012-12-31", "lies before start"),
        ("source", "uri", "{landing}/flights", "must contain {partition}"),
        ("training", "model", "xgboost", "'hist_gradient_boosting' or 'torch_mlp' (got 'xgboost')"),
    ],
    ids=["out of range", "dates swapped", "uri without partition", "unknown model"],
)
def test_a_wrong_value_is_named_with_its_place(
    tmp_path: Path, document: dict, section: str, field: str, value: object, words: str
) -> None:
    document[section][field] = value
    with pytest.raises(ConfigError) as error:
        load_pipeline(write(tmp_path, document))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (
            {"metric": "log_loss", "direction": "higher"},
            "direction is 'higher', but lower values of log_loss",
        ),
        ({"cluster": "origin"}, "gate: cluster is set, but resampling is 'stratified'"),
        ({"slices": {"columns": ["carier"]}}, "gate: 'carier' is no column of source.columns; did you mean"),
        (
            {"resampling": "clustered", "cluster": "orign"},
            "gate: 'orign' is no column of source.columns; did you mean 'origin'?",
        ),
        ({"slices": {"columns": ["origin", "origin"]}}, "a column is named twice"),
        ({"resampling": "clustered"}, "draws whole days, and training.window.holdout has 5: 8 are needed"),
        ({"alpha": 0.7}, "gate.alpha: Input should be less than 0.5"),
    ],
    ids=["direction", "cluster", "slice", "cluster column", "twice", "few days", "alpha"],
)
def test_a_gate_that_contradicts_itself_is_refused(
    tmp_path: Path, document: dict, gate: dict, words: str
) -> None:
    document["gate"] = gate
    with pytest.raises(ConfigError) as error:
        load_pipeline(write(tmp_path, document))
    assert words in str(error.value)
    assert "flight_delays.yaml: " in str(error.value)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path, document: dict) -> None:
    document["platfrom"] = document.pop("platform")
    del document["description"]
    with pytest.raises(ConfigError) as error:
        load_pipeline(write(tmp_path, document))
    assert "did you mean 'platform'?" in str(error.value)
    assert "description: is missing" in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", r"broken\.yaml, line \d+, column \d+: is not YAML"), ("- 1", "is not a mapping")],
    ids=["not YAML", "not a mapping"],
)
def test_a_file_that_is_no_pipeline_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_pipeline(path)


def test_one_broken_file_does_not_harm_the_others(tmp_path: Path, document: dict) -> None:
    write(tmp_path, document)
    (tmp_path / "broken.yaml").write_text("pipeline: broken")
    good, bad = load_all(Settings.from_lookup({"pipelines_dir": str(tmp_path)}.get))
    assert [pipeline.pipeline for pipeline in good] == ["flight_delays"]
    assert list(bad) == [tmp_path / "broken.yaml"]


def test_a_file_that_a_pipeline_names_must_be_there(tmp_path: Path, document: dict) -> None:
    document["validation"]["suite"] = "flight.json"
    document["features"]["module"] = "flight_dela"
    write(tmp_path, document)
    _, bad = load_all(Settings.from_lookup({"pipelines_dir": str(tmp_path)}.get))
    (error,) = bad.values()
    assert "validation.suite: there is no flight.json in expectations/; did you mean 'flights.json'?" in str(
        error
    )
    assert "there is no flight_dela.py in features/; did you mean 'flight_delays.py'?" in str(error)


def test_a_file_must_be_called_like_its_pipeline(tmp_path: Path, document: dict) -> None:
    with pytest.raises(ConfigError, match="rename the file"):
        load_pipeline(write(tmp_path, document, "other.yaml"))


def test_the_schema_for_editors_refuses_what_the_loader_refuses(document: dict) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json_schema())
    assert not list(validator.iter_errors({**document, "partitions": {"start": "2013-01-01"}}))
    assert list(validator.iter_errors({**document, "platfrom": "local"}))


@pytest.mark.parametrize("option", ["mlflow_tracking_uri", "ui_url"])
def test_an_address_with_a_password_is_refused_without_repeating_it(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"{option} has a name or a password") as error:
        Settings.from_lookup({option: "https://ada:hunter2@mlflow.example.org"}.get)
    assert "hunter2" not in str(error.value)


def test_settings_take_their_defaults_for_what_is_absent_or_empty(tmp_path: Path) -> None:
    settings = Settings.from_lookup({"home": str(tmp_path), "lake_uri": ""}.get)
    assert settings.lake_uri == (tmp_path / "lake").as_uri()
    assert settings.jobs_home == tmp_path / "jobs"


def test_a_deployment_can_say_where_every_pipeline_runs(tmp_path: Path, document: dict) -> None:
    path = write(tmp_path, document)
    assert load_pipeline(path).platform == "local"
    assert load_pipeline(path, "sagemaker").platform == "sagemaker"
    with pytest.raises(ConfigError, match=r"flight_delays.yaml: platform: .* \(got 'sagemeker'\)"):
        load_pipeline(path, "sagemeker")


def test_other_machines_are_as_many_and_spot_like_the_first_unless_they_say_otherwise(
    tmp_path: Path, document: dict
) -> None:
    document["training"]["resources"] = {
        "cpus": 2,
        "spot": True,
        "instances": 2,
        "candidates": [{"gpus": 1}, {"cpus": 8, "spot": False}],
    }
    resources = load_pipeline(write(tmp_path, document)).training.resources
    found = [(each.cpus, each.gpus, each.spot, each.instances) for each in resources.every_candidate]
    assert found == [(2, 0, True, 2), (None, 1, True, 2), (8, 0, False, 2)]
