"""The `copier-honeycomb update` command."""

import tempfile
from pathlib import Path

import click

from ..project import Project, ProjectError, find_projects
from . import report
from .changes import find_changes, with_lf
from .copier import Request, run_copier
from .errors import UpdateRefused
from .git import Git, GitError
from .record import apply, undo
from .repository import Repository, open_repository
from .template import answers_without_credentials, fetch_template


@click.command(
    "update", short_help="Update a project to the latest release without losing an edit."
)
@click.option(
    "--project",
    "folder",
    type=click.Path(path_type=Path),
    default=".",
    help="Folder of the project (default: the current folder).",
)
@click.option("--answers-file", metavar="NAME", help="Copier's answers file, if there are several.")
@click.option("-r", "--to", "release", metavar="RELEASE", help="Update to this release.")
@click.option(
    "-d", "--data", "answers", multiple=True, metavar="NAME=VALUE", help="Change an answer."
)
@click.option(
    "-x",
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Do not change matching files, as in a .gitignore.",
)
@click.option("--pretend", is_flag=True, help="Show the result; change no file.")
@click.option("--undo", "is_undo", is_flag=True, help="Revert the last update, and nothing else.")
def update(
    folder: Path,
    answers_file: str | None,
    release: str | None,
    answers: tuple[str, ...],
    exclude: tuple[str, ...],
    pretend: bool,
    is_undo: bool,
) -> int:
    """Merge the latest release of the template with your edits.

    Runs `copier update` on a copy of the committed project, without any git setting of the user or
    the machine; verifies that each line you edited is in the result, or in a conflict; and writes the
    changes into the project. It asks nothing and commits nothing. --undo reverts the update until it
    is committed, and keeps edits made since.

    Use `-r :current: -d NAME=VALUE` to change an answer without updating.

    Exit status: 0 if the project is up to date, 1 if nothing was changed because of an error, 2 if
    there are conflicts to resolve.
    """
    root = folder.resolve()
    try:
        if is_undo:
            report.undone(*undo(Git(root), pretend=pretend), pretend=pretend)
            return 0
        project = _find_project(root, answers_file)
        request = Request(project.answers_file, release, answers, exclude)
        return _update(project, open_repository(root), request, pretend=pretend)
    except KeyboardInterrupt:
        click.echo("\nStopped. Nothing was changed.", err=True)
        return 130
    except UpdateRefused as refused:
        raise click.ClickException(f"{refused} Nothing was changed.") from None
    except GitError as error:
        text = f"git failed: {error.reason}. Correct this, and run the command again."
        raise click.ClickException(text) from None
    except (ProjectError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _find_project(root: Path, answers_file: str | None) -> Project:
    found = find_projects(root, answers_file)
    if len(found) > 1:
        names = " or ".join(f"`--answers-file {each.answers_file}`" for each in found)
        raise UpdateRefused(
            f"{root} has {len(found)} answers files of this template. Choose one with {names}."
        )
    return found[0]


def _update(project: Project, repository: Repository, request: Request, *, pretend: bool) -> int:
    if project.answers_file not in repository.entries:
        raise UpdateRefused(
            f"git does not track {project.answers_file}. Add it with `git add --force"
            f" {project.answers_file}`, commit, and update again."
        )
    with tempfile.TemporaryDirectory(
        prefix="copier-honeycomb-", ignore_cleanup_errors=True
    ) as name:
        workspace = Path(name).resolve()
        report.progress("Fetching the template")
        template = fetch_template(project, workspace)
        report.progress("Updating a copy of the project")
        files = repository.contents()
        copied = with_lf(files)
        copied[project.answers_file], had_credentials = answers_without_credentials(project)
        executable = frozenset(
            path for path, entry in repository.entries.items() if entry.mode == "100755"
        )
        updated = run_copier(
            copied, executable, template, request, workspace, project.root.name or "project"
        )
        changes = find_changes(repository, files, executable, updated, project.answers_file)
        now = report.Result(project, repository, changes, had_credentials, template)
        if changes.files and not pretend:
            apply(repository, changes, now.release)
        report.updated(now, pretend=pretend)
    return 2 if changes.conflicts else 0
