"""Raises for every broken pipeline file, so that Airflow shows it as an import error; the others go on."""

from __future__ import annotations

from nightshift.errors import ConfigError
from nightshift.operators.dag_parts import broken_pipelines

# Airflow's file safe mode reads a file for DAGs only when it contains the words "dag" and "airflow".
if broken_pipelines():
    raise ConfigError("\n\n".join(str(error) for error in broken_pipelines().values()))
