"""The conformance check, and the published protocol held against the code."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import LetterId
from brainpilot_rt.mailbox.check import FileVerdict, check_mailbox, check_tree
from brainpilot_rt.mailbox.codec import Reason, decode_foreign, encode
from brainpilot_rt.mailbox.schema import letter_schema, letter_schema_text
from tests.unit.mailbox.office import (
    GOOD,
    PRINCIPAL,
    SESSION,
    Told,
    a_letter,
    drop,
    join,
    open_office,
)

PROTOCOL = Path(__file__).parents[3] / "mailbox"
HOSTILE: list[dict[str, str]] = json.loads(
    (PROTOCOL / "examples" / "hostile" / "manifest.json").read_text()
)


async def test_a_mailbox_of_the_daemon_conforms(tmp_path: Path):
    async with open_office(tmp_path, Told()) as office:
        await office.place(a_letter())
        (report,) = check_tree(tmp_path)
        assert report.ok
        assert report.path == tmp_path / SESSION / PRINCIPAL
        assert report.files == (FileVerdict(f"new/{a_letter().id}.json", "ok"),)


async def test_the_check_changes_nothing_and_says_what_would_happen(tmp_path: Path):
    home = tmp_path / SESSION / PRINCIPAL
    async with open_office(tmp_path, Told()):
        pass
    drop(home, "good.json")
    drop(home, "bad.json", b"[]")
    drop(home, "BAD.json")
    drop(home, "note.txt")
    os.mkfifo(home / "new" / "pipe.json")
    report = check_mailbox(home)
    assert not report.ok
    assert {file.file: (file.verdict, file.reason) for file in report.files} == {
        "new/good.json": ("ok", None),
        "new/bad.json": ("refused", Reason.NOT_AN_OBJECT),
        "new/pipe.json": ("refused", Reason.NOT_A_FILE),
        "new/BAD.json": ("refused", Reason.ILLEGAL_NAME),
        "new/note.txt": ("left_alone", None),
    }
    assert len(list((home / "new").iterdir())) == 5


def test_missing_folders_open_permissions_and_a_wrong_card_are_named(tmp_path: Path):
    home = join(tmp_path, "bot")
    (home / "agent.json").write_text('{"name": "other", "kind": "external"}')
    (home / "cur").rmdir()
    (home / "new").chmod(0o755)
    problems = " ".join(check_mailbox(home).problems)
    assert "cur/ is missing" in problems
    assert "new/ is open to others" in problems
    assert "agent.json names 'other'" in problems


def test_a_tree_is_checked_from_the_root_a_session_or_an_agent(tmp_path: Path):
    home, other = join(tmp_path, "bot"), join(tmp_path, "cat")
    for path, homes in [(tmp_path, [home, other]), (home.parent, [home, other]), (home, [home])]:
        assert [report.path for report in check_tree(path)] == homes


def test_a_folder_without_mailboxes_is_an_error(tmp_path: Path):
    with pytest.raises(NotFound):
        check_tree(tmp_path)


# --- the published folder -------------------------------------------------------------------------


def test_the_published_schema_is_the_one_of_the_models():
    published = (PROTOCOL / "schema" / "letter.v1.json").read_text()
    assert published == letter_schema_text(), "write letter_schema_text() into the file"


@pytest.mark.parametrize("name", ["hello.json", "result.json", "delegate.json"])
def test_every_good_example_is_a_letter_and_fits_the_schema(name: str):
    data = (PROTOCOL / "examples" / name).read_bytes()
    assert decode_foreign(data).content
    validate(json.loads(data), letter_schema())


def test_a_stamped_letter_fits_its_schema_and_may_be_read_as_a_foreign_one():
    schema = letter_schema()
    stamped = json.loads(encode(a_letter()))
    validate(stamped, {"$defs": schema["$defs"], "$ref": "#/$defs/Letter"})
    validate(stamped, schema)


def validate(instance: object, schema: dict[str, Any]) -> None:
    jsonschema.validate(instance, schema)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile["file"])
def test_every_hostile_example_is_refused_for_its_published_reason(
    tmp_path: Path, hostile: dict[str, str]
):
    home = join(tmp_path, PRINCIPAL)
    shutil.copy(PROTOCOL / "examples" / "hostile" / hostile["file"], home / "new")
    (verdict,) = check_mailbox(home).files
    assert verdict.reason == hostile["reason"]


def test_the_manifest_names_every_hostile_example():
    there = {path.name for path in (PROTOCOL / "examples" / "hostile").iterdir()}
    assert there == {hostile["file"] for hostile in HOSTILE} | {"manifest.json"}


def test_every_reason_is_explained_in_the_protocol():
    readme = (PROTOCOL / "README.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in readme] == []


def test_the_protocol_folder_does_not_shadow_the_standard_library():
    assert not (PROTOCOL / "__init__.py").exists()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


async def test_a_shell_script_joins_claims_and_answers_a_task(tmp_path: Path):
    script = ["sh", str(PROTOCOL / "examples" / "echo-agent.sh"), str(tmp_path / SESSION)]
    told = Told()
    async with open_office(tmp_path, told) as office:
        run(*script)
        await office.scan()
        (bot,) = told.joined
        task = a_letter(to=bot, content='say "from":"nobody"').model_copy(
            update={"task_id": "task_1", "from_": PRINCIPAL}
        )
        await office.place(task)
        run(*script)
        await office.scan()
        (answer,) = told.letters
        assert (answer.letter.to, answer.letter.task_id) == (PRINCIPAL, "task_1")
        assert told.receipts == [(LetterId(task.id), "consumed")]
        assert check_mailbox(tmp_path / SESSION / bot).ok


async def test_the_first_example_of_the_protocol_works_as_printed(tmp_path: Path):
    readme = (PROTOCOL / "README.md").read_text()
    commands = readme.split("```sh\n")[1].split("```")[0]
    told = Told()
    async with open_office(tmp_path, told) as office:
        box = tmp_path / SESSION / PRINCIPAL
        commands = commands.replace("/path/to/mailboxes/demo/principal", str(box))
        run("sh", "-c", commands)
        await office.scan()
    assert told.contents == [decode_foreign(GOOD).content]
