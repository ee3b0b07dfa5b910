"""A frame says what it was given and nothing else, whatever the text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.server.tracks import sse
from tests.unit.server.world import parse_block

HOSTILE = st.sampled_from(
    [
        "\n\n",
        "\r\n\r\n",
        "\r",
        "\ndata: {}",
        "\nid: 9",
        "\nevent: x",
        "\u2028",
        "\u2029",
        "\x85",
        "\0",
    ]
)
TEXT = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | HOSTILE).map("".join)


@pytest.mark.fault("S28")
@given(TEXT, st.dictionaries(TEXT, TEXT))
def test_no_text_forges_a_frame_or_a_field(text: str, more: dict[str, str]):
    frame: dict[str, Any] = {"delta": text, "more": more}
    data = sse("epoch.7", frame).data
    assert data.count(b"\n") == 3
    assert data.endswith(b"\n\n")
    assert b"\r" not in data
    seen = parse_block(data.removesuffix(b"\n\n"))
    assert seen is not None
    assert (seen.key, seen.frame) == ("epoch.7", frame)
    assert json.loads(data.split(b"data: ", 1)[1]) == frame
