"""The failure alert of every task: tells each of the pipeline's channels, whatever becomes of the others.

A channel is an Airflow connection of type ``apprise`` whose *password* is an Apprise URL (or several,
separated by spaces), e.g. ``mailtos://user:secret@smtp.example.com?to=ops@example.com``,
``slack://…``, ``msteams://…`` or ``jsons://hooks.example.com/path``. The URL holds the secret, and
Airflow masks passwords in its UI and logs. The Apprise provider's own form, an extra
``{"config": {"path": "<url>"}}`` or a list of these, is read as well.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from nightshift.errors import ConfigError
from nightshift.hooks.settings import current_settings
from nightshift.notifiers.messages import Failed, compose

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

    from nightshift.config.pipeline import Pipeline
    from nightshift.notifiers.messages import Message

__all__ = ["FailureAlert", "channel_urls", "failed_task"]

log = logging.getLogger(__name__)


class FailureAlert(BaseNotifier):
    """An ``on_failure_callback``: runs in the task's process once its last try has failed.

    It never raises: a broken channel must hide neither the task's error nor the other channels.
    """

    def __init__(self, *, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def notify(self, context: Context) -> None:
        """Tell every connection of ``alerts.connections``."""
        connections = self.pipeline.alerts.connections
        if not connections:
            return
        message = compose(failed_task(context, self.pipeline), current_settings().ui_url)
        for conn_id in connections:
            _tell(conn_id, message)


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


def _tell(conn_id: str, message: Message) -> None:
    try:
        refused = _send(conn_id, message)
    except Exception as error:  # noqa: BLE001 a channel's trouble is its own, whatever it is
        # Only the class: a library's message may repeat the URL, which holds the secret.
        log.error("Alert channel %s failed: %s", conn_id, _reason(error))
    else:
        if refused:
            log.error("Alert channel %s refused %s of its messages", conn_id, refused)
        else:
            log.info("Alert sent to %s: %s", conn_id, message.title)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else type(error).__name__


def _send(conn_id: str, message: Message) -> int:
    """Send to every URL of a connection by itself; returns how many refused."""
    import apprise
    from airflow.sdk import Connection
    from airflow.sdk.log import mask_secret

    refused = 0
    for url in channel_urls(Connection.get(conn_id)):
        mask_secret(url)
        channel: Any = apprise.Apprise()
        if not channel.add(url):
            raise ConfigError(f"connection {conn_id} holds no Apprise URL that can be read")
        refused += not channel.notify(
            title=message.title,
            body=message.body,
            body_format=apprise.NotifyFormat.TEXT,
            notify_type=apprise.NotifyType.FAILURE,
        )
    return refused
