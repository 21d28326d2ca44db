"""What a task reads and writes, for OpenLineage: Airflow's provider asks an operator at start and end.

Imported only when the provider calls; a deployment without it never comes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.operators.lineage.seen import Seen
from nightshift.operators.lineage.verbs import verb_of

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from nightshift.operators.base import PipelineOperator

__all__ = ["lineage_of"]


def lineage_of(operator: PipelineOperator, ti: Any = None) -> OperatorLineage[Any, Any]:
    """What is known of a task's data: what it is about to read, and with ``ti``, at its end, what it did.

    What the task returned says nearly all of it, the versions too: nothing else is asked.

    :param ti: the task instance, when the task has ended.
    """
    from nightshift.operators.lineage.facets import operator_lineage

    verb = verb_of(type(operator))
    if verb is None or getattr(ti, "state", None) == "skipped":
        return operator_lineage()
    return operator_lineage(verb(_seen(operator, ti)))


def _seen(operator: PipelineOperator, ti: Any) -> Seen:
    if ti is None:
        from airflow.sdk import get_current_context

        return Seen(operator, get_current_context(), {})
    returned = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index)
    return Seen(operator, ti.get_template_context(), returned if isinstance(returned, dict) else {})
