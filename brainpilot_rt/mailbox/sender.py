"""Writing a letter as any other process would: by files alone, whether or not the daemon runs.

`brainpilot-rt send` is this and nothing more, which keeps the published protocol honest: it has no
way in that a shell script does not have.
"""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from brainpilot_rt.aiokit.files import DirHandle, list_names, rename_noreplace, sync_dir, write_new
from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.ids import LetterId, parse_agent_name, parse_session_id
from brainpilot_rt.domain.letters import ForeignLetter
from brainpilot_rt.mailbox.codec import BadLetter, decode_foreign
from brainpilot_rt.mailbox.maildir import SUFFIX


@dataclass(frozen=True, slots=True)
class SentLetter:
    """A letter that is on the disk in its recipient's `new/`."""

    letter_id: LetterId
    path: Path


def send_letter(root: Path, session: str, letter: ForeignLetter, *, new_id: NewId) -> SentLetter:
    """Deliver a letter to `<root>/<session>/<letter.to>`; on return it survives a power failure.

    `NotFound` names the nearest sessions or agents, `BadRequest` says what is wrong with a name or
    with the letter. OSError as it comes.
    """
    parse_session_id(session)
    parse_agent_name(letter.to)
    said = letter.model_dump(mode="json", exclude_defaults=True)
    data = json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    try:
        decode_foreign(data)
    except BadLetter as fault:
        raise BadRequest(f"this letter would be refused: {fault}") from None
    letter_id = LetterId(new_id())
    name = letter_id + SUFFIX
    with (
        _top(root.resolve()) as top,
        _enter_child(top, session, "session") as folder,
        _enter_child(folder, letter.to, "agent") as home,
        _enter_child(home, "tmp", "folder") as tmp,
        _enter_child(home, "new", "folder") as new,
    ):
        write_new(tmp, name, data, sync=True)
        rename_noreplace(tmp, name, new, name)
        # The way to it as well: whoever made these directories need not have synced them.
        for folder_on_the_way in (new, home, folder, top):
            sync_dir(folder_on_the_way)
        return SentLetter(letter_id, new.path / name)


def _top(root: Path) -> DirHandle:
    try:
        return DirHandle.open(root)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no mailbox folder {root}") from None


def _enter_child(where: DirHandle, name: str, what: str) -> DirHandle:
    try:
        return where.child(name)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no {what} {name!r} here; {_nearest(name, list_names(where))}") from None


def _nearest(name: str, there: Iterable[str]) -> str:
    known = [one for one in there if not one.startswith(".") and not one.endswith(SUFFIX)]
    near = difflib.get_close_matches(name, known, n=3) or known[:8]
    return f"there is {', '.join(near)}" if near else "there is none at all"
