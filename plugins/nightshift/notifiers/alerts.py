"""Tells people: each of a pipeline's channels, whatever becomes of the others, once per cause.

A channel is an Airflow connection of type ``apprise`` whose *password* is an Apprise URL (or several,
separated by spaces), e.g. ``mailtos://user:secret@smtp.example.com?to=ops@example.com``,
``slack://…``, ``msteams://…`` or ``jsons://hooks.example.com/path``. The URL holds the secret, and
Airflow masks passwords in its UI and logs. The Apprise provider's own form, an extra
``{"config": {"path": "<url>"}}`` or a list of these, is read as well.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from nightshift.errors import ConfigError, PartitionIncomplete
from nightshift.hooks.settings import current_settings
from nightshift.hooks.storage import open_lake
from nightshift.notifiers.messages import Failed, compose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Connection, Context

    from nightshift.config.pipeline import Pipeline
    from nightshift.notifiers.messages import Message

__all__ = ["FailureAlert", "cause_of", "channel_urls", "failed_task", "missing_cause", "tell"]

log = logging.getLogger(__name__)

_PAUSES_S = (0.0, 2.0, 10.0)  # before each try to reach any channel at all


class FailureAlert(BaseNotifier):
    """An ``on_failure_callback``: runs in the task's process once its last try has failed.

    It never raises: a broken channel must hide neither the task's error nor the other channels.
    """

    def __init__(self, *, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def notify(self, context: Context) -> None:
        """Tell every connection of ``alerts.connections``."""
        if not self.pipeline.alerts.connections:
            return
        failed = failed_task(context, self.pipeline)
        message = compose(failed, current_settings().ui_url)
        tell(self.pipeline, message, cause=cause_of(context, failed))


def tell(pipeline: Pipeline, message: Message, *, cause: str) -> bool:
    """Send ``message`` to the pipeline's channels, unless its cause was told before.

    A cause counts as told once a channel has accepted its message, and then for good; the marker is in the
    pipeline's lake (:class:`~nightshift.notifiers.told.Telling`). Where no channel accepts it in three tries
    it goes to the log, and the next one with this cause is sent. It comes twice, rather than never, when a
    teller dies between sending and marking, or the lake cannot be used.

    Never raises: what is told must not fail what tells it.

    :param cause: words that are the same for all that tells the same, and for nothing else.
    :returns: whether a channel accepted it now.
    """
    from nightshift.notifiers.told import Telling

    if not pipeline.alerts.connections:
        return False

    def telling() -> Telling:
        return Telling(open_lake(current_settings(), pipeline).location, cause)

    if _recorded(lambda: telling().is_done()):
        log.info("Told before, not again: %s", message.title)
        return False
    if not _reach_somebody(pipeline.alerts.connections, message):
        log.error("No channel took this alert: %s\n%s", message.title, message.body)
        _recorded(lambda: telling().given_up())
        return False
    _recorded(lambda: telling().done(message.title))
    return True


def _reach_somebody(connections: Sequence[str], message: Message) -> bool:
    """Whether a channel took the message; each is asked once, all again only when none did."""
    for pause_s in _PAUSES_S:
        time.sleep(pause_s)
        if sum(_deliver(conn_id, message) for conn_id in connections):
            return True
    return False


def _recorded(use: Callable[[], bool]) -> bool:
    """What the record of alerts says; False where it cannot be used: better told twice than never."""
    try:
        return use()
    except Exception as error:  # noqa: BLE001 storage, sign-in, whatever: the message is what counts
        log.warning("The record of what was told cannot be used: %s: %s", type(error).__name__, error)
        return False


def missing_cause(partition: str) -> str:
    """The cause that the deadline of a partition and the task that waits for it share."""
    return f"missing:{partition}"


def cause_of(context: Context, failed: Failed) -> str:
    """What a failed task is told for: its data, else the task until somebody clears it.

    The instances of a mapped task share their cause, and so do the tries.
    """
    if isinstance(context.get("exception"), PartitionIncomplete) and failed.partition:
        return missing_cause(failed.partition)
    clears = getattr(context.get("dag_run"), "clear_number", None) or 0
    return f"failed:{failed.dag_id}:{failed.run_id}:{failed.task_id}:{clears}"


def failed_task(context: Context, pipeline: Pipeline) -> Failed:
    """What failed, from the context of a callback."""
    ti, error = context["ti"], context.get("exception")
    summary = dict(getattr(error, "summary", None) or {})
    return Failed(
        pipeline=pipeline.pipeline,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        partition=_partition(context) or str(summary.get("partition", "")),
        error=f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error),
        try_number=ti.try_number,
        map_index=-1 if ti.map_index is None else ti.map_index,
        summary=summary,
        examples=pipeline.alerts.examples,
    )


def _partition(context: Context) -> str:
    """As the operators resolve it, but never an error: the alert goes out without one too."""
    key = getattr(context.get("dag_run"), "partition_key", None)
    return str(key or (context.get("params") or {}).get("partition") or "")


def channel_urls(connection: Connection) -> list[str]:
    """The Apprise URLs of a connection.

    :raises ConfigError: when it has none.
    """
    urls = (connection.password or "").split()
    config = connection.extra_dejson.get("config")
    if isinstance(config, str) and config:
        config = json.loads(config)
    for each in [config] if isinstance(config, dict) else config or []:
        urls.append(each["path"])
    if not urls:
        raise ConfigError(
            f"connection {connection.conn_id} holds no Apprise URL", fix="set it as the password"
        )
    return urls


def _deliver(conn_id: str, message: Message) -> int:
    """Send to every URL of a connection by itself; how many accepted."""
    from airflow.sdk import Connection

    accepted = 0
    try:
        urls = channel_urls(Connection.get(conn_id))
        for url in urls:
            accepted += _send(url, conn_id, message)
    except Exception as error:  # noqa: BLE001 a channel's trouble is its own, whatever it is
        # Only the class: a library's message may repeat the URL, which holds the secret.
        log.error("Alert channel %s failed: %s", conn_id, _reason(error))
    else:
        if accepted < len(urls):
            log.error("Alert channel %s refused %s of its messages", conn_id, len(urls) - accepted)
        else:
            log.info("Alert sent to %s: %s", conn_id, message.title)
    return accepted


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else type(error).__name__


def _send(url: str, conn_id: str, message: Message) -> bool:
    import apprise
    from airflow.sdk.log import mask_secret

    mask_secret(url)
    channel: Any = apprise.Apprise()
    if not channel.add(url):
        log.error("Connection %s holds an Apprise URL that cannot be read", conn_id)
        return False
    return bool(
        channel.notify(
            title=message.title,
            body=message.body,
            body_format=apprise.NotifyFormat.TEXT,
            notify_type=apprise.NotifyType.FAILURE,
        )
    )
