"""What a backfill leaves in the lake: its plan, what each chunk did, its page. All below ``backfills/``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nightshift.backfill.plan import Plan
from nightshift.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.lake.tables import Lake

__all__ = ["Results", "load_plan", "page_path", "page_url", "read_results", "record_chunk", "save_plan"]

Results = dict[str, dict[str, dict[str, Any]]]
"""By step and partition: ``status``, ``seconds`` and what else the step tells."""


def page_path(name: str) -> str:
    """Where the page of a backfill lies in the lake of its pipeline."""
    return f"backfills/{name}.html"


def page_url(ui_url: str, plan: Plan) -> str:
    """Where a browser shows it."""
    return f"{ui_url}/nightshift/backfills/{plan.pipeline}/{plan.id}"


def save_plan(lake: Lake, plan: Plan) -> None:
    """Write the plan; a run that is planned again has one plan, the newest."""
    lake.write_file(_plan_path(plan.id), json.dumps(plan.to_dict()).encode())


def load_plan(lake: Lake, name: str) -> Plan:
    """The plan of that id.

    :raises LakeError: when there is none.
    """
    if not lake.exists(_plan_path(name)):
        raise LakeError(f"there is no plan of backfill {name}", fix="clear its task 'plan'")
    return Plan.from_dict(json.loads(lake.read_file(_plan_path(name))))


def record_chunk(lake: Lake, plan: Plan, step: str, label: str, found: Sequence[Mapping[str, Any]]) -> None:
    """What became of each partition of a chunk: ``partition``, ``status``, ``seconds`` at least."""
    record = {"made_at": plan.made_at, "partitions": list(found)}
    lake.write_file(f"{_folder(plan.id)}/{step}/{label}.json", json.dumps(record).encode())


def read_results(lake: Lake, plan: Plan) -> Results:
    """What the chunks of this very plan have recorded; a chunk that did not end has recorded nothing."""
    files = lake.files(_folder(plan.id))
    found: Results = {}
    for path, data in lake.read_files(files).items():
        record = json.loads(data)
        if record["made_at"] == plan.made_at:
            step = found.setdefault(path.split("/")[-2], {})
            step |= {each["partition"]: each for each in record["partitions"]}
    return found


def _plan_path(name: str) -> str:
    return f"backfills/{name}.json"


def _folder(name: str) -> str:
    return f"backfills/{name}"
