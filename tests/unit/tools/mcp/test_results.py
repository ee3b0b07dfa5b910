"""What came back of a call: texts as they are, the rest told with its sizes."""

import base64
import json
from typing import Any

from brainpilot_rt.tools.mcp.results import rendered


def said(*blocks: dict[str, Any], **more: Any) -> str:
    return rendered({"content": list(blocks), **more}, 10_000).content


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_texts_are_joined_as_they_are():
    assert said(text("one"), text("two\n")) == "one\ntwo\n"


def test_nothing_is_told_as_nothing():
    assert said() == "The tool returned nothing."
    assert rendered({}, 100).content == "The tool returned nothing."


def test_pictures_and_sounds_are_told_without_their_data():
    data = base64.b64encode(b"x" * 1000).decode()
    told = json.loads(said({"type": "image", "mimeType": "image/png", "data": data}))
    assert told == {
        "type": "image",
        "mimeType": "image/png",
        "bytes": 1000,
        "note": "its data is left out",
    }
    assert json.loads(said({"type": "audio", "data": data}))["bytes"] == 1000


def test_a_resource_is_told_with_its_text_and_without_its_bytes():
    inner = {"uri": "file:///a", "mimeType": "text/plain", "text": "hello"}
    about, words = said({"type": "resource", "resource": inner}).split("\n")
    assert json.loads(about) == {"type": "resource", "uri": "file:///a", "mimeType": "text/plain"}
    assert words == "hello"
    blob = {"uri": "file:///b", "blob": "AAAA"}
    assert json.loads(said({"type": "resource", "resource": blob}))["bytes"] == 3


def test_a_link_is_told_as_it_is():
    link = {"type": "resource_link", "uri": "file:///a", "name": "A"}
    assert json.loads(said(link)) == link


def test_structured_content_is_told_once():
    assert said(structuredContent={"a": 1}) == '{"a": 1}'
    assert said(text("a is 1"), structuredContent={"a": 1}) == "a is 1"
    assert said(structuredContent=[]) == "[]"


def test_an_error_is_a_failure():
    assert rendered({"content": [text("no")], "isError": True}, 10).failed
    assert not rendered({"content": [text("yes")], "isError": False}, 10).failed
