from __future__ import annotations

import pytest

from nightshift.errors import ConfigError, StorageUnavailable
from nightshift.lake.storage import Location
from nightshift.lake.trouble import readable, storage_error

PLACE = Location("s3://bucket", {"aws_secret_access_key": "wJalrXUtnFEMI"})


def test_a_message_is_one_line_without_dump_xml_query_or_secret() -> None:
    message = (
        "Generic S3 error\n  \x1b[31m↳\x1b[0m GET http://h/b?sig=abc%3D&x=1 with wJalrXUtnFEMI: "
        "403 Forbidden: "
        '<?xml version="1.0"?>\n<Error><Code>Denied</Code><Message>No.\nRequestId:1</Message></Error>\n\n'
        "Debug source:\nGeneric { }"
    )
    assert readable(message, PLACE.options) == (
        "Generic S3 error GET http://h/b with ***: 403 Forbidden: Denied: No"
    )


def test_a_long_message_is_cut() -> None:
    assert len(readable("word " * 1000, {})) < 600


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Server returned non-2xx status code: 403 Forbidden", ConfigError),
        ("404 Not Found: NoSuchBucket", ConfigError),
        ("Connection refused (os error 111)", StorageUnavailable),
        ("503 Slow Down", StorageUnavailable),
    ],
)
def test_only_what_waiting_may_cure_is_retried(message: str, kind: type) -> None:
    error = storage_error(PLACE, "listing", OSError(message))
    assert type(error) is kind
    assert "listing s3://bucket" in str(error)
