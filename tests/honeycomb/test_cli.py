"""The console command: help, errors, interrupts, and the packages that each command imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Commands, Folder

COMMANDS = (
    "doctor",
    "plan",
    "apply",
    "marker",
    "check",
    "fire",
    "terraform",
    "adopt",
    "wire",
    "traces",
    "update",
    "scale",
    "demo",
    "release",
)


def test_help_lists_each_command(folder: Folder) -> None:
    result = Commands(folder.path).run("--help")

    assert result.code == 0
    listed = result.out.partition("Commands:\n")[2].splitlines()
    assert tuple(line.split()[0] for line in listed) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_text(command: str, folder: Folder) -> None:
    result = Commands(folder.path).run(command, "--help")

    assert result.code == 0
    assert command in result.out.splitlines()[0]


def test_usage_error_exits_with_1_because_2_means_changes_pending(folder: Folder) -> None:
    for arguments in (["plan", "--prun"], ["plan", "now"], ["plans"]):
        result = Commands(folder.path).run(*arguments)
        assert result.code == 1
        assert "Error: " in result.err


def test_interrupt_prints_no_traceback(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hooks.honeycomb.cli.problems", interrupt)

    result = Commands(folder.path).run("check")

    assert (result.code, result.out) == (130, "")
    assert result.err == "\nStopped. Completed changes were kept.\n"


def test_output_in_an_encoding_that_lacks_a_character_shows_a_question_mark(folder: Folder) -> None:
    folder.write("boards/é.json", [])
    done = subprocess.run(
        [sys.executable, "-c", "from hooks.cli import main; main()", "check"],
        cwd=folder.path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == b"honeycomb/boards/?.json: the content should be an object.\n"


def test_commands_import_nothing_of_each_other() -> None:
    program = """
import json, sys
from hooks.cli import _COMMANDS, _load
_load(sys.argv[1], _COMMANDS[sys.argv[1]])
print(json.dumps([name for name in sys.modules if "." not in name]))
"""

    def imported(command: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", program, command], capture_output=True, check=True, text=True
        )
        return set(json.loads(done.stdout))

    for command in ("wire", "plan", "doctor"):
        assert not {"grpc", "google", "copier", "opentelemetry"} & imported(command), command
    assert not {"libcst", "tomlkit"} & imported("plan")
    assert not {"httpx", "pydantic"} & imported("wire")
