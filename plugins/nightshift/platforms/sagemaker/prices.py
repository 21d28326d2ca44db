"""What instances cost and what is in them: a table with date, region and source, replaceable by path."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["InstanceType", "PriceTable", "read_prices"]

_OURS = Path(__file__).with_name("prices.json")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One kind of instance.

    :param usd_per_hour: on demand; None where the table does not know.
    :param transform: whether batch transform may use it; ``local_disk``: it brings its own encrypted disk,
        for which a volume key is refused; ``burstable``: only for who asks for it by name.
    """

    name: str
    cpus: int
    memory_gib: float
    gpus: int = 0
    usd_per_hour: float | None = None
    transform: bool = True
    local_disk: bool = False
    burstable: bool = False


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of one region at one date.

    :param region: whose prices these are; :attr:`asked` is the region that they stand for.
    """

    date: str
    source: str
    region: str
    asked: str
    types: Mapping[str, InstanceType]

    @property
    def is_exact(self) -> bool:
        """Whether these are the prices of the region that was asked for."""
        return self.region == self.asked

    def price(self, instance_type: str) -> float | None:
        """US dollars an hour; None, and a warning, for a type that is not in the table."""
        found = self.types.get(instance_type)
        if found is None or found.usd_per_hour is None:
            log.warning(
                "No price of %s is known (table of %s, %s): what it costs is NOT counted in any budget; "
                "set sagemaker_prices to a table that has it",
                *(instance_type, self.date, self.region),
            )
            return None
        return found.usd_per_hour


def read_prices(path: str, region: str) -> PriceTable:
    """The table at ``path``, or ours; for a region that it lacks, the prices of its first region, with a
    warning.

    :raises ConfigError: when the file is not there or is no price table.
    """
    table = _read(path or str(_OURS), region)
    if not table.is_exact:
        log.warning(
            "The price table of %s has no prices of %s: those of %s stand in for them",
            *(table.date, region, table.region),
        )
    return table


@cache
def _read(path: str, region: str) -> PriceTable:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        prices: dict[str, dict[str, float]] = document["usd_per_hour"]
        used = region if region in prices else next(iter(prices))
        types = {
            name: InstanceType(name=name, usd_per_hour=prices[used].get(name), **_given(words))
            for name, words in document["types"].items()
        }
        return PriceTable(document["date"], document["source"], used, region, types)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ConfigError(
            f"{path} is no price table: {type(error).__name__}: {error}",
            fix="write it like nightshift/platforms/sagemaker/prices.json",
        ) from error


def _given(words: Mapping[str, Any]) -> dict[str, Any]:
    """The short names of the file."""
    gives = set(words.get("is", ()))
    return {
        "cpus": int(words["cpus"]),
        "memory_gib": float(words["memory_gib"]),
        "gpus": int(words.get("gpus", 0)),
        "transform": "training only" not in gives,
        "local_disk": "local disk" in gives,
        "burstable": "burstable" in gives,
    }
