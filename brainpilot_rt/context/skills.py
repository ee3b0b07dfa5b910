"""Skills where they lie: libraries of folders with `SKILL.md`, read in three levels.

Level 1, name and description, is what `catalogue` gives for all of them. Level 2 is the file
itself, level 3 the other files of the folder; both are read when asked for. Everything is opened
as work trees are: no path that a model writes, and no link, leads out of a library.

A library is `<skill>/SKILL.md` or `<category>/<skill>/SKILL.md`; below a skill nothing is looked
for. Files are read again when they have changed, so a skill that was added is found at once. What
looks like a skill and can not be read is listed as broken, with the reason, never left out. Where
two have the same name the library named first wins, and the other says by which it is hidden.

Reading blocks; on the event loop, put it on a thread.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from brainpilot_rt.context.skill_format import DESCRIPTION_MAX, NAME_MAX, SkillText, read_skill
from brainpilot_rt.context.words import words
from brainpilot_rt.domain.errors import CommandRejected, NotFound
from brainpilot_rt.domain.skills import Skill, SkillScope
from brainpilot_rt.workspace.faults import told
from brainpilot_rt.workspace.files import Entry, Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.walk import SKIPPED, walk

SKILL_BYTES_MAX: Final = 256 * 1024
"""Of one file of a skill."""
SKILLS_MAX: Final = 500
"""Of one library; that there are more is said."""

_ROOT: Final = LogicalPath("workspace")
_NAMES: Final = ("SKILL.md", "skill.md")
_DEPTH_MAX: Final = 4
_FILES_MAX: Final = 500
_OPENING_CHARS: Final = 2_000
_KEPT_MAX: Final = 8 * SKILLS_MAX
_NAME_WEIGHT: Final = 5
_DESCRIPTION_WEIGHT: Final = 2
_OPENING_MOST: Final = 3
_SAYS_NOTHING: Final = frozenset(
    words(
        "a about all an and any are as at be by can do does for from get have how i if in into is "
        "it me my no not of on or our please should so that the their them then there these they "
        "this to use was we what when where which who why will with you your"
    )
)
"""Words of every request and every instruction; by them each skill would fit."""

_Stamp: TypeAlias = tuple[int, int, int, int]


class Place(NamedTuple):
    """A folder that is or looks like a skill; `trouble`: why it is none."""

    folder: LogicalPath
    name: str = ""
    """Of its `SKILL.md`."""
    stamp: _Stamp = (0, 0, 0, 0)
    """What changes when that file does; its first number is when, in nanoseconds."""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """A folder of skills. `label` names it for people and models, and is unique."""

    label: str
    workspace: Workspace
    scope: SkillScope
    base: LogicalPath = _ROOT


class SkillReader:
    """Reads libraries and remembers what has not changed since. May be used on several threads."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], tuple[_Stamp, Skill]] = {}

    def catalogue(self, libraries: Sequence[Library]) -> tuple[Skill, ...]:
        """Every skill there is, nearest library first; broken and hidden ones too.

        In each library those without problems come first.
        """
        nearest: dict[str, str] = {}
        found: list[Skill] = []
        for library in libraries:
            # In one library a name that is right comes before one that is not.
            for skill in sorted(self._skills_of(library), key=lambda one: bool(one.problems)):
                if skill.broken:
                    found.append(skill)
                elif skill.name in nearest:
                    found.append(replace(skill, hidden_by=nearest[skill.name]))
                else:
                    nearest[skill.name] = skill.path
                    found.append(skill)
        return tuple(found)

    def _skills_of(self, library: Library) -> Iterator[Skill]:
        for number, place in enumerate(_places(library)):
            if number == SKILLS_MAX:
                why = f"more than {SKILLS_MAX:,} skills: those from here on are not looked at"
                yield _broken(library, place.folder, why)
                return
            if place.trouble:
                yield _broken(library, place.folder, place.trouble)
            else:
                yield self.skill(library, place)

    def skill(self, library: Library, place: Place) -> Skill:
        """The skill that lies there, read anew if its file has changed."""
        workspace, path = library.workspace, str(place.folder.child(place.name))
        key = (library.label, str(workspace.root), path)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == place.stamp:
            return kept[1]
        try:
            data = workspace.read_bytes(path, SKILL_BYTES_MAX)
        except CommandRejected as error:
            return _broken(library, place.folder, _why(error, path), place.stamp[0])
        skill = _skill(library, place.folder, data, place.stamp[0])
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key] = (place.stamp, skill)
        return skill


def catalogue(libraries: Sequence[Library]) -> tuple[Skill, ...]:
    """Read libraries once, as `SkillReader.catalogue` does."""
    return SkillReader().catalogue(libraries)


def checked(path: Path) -> list[Skill]:
    """What lies at a path of this machine: a skill's folder, its `SKILL.md`, or a library. Blocks.

    A path that holds no skill gives one broken skill that says so.
    """
    real = path.resolve()
    folder = real.parent if real.name in _NAMES and real.is_file() else real
    outside = Library(str(folder.parent), Workspace(folder.parent), "user")
    inside = LogicalPath("workspace", (folder.name,))
    if not folder.is_dir():
        return [_broken(outside, inside, f"there is no {_NAMES[0]}: write one")]
    place = _place_of(outside.workspace, inside)
    if place is not None:
        return [SkillReader().skill(outside, place)]
    found = catalogue([Library(str(folder), Workspace(folder), "user")])
    return list(found) or [_broken(outside, inside, f"there is no {_NAMES[0]}: write one")]


