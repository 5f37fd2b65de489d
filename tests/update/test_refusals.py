"""The command refuses with one sentence and the remedy, and changes nothing."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from ..depth import in_depth
from ..template.projects import git, write
from .small import ANSWERS_FILE, BOARD, GUIDE, SPANS, Small


def test_uncommitted_changes_are_refused(small: Small) -> None:
    write(small.folder, {"a b.txt": "mine\n", GUIDE: "mine\n"})
    small.refused(
        "There are uncommitted changes (docs/guide.md, a b.txt). Commit or stash them, and update again."
    )


def test_uncommitted_changes_elsewhere_in_the_repository_are_allowed(small: Small) -> None:
    write(small.folder, {"own.txt": "mine\n"})
    service = small.folder / "services/shop"
    shutil.copytree(small.folder, service, ignore=shutil.ignore_patterns(".git", "services"))
    git(small.folder, "add", "services")
    git(small.folder, "commit", "-q", "-m", "Service")

    done = small.run("--project", "services/shop")

    assert done.code == 0, done.err
    assert "\n    cd " in done.out
    assert (service / GUIDE).read_text() != small.read(GUIDE)
    assert git(small.folder, "status", "--porcelain", "own.txt") == "?? own.txt\n"
    assert small.run("--undo", "--project", "services/shop").code == 0
    assert git(small.folder, "status", "--porcelain") == "?? own.txt\n"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["merge", "other"], "A merge is unfinished. Finish it, or run `git merge --abort`"),
        (["rebase", "other"], "A rebase is unfinished. Finish it, or run `git rebase --abort`"),
        (
            ["cherry-pick", "other"],
            "A cherry-pick is unfinished. Finish it, or run `git cherry-pick --abort`",
        ),
        (["bisect", "start"], "A bisection is unfinished. Run `git bisect reset`"),
    ],
)
def test_unfinished_operation_is_refused(command: list[str], sentence: str, small: Small) -> None:
    git(small.folder, "branch", "other")
    write(small.folder, {"own.txt": "mine\n"})
    small.commit()
    git(small.folder, "checkout", "-q", "other")
    write(small.folder, {"own.txt": "theirs\n"})
    small.commit()
    git(small.folder, "checkout", "-q", "main")
    git(small.folder, *command, check=False)

    small.refused(f"{sentence}, and update again.")


def test_unfinished_git_am_and_a_locked_index_are_refused(small: Small) -> None:
    (small.folder / ".git/rebase-apply").mkdir()
    (small.folder / ".git/rebase-apply/applying").touch()
    small.refused("A `git am` is unfinished. Finish it, or run `git am --abort`, and update again.")

    shutil.rmtree(small.folder / ".git/rebase-apply")
    lock = small.folder / ".git/index.lock"
    lock.touch()
    small.refused(
        f"Another git command is running, or was interrupted. Wait for it, or delete {lock} if there is"
        " none, and update again."
    )


@in_depth
def test_error_of_git_is_one_sentence(small: Small) -> None:
    write(small.folder, {".gitattributes": "docs/* filter=missing\n"})
    small.commit()
    git(small.folder, "config", "filter.missing.clean", "/nowhere/filter")
    git(small.folder, "config", "filter.missing.required", "true")
    (small.folder / GUIDE).touch()

    done = small.run()

    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"Error: git failed: {GUIDE}: clean filter 'missing' failed. Correct this, and run the command"
        " again.\n"
    )


def test_sparse_checkout_is_refused(small: Small) -> None:
    git(small.folder, "sparse-checkout", "set", "docs", "shop")
    small.refused(
        "This is a sparse checkout. Run `git sparse-checkout disable`, or update in a full clone."
    )


def test_partial_clone_is_refused_until_it_is_complete(small: Small, tmp_path: Path) -> None:
    write(small.folder, {"own.txt": "1\n"})
    small.commit()
    git(small.folder, "rm", "-q", "own.txt")
    git(small.folder, "commit", "-q", "-m", "Mine")
    git(small.folder, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "-q", "--filter=blob:none", small.folder.as_uri(), str(partial))
    clone = Small(small.template, partial)

    clone.refused(
        "This is a partial clone, in which files are missing. Run `git fetch --refetch --no-filter"
        " origin`, or update in a full clone."
    )
    git(partial, "fetch", "-q", "--refetch", "--no-filter", "origin")
    assert clone.run("--pretend").code == 0


def test_repository_of_another_user_is_refused(small: Small) -> None:
    small.refused(
        f"The repository of {small.folder} belongs to another user. Run the command as that user, or,"
        f" if you trust the repository, `git config --global --add safe.directory {small.folder}`.",
        GIT_TEST_ASSUME_DIFFERENT_OWNER="1",
    )


def test_folder_without_a_repository_is_refused(small: Small) -> None:
    shutil.rmtree(small.folder / ".git")
    small.refused(
        f"{small.folder} is not in a git repository. Run `git init`, commit everything, and update."
    )
    git(small.folder, "init", "-q")
    small.refused("The repository has no commit yet. Commit everything first.")


def test_old_git_is_refused(small: Small, tmp_path: Path) -> None:
    program = tmp_path / "bin/git"
    write(tmp_path, {"bin/git": "#!/bin/sh\necho git version 2.25.1\n"})
    program.chmod(0o755)
    small.refused(
        "git 2.25.1 is too old. Install git 2.32 or later, and update again.",
        PATH=str(program.parent),
    )


def test_missing_template_is_refused(small: Small) -> None:
    small.edit(ANSWERS_FILE, str(small.template), "/nowhere/template")
    small.commit()
    small.refused(
        "The template /nowhere/template does not exist. If it moved, set its address as `_src_path`"
        " in .copier-answers.yml, and commit."
    )


def test_unreachable_template_is_refused_without_printing_its_credentials(small: Small) -> None:
    small.edit(ANSWERS_FILE, str(small.template), "http://me:s3cret@127.0.0.1:9/acme/t.git")
    small.commit()

    done = small.run()

    assert done.code == 1
    assert "The template http://127.0.0.1:9/acme/t.git cannot be reached (" in done.err
    assert "Check the network and your access. If it moved, set its address as" in done.err
    assert "s3cret" not in done.err + done.out
    assert done.err.count("\n") == 1


def test_two_answers_files_of_the_template_need_a_choice(small: Small) -> None:
    write(small.folder, {".copier-answers.other.yml": small.read(ANSWERS_FILE)})
    small.commit()
    small.refused(
        f"{small.folder} has 2 answers files of this template. Choose one with"
        " `--answers-file .copier-answers.other.yml` or `--answers-file .copier-answers.yml`."
    )


def test_answers_file_that_git_does_not_track_is_refused(small: Small) -> None:
    write(small.folder, {".gitignore": ".copier*\n"})
    git(small.folder, "rm", "-q", "--cached", ANSWERS_FILE)
    small.commit()
    git(small.folder, "rm", "-q", "--cached", ANSWERS_FILE)
    git(small.folder, "commit", "-q", "-m", "Untracked")
    small.refused(
        "git does not track .copier-answers.yml. Add it with `git add --force .copier-answers.yml`,"
        " commit, and update again."
    )


@in_depth
def test_project_of_a_later_release_is_refused(small: Small) -> None:
    small.edit(ANSWERS_FILE, "v1.0.0", "v2.0.0")
    small.commit()
    small.refused(
        "You are downgrading from 2.0.0 to 1.0.0. Downgrades are not supported. To return to an"
        " earlier release, revert the commit of the update.",
        "--to",
        "v1.0.0",
    )


@in_depth
def test_release_without_a_tag_is_refused(small: Small) -> None:
    small.edit(ANSWERS_FILE, "v1.0.0", "v1.5.0")
    small.commit()
    small.refused(
        "The template has no release v1.5.0. If its tag is missing in your clone of the template, run"
        " `git fetch --tags` there, with `--unshallow` if it is shallow."
    )


@in_depth
def test_old_copier_is_refused(small: Small, tmp_path: Path) -> None:
    later = tmp_path / "later"
    shutil.copytree(small.template, later)
    settings = later / "copier.yml"
    settings.write_text(f'_min_copier_version: "99"\n{settings.read_text()}')
    git(later, "commit", "-q", "-a", "-m", "Later")
    git(later, "tag", "v3.0.0")
    small.edit(ANSWERS_FILE, str(small.template), str(later))
    small.commit()

    small.refused(
        f"This template requires Copier version >= 99, while your version of Copier is {version('copier')}. Run"
        " this command with `uvx --refresh`, which uses the latest Copier."
    )


def ignore(small: Small) -> None:
    write(small.folder, {".gitignore": f"/{GUIDE}\n"})
    git(small.folder, "rm", "-q", "--cached", GUIDE)
    git(small.folder, "add", ".gitignore")
    git(small.folder, "commit", "-q", "-m", "Ignored")


def ignore_new(small: Small) -> None:
    write(small.folder, {".gitignore": "\ncosts*\n"})
    small.commit()


def hide(small: Small) -> None:
    git(small.folder, "update-index", "--skip-worktree", GUIDE)


def latin_1(small: Small) -> None:
    (small.folder / GUIDE).write_bytes("Voilà\n".encode("latin-1"))
    small.commit()


def binary(small: Small) -> None:
    (small.folder / GUIDE).write_bytes(b"a\0b\n")
    small.commit()


def large(small: Small) -> None:
    write(small.folder, {GUIDE: "mine\n" * 200_001})
    small.commit()


def link_file(small: Small) -> None:
    (small.folder / GUIDE).rename(small.folder / "own.md")
    (small.folder / GUIDE).symlink_to("../own.md")
    small.commit()


def link_folder(small: Small) -> None:
    (small.folder / "honeycomb").rename(small.folder.with_name("boards"))
    (small.folder / "honeycomb").symlink_to(small.folder.with_name("boards"))
    small.commit()


def submodule(small: Small) -> None:
    git(small.folder, "rm", "-rq", "honeycomb")
    add = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    git(small.folder, *add, str(small.template), "honeycomb")
    small.commit()


def file_as_folder(small: Small) -> None:
    git(small.folder, "rm", "-rq", "honeycomb")
    write(small.folder, {"honeycomb": "mine\n"})
    small.commit()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (
            ignore,
            (
                "docs/guide.md is a file of the template, but git does not track yours. Add it with"
                " `git add --force docs/guide.md` and commit, or rename it."
            ),
        ),
        pytest.param(
            ignore_new,
            "The update adds honeycomb/boards/costs.json, which git ignores: `costs*` in .gitignore,"
            " line 2. Remove that line, or exclude the file with `--exclude honeycomb/boards/costs.json`.",
            marks=in_depth,
        ),
        pytest.param(
            hide,
            "Changes of docs/guide.md are hidden from git. Run `git update-index --no-skip-worktree"
            " --no-assume-unchanged docs/guide.md`, and commit it.",
            marks=in_depth,
        ),
        pytest.param(
            latin_1,
            "docs/guide.md is not UTF-8, and cannot be merged. Convert it to UTF-8 and commit, or exclude"
            " it with `--exclude docs/guide.md`.",
            marks=in_depth,
        ),
        pytest.param(
            binary,
            "docs/guide.md contains a NUL byte, and cannot be merged. Remove the byte and commit, or"
            " exclude the file with `--exclude docs/guide.md`.",
            marks=in_depth,
        ),
        pytest.param(
            large,
            (
                "docs/guide.md is larger than 1 MB, and cannot be merged. Make it smaller and commit, or"
                " exclude it with `--exclude docs/guide.md`."
            ),
            marks=in_depth,
        ),
        pytest.param(
            link_file,
            "docs/guide.md is a link, and the template has files there. Replace it with the files and"
            " commit, or exclude it with `--exclude docs/guide.md`.",
            marks=in_depth,
        ),
        (
            link_folder,
            (
                "honeycomb is a link, and the template has files there. Replace it with the files and"
                " commit, or exclude it with `--exclude honeycomb`."
            ),
        ),
        pytest.param(
            submodule,
            "honeycomb is a submodule, and the template has files there. Replace it with the files and"
            " commit, or exclude it with `--exclude honeycomb`.",
            marks=in_depth,
        ),
        pytest.param(
            file_as_folder,
            "A file of yours has the name of a folder of the template, or the reverse (honeycomb)."
            " Rename yours and commit.",
            marks=in_depth,
        ),
    ],
)
def test_managed_file_that_cannot_be_merged_is_refused(
    prepare: object, sentence: str, small: Small
) -> None:
    assert callable(prepare)
    prepare(small)
    small.refused(sentence)


@in_depth
def test_excluded_files_are_not_updated(small: Small) -> None:
    link_folder(small)

    done = small.run("--exclude", "honeycomb")

    assert done.code == 0, done.err
    assert not (small.folder.with_name("boards") / "boards/costs.json").exists()
    assert "line_21" in small.read(SPANS)


def test_template_that_drops_an_edited_file_is_refused(small: Small, tmp_path: Path) -> None:
    careless = tmp_path / "careless"
    shutil.copytree(small.template, careless)
    git(careless, "rm", "-q", f"template/{BOARD}")
    git(careless, "commit", "-q", "-m", "Careless")
    git(careless, "tag", "v3.0.0")
    small.edit(ANSWERS_FILE, str(small.template), str(careless))
    write(small.folder, {BOARD: '{"name": "Mine"}\n'})
    small.commit()

    small.refused(
        f"The update would delete {BOARD}, which you edited. Move your edits to a file with another"
        " name, commit, and update again."
    )
