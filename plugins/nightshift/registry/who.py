"""Who decides, as the ledger keeps it: a DAG run or a person, and never a secret."""

from __future__ import annotations

import getpass
import socket
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

__all__ = ["FIELDS", "dag_run", "user"]

FIELDS: Final = frozenset({"kind", "dag", "run", "url", "user", "name", "host"})
"""All that may be said of somebody; the ledger takes nothing else."""


def dag_run(dag_id: str, run_id: str, ui_url: str, *, triggered_by: str | None = None) -> dict[str, str]:
    """A run of a DAG, and the person who started it where Airflow knows one."""
    found = {
        "kind": "dag_run",
        "dag": dag_id,
        "run": run_id,
        "url": f"{_bare(ui_url)}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}",
    }
    return {**found, "user": triggered_by} if triggered_by else found


def user() -> dict[str, str]:
    """The person at the command line."""
    return {"kind": "user", "name": getpass.getuser(), "host": socket.gethostname()}


def _bare(url: str) -> str:
    """The address without a name, a password or a query in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
