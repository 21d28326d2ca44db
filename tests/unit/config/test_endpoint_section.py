"""The section ``endpoint`` of a pipeline file: left out or whole, and a mistake is told with its cure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from nightshift.config.loader import json_schema, load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = PROJECT / "include" / "pipelines" / "flight_delays.yaml"


def load(folder: Path, section: Any) -> Any:
    document = yaml.safe_load(FILE.read_text())
    path = folder / FILE.name
    path.write_text(yaml.safe_dump({**document, "endpoint": section}))
    return load_pipeline(path).endpoint


def test_a_pipeline_without_the_section_has_no_endpoint() -> None:
    assert load_pipeline(FILE).endpoint is None


def test_an_empty_section_is_a_whole_endpoint(tmp_path: Path) -> None:
    found = load(tmp_path, {})
    assert (found.instances.min, found.instances.max) == (1, 1)
    assert (found.canary.weight, found.canary.minutes, found.check.rows) == (0.1, 10.0, 32)
    assert (found.autoscaling, found.capture, found.monitoring, found.alarms) == (None, None, None, None)


def test_everything_can_be_said(tmp_path: Path) -> None:
    section = {
        "machine": {"cpus": 2, "memory_gib": 8},
        "instances": {"min": 2, "max": 6},
        "canary": {"weight": 0.05, "minutes": 1440},
        "check": {"rows": 100, "tolerance": 0.0},
        "autoscaling": {"invocations_per_minute": 600},
        "capture": {"percentage": 20},
        "monitoring": {"cron": "0 */6 * * *", "enabled": False},
        "alarms": {"latency_ms": 100},
        "timeout_minutes": 30,
    }
    assert load(tmp_path, section).monitoring.enabled is False
    assert load(tmp_path, {"canary": None}).canary is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"canari": {}}, "endpoint.canari: no such field; did you mean 'canary'?"),
        ({"canary": {"wieght": 0.1}}, "endpoint.canary.wieght: no such field; did you mean 'weight'?"),
        ({"canary": {"weight": 1.0}}, "endpoint.canary.weight: Input should be less than 1"),
        ({"instances": {"max": 3}}, "instances.max is 3, but nothing adds machines: say autoscaling too"),
        (
            {"autoscaling": {"invocations_per_minute": 600}},
            "autoscaling needs an instances.max above instances.min",
        ),
        ({"instances": {"min": 3, "max": 2}}, "endpoint.instances: max is 2 and min is 3"),
        ({"machine": {"spot": True}}, "an endpoint has no spot machines"),
        ({"monitoring": {}}, "monitoring looks at what is captured: say capture too"),
        ({"capture": {}, "monitoring": {"cron": "*/5 * * * *"}}, "is looked at every hour at most"),
        ({"alarms": {}}, "say errors_per_minute, latency_ms or both"),
        ({"alarms": {"latency_ms": 9}, "timeout_minutes": 15}, "alarms need timeout_minutes of 20"),
        ({"timeout_minutes": 5}, "endpoint.timeout_minutes: Input should be greater than or equal to 10"),
    ],
)
def test_a_mistake_is_answered_with_what_to_write(tmp_path: Path, section: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, section)
    assert words in str(error.value)


def test_the_schema_for_editors_knows_the_section() -> None:
    from jsonschema import Draft202012Validator

    document = yaml.safe_load(FILE.read_text())
    document["partitions"] = {"start": "2013-01-01"}
    validator = Draft202012Validator(json_schema())
    assert not list(validator.iter_errors({**document, "endpoint": {"canary": None}}))
    assert list(validator.iter_errors({**document, "endpoint": {"canary": {"weight": 2}}}))
