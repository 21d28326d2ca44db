"""What a job cost, from what SageMaker describes and a price table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.platforms.sagemaker.statuses import seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.platforms.sagemaker.prices import PriceTable

__all__ = ["Bill", "total", "training_bill", "transform_bill"]


@dataclass(frozen=True, slots=True)
class Bill:
    """What is paid for.

    :param seconds: wall time; ``billable_seconds`` is what is paid for, over all instances.
    :param cost_usd: None where the price is not known.
    :param saved_usd: what it would have cost besides on demand.
    """

    instance_type: str
    instances: int
    spot: bool
    seconds: float
    billable_seconds: float
    cost_usd: float | None
    saved_usd: float


def training_bill(found: Mapping[str, Any], table: PriceTable) -> Bill:
    """Of a training job.

    SageMaker tells wall seconds of one instance, and for spot already fewer than passed: the documented
    saving is ``1 - BillableTimeInSeconds / TrainingTimeInSeconds``.
    """
    resources = found["ResourceConfig"]
    spot = bool(found.get("EnableManagedSpotTraining"))
    billable = float(found.get("BillableTimeInSeconds", 0))
    trained = float(found.get("TrainingTimeInSeconds", billable))
    return _bill(
        str(resources["InstanceType"]),
        int(resources["InstanceCount"]),
        spot=spot,
        seconds=seconds_of(found, "Training"),
        billable=billable,
        not_billed=max(0.0, trained - billable) if spot else 0.0,
        table=table,
    )


def transform_bill(found: Mapping[str, Any], table: PriceTable) -> Bill:
    """Of a transform job, whose seconds SageMaker does not count: from its start to its end."""
    resources, seconds = found["TransformResources"], seconds_of(found, "Transform")
    return _bill(
        str(resources["InstanceType"]),
        int(resources["InstanceCount"]),
        spot=False,
        seconds=seconds,
        billable=float(math.ceil(seconds)),
        not_billed=0.0,
        table=table,
    )


def _bill(
    instance_type: str,
    count: int,
    *,
    spot: bool,
    seconds: float,
    billable: float,
    not_billed: float,
    table: PriceTable,
) -> Bill:
    price = table.price(instance_type)
    return Bill(
        instance_type,
        count,
        spot,
        seconds,
        billable * count,
        None if price is None else billable * count / 3600 * price,
        0.0 if price is None else not_billed * count / 3600 * price,
    )


def total(bills: Sequence[Bill], seconds: float) -> Bill:
    """Several stages or trials as one.

    :param seconds: wall time of all, which may run side by side.
    """
    known = [bill.cost_usd for bill in bills if bill.cost_usd is not None]
    return Bill(
        instance_type=",".join(dict.fromkeys(bill.instance_type for bill in bills)),
        instances=max((bill.instances for bill in bills), default=0),
        spot=any(bill.spot for bill in bills),
        seconds=seconds,
        billable_seconds=math.fsum(bill.billable_seconds for bill in bills),
        cost_usd=math.fsum(known) if len(known) == len(bills) else None,
        saved_usd=math.fsum(bill.saved_usd for bill in bills),
    )
