"""Machines, prices and bills."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.session import get_session

from nightshift.errors import CapacityUnavailable, ConfigError
from nightshift.platforms.base import Machine
from nightshift.platforms.sagemaker.costs import total, training_bill, transform_bill
from nightshift.platforms.sagemaker.machines import choose, for_features
from nightshift.platforms.sagemaker.prices import read_prices

if TYPE_CHECKING:
    from pathlib import Path

TABLE = read_prices("", "us-east-1")


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (Machine(), "ml.m5.large"),
        (Machine(cpus=4), "ml.c5.xlarge"),
        (Machine(cpus=4, memory_gib=16), "ml.m5.xlarge"),
        (Machine(memory_gib=60), "ml.r5.2xlarge"),
        (Machine(gpus=1), "ml.g4dn.xlarge"),
        (Machine(gpus=1, memory_gib=30), "ml.g4dn.2xlarge"),
        (Machine(gpus=4), "ml.g4dn.12xlarge"),
        (Machine(gpus=8), "ml.g5.48xlarge"),
        (Machine(cpus=96, instance_type="ml.t3.medium"), "ml.t3.medium"),
    ],
    ids=lambda value: str(value),
)
def test_a_machine_is_the_cheapest_that_has_enough(machine: Machine, name: str) -> None:
    assert choose(machine, TABLE).type.name == name


def test_a_transform_gets_a_type_that_it_may_use_and_no_spot() -> None:
    fleet = choose(Machine(memory_gib=60, spot=True), TABLE, transform=True)
    assert (fleet.type.name, fleet.spot) == ("ml.m5.4xlarge", False)


def test_too_much_is_no_capacity_so_that_the_next_candidate_is_asked_for() -> None:
    with pytest.raises(CapacityUnavailable, match="9 GPUs"):
        choose(Machine(gpus=9), TABLE)


def test_features_need_no_gpu_and_one_machine() -> None:
    assert for_features(Machine(gpus=2, instances=3, instance_type="ml.g5.12xlarge")) == Machine()
    assert for_features(Machine(cpus=8, instances=2)) == Machine(cpus=8)


def test_every_type_of_the_table_exists_and_has_a_price() -> None:
    model = get_session().get_service_model("sagemaker")
    training, transform = (
        set(model.shape_for(f"{use}InstanceType").enum) for use in ("Training", "Transform")
    )
    assert set(TABLE.types) <= training
    assert {name for name, one in TABLE.types.items() if one.transform} <= transform
    assert all(one.usd_per_hour for one in TABLE.types.values())
    assert (TABLE.date, TABLE.region) == ("2025-01-01", "us-east-1")


def test_an_unknown_type_has_no_price_and_a_named_one_is_still_used() -> None:
    fleet = choose(Machine(instance_type="ml.g7.2xlarge"), TABLE)
    assert (fleet.type.name, fleet.type.local_disk) == ("ml.g7.2xlarge", True)
    assert TABLE.price("ml.g7.2xlarge") is None


def test_another_regions_prices_stand_in_and_say_so() -> None:
    table = read_prices("", "eu-central-1")
    assert (table.region, table.asked, table.is_exact) == ("us-east-1", "eu-central-1", False)


def test_a_table_can_be_replaced_by_path(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    types = {"ml.m5.large": {"cpus": 2, "memory_gib": 8}}
    prices = {"eu-central-1": {"ml.m5.large": 0.138}}
    path.write_text(
        json.dumps({"date": "2026-11-01", "source": "us", "types": types, "usd_per_hour": prices})
    )
    assert read_prices(str(path), "eu-central-1").price("ml.m5.large") == 0.138
    path.with_name("other.json").write_text("{}")
    with pytest.raises(ConfigError, match="is no price table"):
        read_prices(str(path.with_name("other.json")), "eu-central-1")


def trained(**more: Any) -> dict[str, Any]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2},
        "TrainingStartTime": start,
        "TrainingEndTime": start.replace(minute=10),
        "TrainingTimeInSeconds": 600,
        "BillableTimeInSeconds": 600,
        **more,
    }


def test_every_instance_is_paid_for() -> None:
    bill = training_bill(trained(), TABLE)
    assert (bill.seconds, bill.billable_seconds, bill.saved_usd) == (600.0, 1200.0, 0.0)
    assert bill.cost_usd == pytest.approx(1200 / 3600 * 0.115)


def test_what_spot_saves_is_what_was_not_billed() -> None:
    bill = training_bill(trained(EnableManagedSpotTraining=True, BillableTimeInSeconds=200), TABLE)
    assert bill.cost_usd == pytest.approx(400 / 3600 * 0.115)
    assert bill.saved_usd == pytest.approx(800 / 3600 * 0.115)


def test_a_job_that_never_started_costs_nothing() -> None:
    found = {"ResourceConfig": trained()["ResourceConfig"]}
    assert training_bill(found, TABLE).cost_usd == 0.0


def test_a_bill_with_an_unknown_price_in_it_has_no_sum() -> None:
    strange = {"InstanceType": "ml.g7.2xlarge", "InstanceCount": 1}
    bills = [training_bill(trained(), TABLE), training_bill(trained(ResourceConfig=strange), TABLE)]
    both = total(bills, 600.0)
    assert (both.cost_usd, both.billable_seconds) == (None, 1800.0)
    assert both.instance_type == "ml.m5.large,ml.g7.2xlarge"


def test_a_transform_is_billed_from_its_start_to_its_end() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = {
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 3},
        "TransformStartTime": start,
        "TransformEndTime": start.replace(second=30),
    }
    assert transform_bill(found, TABLE).billable_seconds == 90.0
