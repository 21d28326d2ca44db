"""From the machine that a pipeline asks for to an instance type: the cheapest that has enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nightshift.errors import CapacityUnavailable, ConfigError
from nightshift.platforms.sagemaker.prices import InstanceType

if TYPE_CHECKING:
    from nightshift.platforms.base import Machine
    from nightshift.platforms.sagemaker.prices import PriceTable

__all__ = ["Fleet", "choose", "for_features", "for_transform"]

# Families that bring their own disk, for types that a price table does not know.
_LOCAL_DISK = ("ml.g4dn.", "ml.g5.", "ml.g6", "ml.g7", "ml.p3dn.", "ml.p4d", "ml.p5", "ml.p6", "ml.trn")


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many instances of one type."""

    type: InstanceType
    count: int = 1
    spot: bool = False


def choose(machine: Machine, table: PriceTable, *, transform: bool = False) -> Fleet:
    """The instances for ``machine``; its ``instance_type`` wins over what else it says.

    :param transform: for batch transform, which has fewer types and no spot.
    :raises CapacityUnavailable: when no type of the table has that much.
    :raises ConfigError: for a named type that batch transform does not have.
    """
    spot = machine.spot and not transform
    if machine.instance_type:
        return Fleet(_named(machine.instance_type, table, transform=transform), machine.instances, spot)
    fitting = [
        one for one in table.types.values() if _fits(one, machine) and (one.transform or not transform)
    ]
    if not fitting:
        raise CapacityUnavailable(
            f"SageMaker has no machine with {_asked(machine)} in the price table of {table.date}",
            fix="ask for less, or name an instance_type in the pipeline file's resources",
        )
    return Fleet(min(fitting, key=_rank), machine.instances, spot)


def for_features(machine: Machine) -> Machine:
    """The machine for computing features: DuckDB uses no GPU, and only one machine."""
    if machine.gpus:
        return replace(machine, gpus=0, instance_type=None, instances=1)
    return replace(machine, instances=1)


def for_transform(machine: Machine) -> Machine:
    """The machine for batch transform, which is never spot."""
    return replace(machine, spot=False)


def _fits(one: InstanceType, machine: Machine) -> bool:
    if one.usd_per_hour is None or one.burstable:
        return False
    enough = one.cpus >= (machine.cpus or 1) and one.memory_gib >= (machine.memory_gib or 0)
    return enough and one.gpus >= machine.gpus and (one.gpus > 0) == (machine.gpus > 0)


def _rank(one: InstanceType) -> tuple[float, int, str]:
    return (one.usd_per_hour or 0.0, one.cpus, one.name)


def _named(name: str, table: PriceTable, *, transform: bool) -> InstanceType:
    found = table.types.get(name) or _unknown(name)
    if transform and not found.transform:
        raise ConfigError(
            f"batch transform has no {name}, by the price table of {table.date}",
            fix="name another instance_type for scoring in the pipeline file, or none",
        )
    return found


def _unknown(name: str) -> InstanceType:
    """A type that the table does not know: SageMaker will say whether there is one."""
    return InstanceType(name, cpus=0, memory_gib=0, local_disk=name.startswith(_LOCAL_DISK))


def _asked(machine: Machine) -> str:
    parts = [f"{machine.cpus or 1} CPUs", f"{machine.memory_gib or 0} GiB", f"{machine.gpus} GPUs"]
    return ", ".join(parts)
