"""`copier-honeycomb update`: its output, its isolation from git's settings, and the undo."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hooks.update.changes import Change, Changes
from hooks.update.errors import UpdateRefused
from hooks.update.record import apply
from hooks.update.repository import open_repository

from ..depth import in_depth
from ..template.projects import git, write
from .small import ANSWERS_FILE, BOARD, CONFLICT, DROPPED, GUIDE, NEW_BOARD, SPANS, Small

UNDO = "    uvx --from git+file://{}@v2.0.0 copier-honeycomb update --undo\n"


def edit_guide(small: Small) -> None:
    small.edit(GUIDE, "Line 3.\n", "My third line.\n")
    small.edit(GUIDE, "Line 20.\n", "Line 20.\nMy last line.\n")
    small.commit()


def test_output_lists_conflicts_changes_and_the_next_commands(small: Small) -> None:
    edit_guide(small)
    git(small.folder, "rm", "-q", "-r", "honeycomb")
    write(small.folder, {"uv.lock": ""})
    small.commit()

    done = small.run()

    assert (done.code, done.err) == (2, "")
    assert done.out == (
        "Updated shop from v1.0.0 to v2.0.0. Nothing is committed.\n\n"
        "## 2.0.0 - 2026-02-01\n\nLine 3 is new: `${{ x }}`.\n\n"
        "Files: 3 changed, 1 deleted, 1 in conflict.\n\n"
        "The template no longer has the deleted files, and you had not edited them.\n\n"
        f"In conflict, with both versions between <<<<<<< and >>>>>>>:\n\n    {GUIDE}\n\n"
        f"Not created, since you deleted or moved their folder:\n\n    {NEW_BOARD}\n\n"
        "Dependencies changed. Lock them again:\n\n    uv lock\n\n"
        "Review the update:\n\n    git status --short .\n    git diff\n\n"
        "Resolve the conflicts, and commit. This command refuses conflicts that are left:\n\n"
        "    git diff --check && git add -A . && git commit -m 'Update copier-honeycomb to v2.0.0' .\n\n"
        "To undo the update instead, and nothing else:\n\n" + UNDO.format(small.template) + "\n"
    )
    assert small.read(GUIDE) == "".join(
        ["Line 1.\nLine 2.\n", CONFLICT, *(f"Line {n}.\n" for n in range(4, 21)), "My last line.\n"]
    )
    assert git(small.folder, "status", "--porcelain") == (
        f" M {ANSWERS_FILE}\nUU {GUIDE}\n M pyproject.toml\n D {DROPPED}\n M {SPANS}\n"
    )
    assert not (small.folder / DROPPED).parent.exists()
    stages = [line.split("\t")[0][-1] for line in git(small.folder, "ls-files", "-u").splitlines()]
    assert stages == ["1", "2", "3"]
    assert git(small.folder, "show", f":1:{GUIDE}").startswith("Line 1.\nLine 2.\nLine 3.\n")


@in_depth
def test_pretend_prints_the_result_and_changes_nothing(small: Small) -> None:
    edit_guide(small)
    before = small.state()

    done = small.run("--pretend")

    assert (done.code, done.err) == (2, "")
    assert done.out.startswith("Would update shop from v1.0.0 to v2.0.0.\n\n## 2.0.0")
    assert f"    {GUIDE}\n" in done.out
    assert "git" not in done.out
    assert small.state() == before
    assert small.run("--undo").code == 1


HOSTILE = """\
[core]
    excludesFile = {home}/ignore
    attributesFile = {home}/attributes
    hooksPath = {home}/hooks
    quotePath = false
    autocrlf = true
[apply]
    whitespace = fix
[status]
    showUntrackedFiles = no
    short = true
[merge]
    conflictStyle = zdiff3
[diff]
    noprefix = true
    external = false
[commit]
    gpgSign = true
[init]
    templateDir = {home}/template
