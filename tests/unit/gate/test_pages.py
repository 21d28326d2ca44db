"""The evidence as picture, page and Markdown: what they say, and safe whatever a slice's value holds."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from nightshift.config.pipeline import GateConfig
from nightshift.gate.evidence import Holdout, weigh
from nightshift.gate.page import render
from nightshift.gate.picture import draw
from nightshift.gate.verdict import Candidate
from nightshift.gate.words import approval_body
from tests.unit.gate.worlds import holdout

PICTURE, PAGE = "http://airflow/nightshift/gate/x.png", "http://airflow/nightshift/gate/x.html"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "| a | b |\n\n# big\n[x](javascript:alert(1)) ![y](http://evil/y.png)",
    "`$\\frac{1}{ www.evil.example https://evil.example \x1b[31m\u202e *bold*",
)
GATE = {
    "resamples": 300,
    "min_effect": 0.01,
    "floors": {"roc_auc": 0.6, "log_loss": 0.1},
    "slices": {"columns": ["carrier"], "max_regression": 0.02, "min_rows": 100},
    "limits": {"latency_ms": 10, "size_mib": 5},
    "promote": "ask",
}


def evidence(
    *, champion: bool = True, carriers: tuple[str, ...] = ("AA", "UA"), **gate: Any
) -> dict[str, Any]:
    rows = holdout(1200, better=0.4)
    names = np.array(carriers)[np.arange(len(rows)) % len(carriers)]
    rows = replace(rows, slices={"carrier": names}, champion=rows.champion if champion else None)
    signature = {"inputs": {"hour": "long"}, "outputs": {}}
    return weigh(
        rows,
        GateConfig.model_validate({**GATE, **gate}),
        Candidate(version="13", partition="2013-01-29", latency_ms=4.2, size_bytes=10_000_000),
        Candidate(version="12", partition="2013-01-28", signature=signature) if champion else None,
        evaluation="0123456789abcdef",
        holdout=Holdout(["2013-01-28", "2013-01-29"], ["2013-01-27"]),
    )


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page[page.index("<body>") :]))


def tokens(body: str) -> list[Any]:
    """Everything that Markdown makes of it, flat."""
    blocks = MarkdownIt("commonmark").enable("table").parse(body)
    return [each for block in blocks for each in (block, *(block.children or ()))]


@pytest.mark.parametrize("champion", [True, False], ids=["compared", "first model"])
def test_the_picture_is_a_png_of_a_bounded_size(champion: bool) -> None:
    picture = draw(evidence(champion=champion))
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000


def test_a_thousand_slices_make_no_taller_picture_than_the_largest_two_dozen() -> None:
    names = tuple(f"c{number}" for number in range(300))
    height = [int.from_bytes(draw(evidence(carriers=each))[20:24], "big") for each in (names[:30], names)]
    assert height[0] == height[1] < 1500


def test_the_page_says_the_verdict_first_and_then_everything_it_rests_on() -> None:
    found = evidence()
    text = text_of(render(found, "flight_delays", b"png"))
    assert text.startswith(" flight_delays · version 13 not promoted against the champion, version 12 Why ")
    for reason in found["reasons"]:
        assert text.index(str(reason).split(",")[0].replace("'", "&#39;")) < text.index(" Metrics ")
    assert "Compared on 2013-01-28, 2013-01-29 (1,200 rows with a known outcome)" in text
    assert "Left out 2013-01-27: the champion was fitted or tuned on them" in text
    assert re.search(r"log_loss 0\.\d+ 0\.1 ✗ does not hold", text)
    assert re.search(r"size_mib 9\.53\d+ 5 ✗ does not hold", text)
    assert "latency_ms 4.2 10 ✓ holds" in text
    assert "Efron &amp; Tibshirani 1993" in text
    assert "min_effect 0.01" in text


def test_the_page_of_a_first_model_says_that_there_was_nobody_to_beat() -> None:
    text = text_of(render(evidence(champion=False, floors={}, limits={}), "flight_delays", b"png"))
    assert text.startswith(" flight_delays · version 13 a person is asked there is no champion yet")
    assert "Signature" not in text
    assert "Floors and limits" not in text


def test_what_data_say_is_shown_and_never_run() -> None:
    found = evidence(carriers=HOSTILE)
    page = render({**found, "reasons": list(HOSTILE)}, HOSTILE[1], draw(found))
    assert "<script" not in page
    assert len(re.findall(r"<img ", page)) == 1
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!data:image/png;base64,[A-Za-z0-9+/=]+\")", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_approval_form_has_the_picture_the_tables_and_the_way_to_the_page() -> None:
    found = evidence()
    body = approval_body(found, PICTURE, PAGE)
    parsed = tokens(body)
    assert [each.attrs["src"] for each in parsed if each.type == "image"] == [PICTURE]
    assert [each.attrs["href"] for each in parsed if each.type == "link_open"] == [PAGE, PAGE]
    assert sum(each.type == "table_open" for each in parsed) == 2
    assert "`carrier = AA`" in body
    assert "left out: 2013" in "".join(each.content for each in parsed if each.type == "text")


def test_the_approval_form_of_a_first_model_has_no_gains() -> None:
    body = approval_body(evidence(champion=False), PICTURE, PAGE)
    assert "no champion yet" in body
    assert "None" not in body


def test_nothing_that_came_from_data_is_markdown() -> None:
    found = evidence(carriers=HOSTILE, signature="any")
    body = approval_body({**found, "reasons": [*HOSTILE, *found["reasons"]]}, PICTURE, PAGE)
    parsed = tokens(body)
    assert not [each for each in parsed if each.type in ("html_block", "html_inline", "em_open")]
    assert {each.tag for each in parsed if each.type == "heading_open"} == {"h3"}
    assert [each.attrs["src"] for each in parsed if each.type == "image"] == [PICTURE]
    assert {each.attrs["href"] for each in parsed if each.type == "link_open"} == {PAGE}
    cells = sum(each.type in ("td_open", "th_open") for each in parsed)
    assert cells == 5 * (1 + 5) + 6 * (1 + len(HOSTILE))
    words = [each.content for each in parsed if each.type == "text"]
    assert not [each for each in words if re.search(r"(?i)https?:|www\.", each)]
    assert not {"\x1b", "\u202e", "\r"} & set(body)


@pytest.mark.parametrize("noise", ["<|`*_[]", "🛫"], ids=["syntax", "wide characters"])
def test_the_approval_form_stays_under_20_kb_whatever_the_data_hold(noise: str) -> None:
    found = evidence(carriers=tuple(f"{number} " + noise * 2000 for number in range(60)))
    long = {**found, "reasons": [noise * 5000] * 500}
    long["signature"] = {"compatible": False, "differences": [noise * 9000] * 500}
    long["holdout"] = {**found["holdout"], "left_out": ["2013-01-01"] * 3000}
    assert len(approval_body(long, PICTURE, PAGE).encode()) < 20_000
