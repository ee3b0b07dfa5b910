"""Files of a session over HTTP: up, down, in parts, and never outside."""

import base64
from pathlib import Path

import pytest

from brainpilot_rt.server.routes.files import RANGE_BYTES_MAX, byte_range
from tests.unit.server.world import serving

FILES = "/sessions/some/files"
pytestmark = pytest.mark.realtime


async def test_a_file_goes_up_is_listed_comes_down_and_is_deleted(tmp_path: Path):
    async with serving(folder=tmp_path) as server:
        data = bytes(range(256)) * 10
        body = {"path": "/workspace/notes/a.bin", "contentBase64": base64.b64encode(data).decode()}
        made = await server.client.post(FILES, json=body)
        assert (made.status_code, made.json()) == (201, {"path": "notes/a.bin", "size": 2560})
        listed = (await server.client.get(FILES)).json()
        assert [(one["name"], one["type"]) for one in listed] == [("notes", "folder")]
        inner = (await server.client.get(FILES, params={"path": "notes"})).json()
        assert set(inner[0]) == {"name", "type", "size", "modified", "permissions"}
        raw = await server.client.get(f"{FILES}/raw", params={"path": "notes/a.bin"})
        assert raw.content == data
        assert raw.headers["content-type"] == "application/octet-stream"
        assert raw.headers["content-length"] == "2560"
        gone = await server.client.delete(FILES, params={"path": "notes"})
        assert gone.json() == {"deleted": True}
        missing = await server.client.delete(FILES, params={"path": "notes"})
        assert (missing.status_code, missing.json()["deleted"]) == (404, False)


async def test_a_folder_that_is_not_there_is_empty(tmp_path: Path):
    async with serving(folder=tmp_path) as server:
        for path in ("/workspace/none", "/shared", "/attachments"):
            listed = await server.client.get(FILES, params={"path": path})
            assert (listed.status_code, listed.json()) == (200, [])


async def test_bytes_may_be_sent_as_they_are_and_text_read_as_text(tmp_path: Path):
    async with serving(folder=tmp_path) as server:
        made = await server.client.post(
            f"{FILES}?path=a.txt",
            content="grüße".encode(),
            headers={"content-type": "application/octet-stream"},
        )
        assert made.status_code == 201
        text = await server.client.get(f"{FILES}/content", params={"path": "/workspace/a.txt"})
        assert text.json() == {"path": "/workspace/a.txt", "content": "grüße", "size": 7}


async def test_a_part_is_given_and_a_part_that_is_not_there_is_refused(tmp_path: Path):
    async with serving(folder=tmp_path) as server:
        (tmp_path / "some").mkdir()
        (tmp_path / "some" / "a").write_bytes(b"0123456789")
        url = f"{FILES}/raw?path=a"
        part = await server.client.get(url, headers={"range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        assert part.headers["content-range"] == "bytes 2-4/10"
        assert (await server.client.get(url, headers={"range": "bytes=-3"})).content == b"789"
        assert (await server.client.get(url, headers={"range": "bytes=7-"})).content == b"789"
        none = await server.client.get(url, headers={"range": "bytes=10-"})
        assert (none.status_code, none.headers["content-range"]) == (416, "bytes */10")
        assert none.json()["code"] == "no_such_part"
        head = await server.client.head(url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


@pytest.mark.parametrize(
    ("asked", "size", "part"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-", RANGE_BYTES_MAX * 2, (0, RANGE_BYTES_MAX)),
        ("bytes=-20", 10, (0, 10)),
        ("bytes=5-2", 10, None),
        ("bytes=-0", 10, None),
        ("bytes=-", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=0-0", 0, None),
        ("bytes=99999999999999999999-", 10, None),
    ],
)
def test_a_range_is_one_range_of_bounded_size(asked: str, size: int, part: tuple[int, int] | None):
    assert byte_range(asked, size) == part


@pytest.mark.parametrize("path", ["../x", "/workspace/../../x", "a/../../x", "..\\x", "a\x00b"])
@pytest.mark.parametrize("route", ["/files", "/files/content", "/files/raw"])
async def test_no_path_leaves_the_work_tree(tmp_path: Path, path: str, route: str):
    (tmp_path / "x").write_text("secret")
    async with serving(folder=tmp_path) as server:
        answer = await server.client.get(f"/sessions/some{route}", params={"path": path})
        assert answer.status_code in {400, 404}
        assert "secret" not in answer.text
        assert str(tmp_path) not in answer.text


async def test_a_link_out_of_the_work_tree_is_not_followed(tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "link").symlink_to(tmp_path / "secret")
    async with serving(folder=tmp_path) as server:
        for route in ("content", "raw"):
            answer = await server.client.get(f"{FILES}/{route}", params={"path": "link"})
            assert answer.status_code in {400, 403, 404}
            assert "secret" not in answer.text.replace("secrets", "")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"path": "a"}, 400),
        ({"path": "a", "contentBase64": "not base64!"}, 400),
        ({"path": "", "contentBase64": ""}, 400),
        ({"path": "a", "contentBase64": "A" * (28 * 1024 * 1024)}, 413),
    ],
)
async def test_a_bad_upload_is_refused(tmp_path: Path, body: dict[str, str], status: int):
    async with serving(folder=tmp_path) as server:
        answer = await server.client.post(FILES, json=body)
        assert answer.status_code == status


async def test_an_upload_over_the_limit_is_refused_while_it_comes(tmp_path: Path):
    async with serving(folder=tmp_path, upload_bytes_max=2000, body_bytes_max=1024) as server:
        headers = {"content-type": "application/octet-stream"}
        url = f"{FILES}?path=a"
        assert (
            await server.client.post(url, content=b"x" * 2000, headers=headers)
        ).status_code == 201
        over = await server.client.post(url, content=b"x" * 2001, headers=headers)
        assert over.status_code == 413


async def test_what_is_missing_is_missing_and_an_empty_folder_is_empty(tmp_path: Path):
    async with serving(folder=tmp_path) as server:
        assert (await server.client.get(FILES)).json() == []
        assert (await server.client.get(f"{FILES}/raw?path=a")).status_code == 404
        required = await server.client.get(f"{FILES}/content")
        assert (required.status_code, required.json()["error"]) == (400, "path required")
        assert (await server.client.get("/sessions/local/files")).json() == []