"""


def test_settings_of_the_user_have_no_effect(small: Small, tmp_path: Path) -> None:
    edit_guide(small)
    small.edit(SPANS, "line_1 = 1\n", "line_1 = 1  \n")
    write(small.folder, {"é.txt": "mine\n"})
    small.commit()
    home = tmp_path / "home"
    ignored = f"{GUIDE}\n{SPANS}\nshop/\n"
    write(
        home,
        {
            ".gitconfig": HOSTILE.format(home=home),
            "ignore": ignored,
            "attributes": "*.md binary\n*.py merge=binary\n",
            ".config/git/ignore": ignored,
            "hooks/post-commit": "#!/bin/sh\nfalse\n",
            "hooks/pre-commit": "#!/bin/sh\nsed -i s/Line/Zeile/ docs/guide.md\nfalse\n",
            "template/hooks/pre-commit": "#!/bin/sh\nsed -i s/Line/Zeile/ docs/guide.md\n",
        },
    )
    for hook in home.glob("**/*-commit"):
        hook.chmod(0o755)
    (small.folder / ".git/info/exclude").write_text(ignored)
    git(small.folder, "config", "apply.whitespace", "error")
    git(small.folder, "config", "core.hooksPath", str(home / "hooks"))

    done = small.run(HOME=str(home), XDG_CONFIG_HOME=str(home / ".config"), GIT_DIR="/nowhere")

    assert done.code == 2, done.err
    assert CONFLICT in small.read(GUIDE)
    assert "My last line.\n" in small.read(GUIDE)
    assert small.read(SPANS).startswith("line_1 = 1  \n")
    assert small.read(SPANS).endswith("line_21 = 21\n")
    assert (small.folder / NEW_BOARD).exists()


@pytest.mark.parametrize("setting", ["attribute", pytest.param("autocrlf", marks=in_depth)])
def test_crlf_in_the_working_tree_is_kept_and_only_lines_conflict(
    setting: str, small: Small
) -> None:
    edit_guide(small)
    if setting == "attribute":
        write(small.folder, {".gitattributes": "* text=auto eol=crlf\n"})
        small.commit()
    else:
        git(small.folder, "config", "core.autocrlf", "true")
    git(small.folder, "rm", "-rq", "--cached", ".")
    git(small.folder, "reset", "-q", "--hard")
    assert "Line 1.\r\nLine 2.\r\n" in small.read(GUIDE)
    before = small.state()

    done = small.run()

    assert done.code == 2, done.err
    text = small.read(GUIDE)
    assert text.count("\r\n") == text.count("\n")
    assert CONFLICT.replace("\n", "\r\n") in text
    assert text.count("Line 5.") == 1
    assert small.read(SPANS).endswith("line_20 = 20\r\nline_21 = 21\r\n")
    assert git(small.folder, "show", f":3:{GUIDE}").startswith(
        "Line 1.\nLine 2.\nThe third line.\n"
    )
    numbers = git(small.folder, "diff", "--numstat", SPANS)
    assert f"1\t0\t{SPANS}\n" in numbers
    assert small.run("--undo").code == 0
    assert small.state() == before


def test_undo_keeps_edits_made_since_the_update(small: Small) -> None:
    edit_guide(small)
    before = small.files()
    assert small.run().code == 2
    small.edit(GUIDE, "Line 10.\n", "My tenth line.\n")
    write(small.folder, {"new.txt": "mine\n", NEW_BOARD: "{}\n", DROPPED: "EXPORT = 1\n"})
    git(small.folder, "add", "-A")

    done = small.run("--undo")

    assert (done.code, done.err) == (0, "")
    assert done.out == "Undid the update to v2.0.0; files restored: 5.\n"
    before[GUIDE] = before[GUIDE].replace("Line 10.", "My tenth line.")
    assert small.files() == before | {"new.txt": "mine\n"}
    assert git(small.folder, "status", "--porcelain") == f" M {GUIDE}\nA  new.txt\n"
    small.refused(
        "There is no update to undo: it was undone already, or made by `copier update`.", "--undo"
    )


def test_undo_refuses_to_discard_a_later_edit_of_the_same_lines(small: Small) -> None:
    edit_guide(small)
    assert small.run().code == 2
    small.edit(GUIDE, CONFLICT, "My resolution.\n")
    write(small.folder, {NEW_BOARD: '{"name": "Mine"}\n'})

    small.refused(
        "You edited lines that the update changed. Save your edits elsewhere, restore these files, and"
        f" undo the update again: `git restore --staged --worktree {GUIDE}`, and delete {NEW_BOARD}.",
        "--undo",
    )

    git(small.folder, "restore", "--staged", "--worktree", GUIDE)
    (small.folder / NEW_BOARD).unlink()
    assert small.run("--undo").code == 0
    assert git(small.folder, "status", "--porcelain") == ""


@in_depth
def test_undo_refuses_a_committed_update_and_allows_other_commits(small: Small) -> None:
    assert small.run().code == 0
    write(small.folder, {"new.txt": "mine\n"})
    git(small.folder, "add", "new.txt")
    git(small.folder, "commit", "-q", "-m", "Other")
    assert small.run("--undo").code == 0
    assert git(small.folder, "status", "--porcelain") == ""
    assert small.run().code == 0
    small.commit()

    small.refused(
        "The update to v2.0.0 is committed. Find its commit with `git log`, and revert it with"
        " `git revert`.",
        "--undo",
    )


@in_depth
def test_printed_commands_commit_and_undo(small: Small) -> None:
    done = small.run()
    [commit] = re.findall(r"^    (git add .+)$", done.out, re.MULTILINE)

    assert done.code == 0
    # The undo stands alone.
    blocks = re.findall(r"(?:^ {4}.+\n)+", done.out, re.MULTILINE)
    assert [block for block in blocks if "undo" in block] == [UNDO.format(small.template)]
    git(small.folder, "config", "user.name", "Me")
    git(small.folder, "config", "user.email", "me@example.org")
    assert "uv lock" not in done.out
    subprocess.run(commit, cwd=small.folder, shell=True, check=True, capture_output=True)
    assert git(small.folder, "status", "--porcelain") == ""
    again = small.run()
    assert (again.code, again.out) == (0, "shop is up to date with v2.0.0.\n")


def test_wire_is_printed_at_the_release_of_the_update_and_not_broken_in_a_narrow_terminal(
    small: Small,
) -> None:
    small.edit(ANSWERS_FILE, "layout: new", "layout: existing")
    small.commit()

    done = small.run(FORCE_COLOR="1", NO_COLOR="1", COLUMNS="60")

    assert done.code == 0, done.err
    wire = f"uvx --from git+file://{small.template}@v2.0.0 copier-honeycomb wire ."
    assert "This shows the edits and packages that your own files now" in done.out
    assert f"need, and applies them:\n\n    {wire}\n\n" in done.out


@in_depth
def test_conflict_that_is_left_is_not_committed_by_the_printed_command(small: Small) -> None:
    edit_guide(small)
    [commit] = re.findall(r"^    (git diff --check .+)$", small.run().out, re.MULTILINE)
    assert subprocess.run(commit, cwd=small.folder, shell=True, check=False).returncode != 0
    assert f"UU {GUIDE}\n" in git(small.folder, "status", "--porcelain")


@in_depth
def test_answer_is_changed_without_an_update(small: Small) -> None:
    done = small.run("-r", ":current:", "-d", "honeycomb_region=eu")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        "Updated shop v1.0.0. Nothing is committed.\n\nFiles: 2 changed.\n\n"
    )
    assert git(small.folder, "status", "--porcelain") == f" M {ANSWERS_FILE}\n M region.txt\n"


@in_depth
def test_only_the_template_of_the_answers_file_is_updated(small: Small) -> None:
    write(small.folder, {".copier-answers.yml.other": "x\n"})
    git(small.folder, "mv", ANSWERS_FILE, ".copier-answers.honeycomb.yml")
    write(small.folder, {ANSWERS_FILE: "_commit: v1\n_src_path: gh:another/template\n"})
    small.commit()

    done = small.run()

    assert done.code == 0, done.err
    assert small.read(ANSWERS_FILE) == "_commit: v1\n_src_path: gh:another/template\n"
    assert "_commit: v2.0.0\n" in small.read(".copier-answers.honeycomb.yml")


@in_depth
@pytest.mark.parametrize("place", ["beside", "in"])
def test_template_at_a_relative_path_is_found(place: str, small: Small) -> None:
    folder = small.folder.parent if place == "beside" else small.folder.parent.parent
    shutil.copytree(small.template, folder / "template")
    relative = "template" if place == "beside" else "../../template"
    small.edit(ANSWERS_FILE, str(small.template), relative)
    small.commit()

    done = small.run()

    assert done.code == 0, done.err
    assert f"_src_path: {relative}\n" in small.read(ANSWERS_FILE)
    assert UNDO.format(folder / "template") in done.out


def test_update_that_cannot_be_written_is_reverted(small: Small) -> None:
    write(small.folder, {"own": "mine\n"})
    small.commit()
    before = small.state()
    guide = (small.folder / GUIDE).read_bytes()
    changes = Changes({GUIDE: Change(guide, b"new\n"), "own/new.txt": Change(None, b"new\n")})

    with pytest.raises(
        UpdateRefused, match="The update was reverted, because a file cannot be written"
    ):
        apply(open_repository(small.folder), changes, "v2.0.0")

    assert small.state() == before
    small.refused(
        "There is no update to undo: it was undone already, or made by `copier update`.", "--undo"
    )
    assert BOARD in small.files()
