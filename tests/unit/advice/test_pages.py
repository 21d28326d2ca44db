"""The guide to a first night on AWS: its sums, its prices and its options are those of the code."""

from __future__ import annotations

import re

import pytest

from nightshift.config.settings import PROJECT, SAGEMAKER_OPTIONS
from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.prices import read_prices

PAGE = (PROJECT / "docs" / "aws" / "first-night.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| [a-z, ]+ \| (\d+) \| (\d+) \| (ml\.\S+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def test_the_worked_example_adds_up_with_the_prices_of_the_table() -> None:
    types, rows, total = read_prices("", "us-east-1").types, ROW.findall(PAGE), 0.0
    assert len(rows) == 5
    for count, seconds, machine, price, usd in rows:
        assert float(price) == types[machine].usd_per_hour
        cost = int(count) * int(seconds) / 3600 * float(price)
        assert float(usd) == pytest.approx(cost, abs=0.0001)
        total += cost
    (told,) = re.findall(r"^\| together .* ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert float(told) == pytest.approx(total, abs=0.0001)


def test_every_setting_of_sagemaker_is_in_the_table_of_options() -> None:
    for name in {*SAGEMAKER_OPTIONS, *SageMakerConfig.model_fields}:
        assert f"`sagemaker_{name}`" in PAGE


def test_the_guide_says_that_no_account_has_seen_it() -> None:
    assert "**No real AWS account has seen this yet.**" in PAGE
