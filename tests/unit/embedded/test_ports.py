"""Ports: chosen by the environment, checked before anything starts."""

from __future__ import annotations

import os
import socket

import pytest

from nightshift.embedded.ports import HOST, Ports, free_port
from nightshift.errors import ConfigError


def test_ports_are_airflows_and_mlflows_own_unless_the_environment_says_otherwise():
    assert Ports.from_environment({}) == Ports(8080, 5000)
    assert Ports.from_environment({"AIRFLOW_PORT": "18080", "MLFLOW_PORT": ""}) == Ports(18080, 5000)


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "80.5"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(ConfigError, match=r"AIRFLOW_PORT=.* is not a port"):
        Ports.from_environment({"AIRFLOW_PORT": text})


def test_a_taken_port_is_told_with_its_owner_and_another_one_to_choose():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as error:
            Ports(free_port(), port).check_free()
    message = str(error.value)
    assert f"port {port} of 127.0.0.1, meant for MLflow, is taken" in message
    assert f"process {os.getpid()}" in message
    assert "MLFLOW_PORT=" in message


def test_one_port_for_both_is_refused():
    port = free_port()
    with pytest.raises(ConfigError, match="cannot share"):
        Ports(port, port).check_free()


def test_free_ports_pass():
    Ports(free_port(), free_port()).check_free()
