"""Opening below a directory."""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from brainpilot_rt.workspace.beneath import DIRECTORY, READ, open_beneath, open_stepwise

Opener = Callable[[int, Sequence[str], int], int]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_text("fine")
    (root / "out").symlink_to(tmp_path)
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inside").symlink_to("a")
    (root / "magic").symlink_to("/proc/self/root")
    fd = os.open(root, DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[open_beneath, open_stepwise], ids=["one call", "stepwise"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param


def test_a_file_below_is_opened(tree: int, opener: Opener):
    fd = opener(tree, ("a", "file"), READ)
    assert os.read(fd, 10) == b"fine"
    os.close(fd)


@pytest.mark.fault("S11", "S12")
@pytest.mark.parametrize(
    "parts",
    [("link",), ("out", "secret"), ("inside", "file"), ("inside",), ("magic", "etc", "passwd")],
)
def test_no_link_is_followed_in_any_place(tree: int, opener: Opener, parts: tuple[str, ...]):
    for flags in (READ, DIRECTORY):
        with pytest.raises(OSError, match=r"\[Errno") as failure:
            opener(tree, parts, flags)
        assert failure.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("parts", "number"), [(("none",), errno.ENOENT), (("a", "file", "x"), errno.ENOTDIR)]
)
def test_other_failures_say_what_they_are(
    tree: int, opener: Opener, parts: tuple[str, ...], number: int
):
    with pytest.raises(OSError, match=r"\[Errno") as failure:
        opener(tree, parts, READ)
    assert failure.value.errno == number


@pytest.mark.fault("S11", "S12")
def test_swapping_a_folder_for_a_link_gains_nothing(tmp_path: Path, opener: Opener):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder, text in ((root / "d", "fine"), (outside, "secret")):
        folder.mkdir(parents=True)
        (folder / "f").write_text(text)
    (root / "e").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for old, new in (("d", "x"), ("e", "d"), ("d", "e"), ("x", "d")):
                (root / old).rename(root / new)

    fd = os.open(root, DIRECTORY)
    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes] = set()
    try:
        for _ in range(5_000):
            try:
                found = opener(fd, ("d", "f"), READ)
            except OSError:
                continue
            seen.add(os.read(found, 10))
            os.close(found)
    finally:
        stop.set()
        swapper.join()
        os.close(fd)
    assert seen <= {b"fine"}