def fitting(skills: Sequence[Skill], query: str, k: int) -> list[Skill]:
    """The `k` skills whose words the query has, best first; none that has none of them. Pure."""
    wanted = set(words(query)) - _SAYS_NOTHING
    scored = [(sum(skill.weights.get(one, 0) for one in wanted), skill) for skill in skills]
    ranked = sorted((one for one in scored if one[0]), key=lambda one: (-one[0], one[1].name))
    return [skill for _, skill in ranked[:k]]


def skill_text(libraries: Sequence[Library], skill: Skill) -> str:
    """Level 2: the whole `SKILL.md`. Raises `CommandRejected` when it can not be read."""
    library, folder = _place(libraries, skill)
    for name in _NAMES:
        try:
            return library.workspace.read_text(str(folder.child(name)), SKILL_BYTES_MAX)
        except NotFound:
            continue
    raise NotFound(f"{skill.path} has no SKILL.md any more")


def skill_files(libraries: Sequence[Library], skill: Skill) -> list[str]:
    """Level 3, which there are: paths below the skill's folder, at most 500, sorted."""
    library, folder = _place(libraries, skill)
    depth = len(folder.parts)
    return sorted(
        "/".join(one.path.parts[depth:])
        for one in walk(library.workspace, folder, entries_max=_FILES_MAX)
        if not one.is_folder and one.path.parts[depth:] not in {(name,) for name in _NAMES}
    )


def skill_file(libraries: Sequence[Library], skill: Skill, relative_path: str) -> str:
    """Level 3, one of them. Raises `CommandRejected`, also for a path that leads out."""
    library, folder = _place(libraries, skill)
    return library.workspace.read_text(f"{folder}/{relative_path}", SKILL_BYTES_MAX)


def _place(libraries: Sequence[Library], skill: Skill) -> tuple[Library, LogicalPath]:
    library = next((one for one in libraries if one.label == skill.library), None)
    if library is None:
        raise NotFound(f"there is no library {skill.library} here")
    inside = tuple(part for part in skill.folder.split("/") if part)
    return library, LogicalPath(library.base.root, library.base.parts + inside)


def _places(library: Library) -> Iterator[Place]:
    """What is or looks like a skill, in order of the names of folders."""
    pending = [library.base]
    while pending:
        folder = pending.pop()
        try:
            place = _place_of(library.workspace, folder)
            if place is not None and folder != library.base:
                yield place
                continue
            entries = library.workspace.list_folder(str(folder))
        except NotFound:
            continue
        except CommandRejected as error:
            yield Place(folder, trouble=_why(error, str(folder)))
            continue
        if place is not None:
            why = f"{place.name} lies in no folder: put it into one of the skill's name"
            yield Place(folder, trouble=why)
        if len(folder.parts) - len(library.base.parts) == _DEPTH_MAX:
            continue
        below = [entry for entry in entries if _may_hold(entry)]
        for entry in below:
            if entry.type == "symlink":
                why = "it is a symbolic link, which is not followed: copy the folder"
                yield Place(folder.child(entry.name), trouble=why)
        pending += [folder.child(one.name) for one in reversed(below) if one.type == "folder"]


def _place_of(workspace: Workspace, folder: LogicalPath) -> Place | None:
    """The folder with its `SKILL.md`, if it has one. Raises `CommandRejected`."""
    with workspace.folder(workspace.resolve(str(folder))) as fd, told(folder):
        for name in _NAMES:
            with contextlib.suppress(FileNotFoundError):
                seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
                stamp = (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino)
                return Place(folder, name, stamp)
    return None


def _may_hold(entry: Entry) -> bool:
    return entry.type != "file" and not entry.name.startswith(".") and entry.name not in SKIPPED


def _why(error: CommandRejected, path: str) -> str:
    return f"it can not be read: {error.message.removeprefix(path).lstrip(': ')}"


def _skill(library: Library, folder: LogicalPath, data: bytes, stamp: int) -> Skill:
    read, problems = _decoded(data, folder.name)
    skill = Skill(
        name=_flat(read.name)[: 2 * NAME_MAX] or _flat(folder.name),
        description=_flat(read.description)[:DESCRIPTION_MAX],
        scope=library.scope,
        library=library.label,
        folder=_inside(library, folder),
        license=read.license,
        compatibility=read.compatibility,
        allowed_tools=read.allowed_tools,
        metadata=read.metadata,
        problems=problems,
        broken=not read.description,
        stamp=stamp,
    )
    return replace(skill, weights=_weights(skill, read.body))


def _decoded(data: bytes, folder: str) -> tuple[SkillText, tuple[str, ...]]:
    try:
        read = read_skill(data.decode(), folder)
    except UnicodeDecodeError:
        read = read_skill(data.decode("utf-8", "replace"), folder)
        return read, ("it is not UTF-8: save it as UTF-8", *read.problems)
    return read, read.problems


def _broken(library: Library, folder: LogicalPath, trouble: str, stamp: int = 0) -> Skill:
    return Skill(
        name=_flat(folder.name) if folder != library.base else library.label,
        description="",
        scope=library.scope,
        library=library.label,
        folder=_inside(library, folder),
        problems=(trouble,),
        broken=True,
        stamp=stamp,
    )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _inside(library: Library, folder: LogicalPath) -> str:
    return "/".join(folder.parts[len(library.base.parts) :])


def _weights(skill: Skill, body: str) -> dict[str, int]:
    """Each word counts where it occurs: name, description, beginning of the instructions."""
    name = Counter(dict.fromkeys(words(f"{skill.name} {skill.folder}"), _NAME_WEIGHT))
    description = Counter(words(skill.description) * _DESCRIPTION_WEIGHT)
    opening = Counter(words(body[:_OPENING_CHARS]))
    most = Counter({word: min(_OPENING_MOST, count) for word, count in opening.items()})
    return dict(name + description + most)
