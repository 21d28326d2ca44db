"""What every test may ask for: the loopback servers, each started once and only when asked for."""

from __future__ import annotations

import os
import tempfile

# Airflow makes its home when it is imported; not in the home folder of whoever runs the tests.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="nightshift-tests-airflow-"))

pytest_plugins = ["tests.fakes.alerts", "tests.fakes.azurite", "tests.fakes.mlflow", "tests.fakes.s3"]
