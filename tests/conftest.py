"""What every test may ask for: the loopback servers, each started once and only when asked for."""

from __future__ import annotations

pytest_plugins = ["tests.fakes.alerts", "tests.fakes.azurite", "tests.fakes.mlflow", "tests.fakes.s3"]
