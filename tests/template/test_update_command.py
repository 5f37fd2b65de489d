"""`copier update` on the command line: its messages, its exit status, and how to undo it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from uv import find_uv_bin

from ..conftest import TEMPLATE
from ..depth import in_depth
from ..wire.conftest import wire
from .conftest import Once, Rendered
from .copying import copier
from .projects import (
    ANSWERS_FILE,
    CURRENT,
    KINDS,
    NEXT,
    Kind,
    Template,
    contents,
    git,
    write,
)

SPANS = "order_intake/observability/spans.py"
LLM = "order_intake/observability/llm.py"
NEW, _, PACKAGE, _ = KINDS
UNDO = "git restore --staged --worktree . && git clean -fdq"
DELETE_EMPTY = (
    "git ls-files -z --modified . | xargs -0 -I FILE find ./FILE -type f -empty"
    " -exec git rm -qf -- {} +"
)


@dataclass
class Updates:
    """A template with two releases, and a project made by the first."""

    template: Path
    project: Path

    def update(self, *options: str) -> subprocess.CompletedProcess[str]:
        return copier("update", "--defaults", *options, cwd=self.project)

    def commit(self) -> None:
        git(self.project, "add", "-A")
        git(self.project, "commit", "-q", "-m", "Mine")

    def record(self, **answers: str) -> None:
        """Write `answers` into the answers file, and commit."""
        path = self.project / ANSWERS_FILE
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | answers))
        self.commit()

    def answer(self, name: str) -> str:
        answers: dict[str, str] = yaml.safe_load((self.project / ANSWERS_FILE).read_text())
        return answers[name]

    def copy_template(self, folder: Path) -> None:
        """Use a template that the test may change."""
        shutil.copytree(self.template, folder)
        self.template = folder
        self.record(_src_path=str(folder))

    def shell(self, command: str, folder: Path | None = None) -> None:
        subprocess.run(command, cwd=folder or self.project, shell=True, check=True)


def _release_twice(template: Template, folder: Path) -> None:
    """Copy the template, with a second release that changes spans.py and retires llm.py."""
    shutil.copytree(template.folder, folder)
    module = folder / "template/{{ observability_dir }}"
    spans = module / "spans.py"
    spans.write_text("# A fix.\n" + spans.read_text())
    (module / "llm.py").unlink()
    Template(folder).retire("{{ observability_dir }}/llm.py")
    changelog = (folder / "CHANGELOG.md").read_text()
    title, _, rest = changelog.partition("\n## ")
    later = (
        f"## {NEXT} - 2100-01-01\n\n### Fixed\n\n- A fix: `${{{{ x }}}}`.\n\n"
        f"## {CURRENT} - 2099-01-01\n\nOld.\n"
    )
    (folder / "CHANGELOG.md").write_text(f"{title}\n{later}\n## {rest}")
    Template(folder).release(NEXT)


def _updates(template: Template, rendered: Rendered, once: Once, kind: Kind, folder: Path) -> Updates:
    name = f"{template.folder.name}-released-twice"
    releases = once(name, partial(_release_twice, template))
    shutil.copytree(rendered(kind, CURRENT) / kind.folder, folder)
    git(folder, "init", "-q", "-b", "main")
    made = Updates(releases, folder)
    made.record(_src_path=str(releases))
    return made


@pytest.fixture
def updates(
    request: pytest.FixtureRequest,
    reduced_template: Template,
    reduced_rendered: Rendered,
    once: Once,
    tmp_path: Path,
) -> Updates:
    """The project that most tests update, with few files."""
    kind: Kind = getattr(request, "param", NEW)
    return _updates(reduced_template, reduced_rendered, once, kind, tmp_path / "project")


@pytest.fixture
def whole_updates(
    request: pytest.FixtureRequest,
    template: Template,
    rendered: Rendered,
    once: Once,
    tmp_path: Path,
) -> Updates:
    """The same with all files of the template."""
    return _updates(template, rendered, once, request.param, tmp_path / "project")


def test_message_lists_changes_and_commands(updates: Updates) -> None:
    done = updates.update()

    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        f"Updating to template version {NEXT}\n"
        f"Updated order-intake from v{CURRENT} to v{NEXT}. Nothing is committed.\n"
        "\n"
        f"## {NEXT} - 2100-01-01\n"
        "\n"
        "### Fixed\n"
        "\n"
        "- A fix: `${{ x }}`.\n"
        "\n"
        f"Removed from the template: {LLM}.\n"
        "Your copies are now empty, or in conflict (`UU`) if you edited them: move your edits, and"
        " delete those files.\nThis command deletes the empty ones:\n"
        "\n"
        f"    {DELETE_EMPTY}\n"
        "\n"
        "If dependencies in pyproject.toml changed, lock them again:\n"
        "\n"
        "    uv lock\n"
        "\n"
        "Review the update (`??` marks a new file, `UU` a conflict):\n"
        "\n"
        "    git status --short .\n"
        "    git diff\n"
        "\n"
        "Resolve the conflicts, and commit. This command refuses conflicts that are left:\n"
        "\n"
        f"    git diff --check && git add -A . && git commit -m 'Update copier-honeycomb to v{NEXT}' .\n"
        "\n"
        "To undo it instead, discarding everything in this folder that is not committed:\n"
        "\n"
        f"    {UNDO}\n"
        "\n"
    )
    assert (updates.project / SPANS).read_text().startswith("# A fix.\n")
    assert (updates.project / LLM).read_bytes() == b""


def test_no_block_of_commands_combines_the_undo_with_others(updates: Updates) -> None:
    done = updates.update()

    blocks = re.findall(r"(?:^ {4}.+\n)+", done.stderr, re.MULTILINE)
    assert f"    {UNDO}\n" in blocks
    assert sum(UNDO in block for block in blocks) == 1


@pytest.mark.parametrize("updates", [PACKAGE], indirect=True)
def test_message_names_the_command_that_edits_an_existing_repository(updates: Updates) -> None:
    done = updates.update()

    assert done.returncode == 0, done.stderr
    source = f"git+file://{updates.template}@v{NEXT}"
    assert f"\n    uvx --from {source} copier-honeycomb wire .\n" in done.stderr


@pytest.mark.parametrize("edited", [False, True], ids=["unedited", "edited"])
def test_one_command_deletes_retired_files_that_are_empty_and_nothing_else(
    edited: bool, updates: Updates
) -> None:
    write(updates.project, {"order_intake/py.typed": "", "docs/a b.md": "mine\n"})
    if edited:
        write(updates.project, {LLM: (updates.project / LLM).read_text() + "# mine\n"})
    updates.commit()
    assert updates.update().returncode == 0
    before = contents(updates.project)

    updates.shell(DELETE_EMPTY)

    after = contents(updates.project)
    assert before.keys() - after.keys() == (set() if edited else {LLM})
    assert all(after[name] == before[name] for name in after)


def test_retired_files_are_named_only_by_the_update_that_empties_them(updates: Updates) -> None:
    updates.copy_template(updates.project.with_name("template"))
    assert "Removed from the template" in updates.update().stderr
    # The user commits the empty file.
    updates.commit()
    Template(updates.template).release("10001.0.0")

    done = updates.update()

    assert done.returncode == 0, done.stderr
    assert "Removed from the template" not in done.stderr


@pytest.mark.parametrize("updates", [PACKAGE], indirect=True)
def test_wire_after_an_update_adds_the_packages_that_it_needs(updates: Updates) -> None:
    declared = '[project]\nname = "acme"\nversion = "1"\ndependencies = [\n    "fastapi",\n]\n'
    write(updates.project, {"pyproject.toml": declared})
    updates.commit()
    assert wire(updates.project, "--yes") == 0
    updates.commit()
    assert updates.update("--data=otlp_protocol=grpc").returncode == 0
    updates.commit()

    assert wire(updates.project, "--yes") == 0

    assert git(updates.project, "diff", "-U0").splitlines()[-1] == '+    "grpcio>=1.60",'
    assert git(updates.project, "diff", "--numstat") == "1\t0\tpyproject.toml\n"


def test_conflict_is_shown_rejected_by_ci_and_undone(updates: Updates) -> None:
    edited = "# My own first line.\n" + (updates.project / SPANS).read_text()
    (updates.project / SPANS).write_text(edited)
    updates.commit()
    before = contents(updates.project)

    assert updates.update().returncode == 0

    text = (updates.project / SPANS).read_text()
    assert text.startswith(
        "<<<<<<< before updating\n# My own first line.\n=======\n# A fix.\n>>>>>>> after updating\n"
    )
    assert f"UU {SPANS}\n" in git(updates.project, "status", "--porcelain")
    assert f"{SPANS}:1: leftover conflict marker" in git(
        updates.project, "diff", "--check", check=False
    )
    assert _committed_conflicts(updates) == f"{SPANS}:1:<<<<<<< before updating\n"

    updates.shell(UNDO)
    assert contents(updates.project) == before
    assert _committed_conflicts(updates) == ""


def test_undo_leaves_the_rest_of_a_repository_alone(updates: Updates) -> None:
    repository = updates.project.parent / "repository"
    write(repository, {"other/own.txt": "mine\n"})
    service = repository / "services" / "intake"
    shutil.copytree(updates.project, service, ignore=shutil.ignore_patterns(".git"))
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "All")
    # Not committed.
    write(repository, {"other/own.txt": "", "other/new.txt": "mine\n"})
    before = contents(repository)

    done = copier("update", "--defaults", "services/intake", cwd=repository)
    assert done.returncode == 0, done.stderr
    assert contents(repository) != before
    # The message names the folder for the commands if the update was started elsewhere.
    assert "\n    cd services/intake\n" in done.stderr
    updates.shell(f"cd services/intake\n{DELETE_EMPTY}", repository)
    assert contents(repository).keys() == before.keys() - {f"services/intake/{LLM}"}
    updates.shell(f"cd services/intake\n{UNDO}", repository)

    assert contents(repository) == before


@pytest.mark.parametrize("option", ["--conflict=rej", "status.showUntrackedFiles=no"])
def test_rejected_change_is_listed_and_rejected_by_ci(option: str, updates: Updates) -> None:
    (updates.project / SPANS).write_text("# Mine.\n" + (updates.project / SPANS).read_text())
    updates.commit()

    if option.startswith("--"):
        done = updates.update(option)
    else:
        # Copier then overlooks the rejected changes, which it would turn into conflicts.
        git(updates.project, "config", *option.split("="))
        done = updates.update()

    assert done.returncode == 0, done.stderr
    assert f"and delete these files:\n\n    {SPANS}.rej\n\n" in done.stderr
    assert _committed_conflicts(updates) == f"{SPANS}.rej\n"


def _committed_conflicts(updates: Updates) -> str:
    """Run the rendered CI's step that finds conflicts; return its output and check its exit status."""
    workflow = yaml.safe_load((updates.project / ".github/workflows/ci.yml").read_text())
    [step] = [
        step for step in workflow["jobs"]["test"]["steps"] if "conflict" in step.get("name", "")
    ]
    git(updates.project, "add", "-A")
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=updates.project,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if done.stdout else 0)
    return "".join(line for line in done.stdout.splitlines(keepends=True) if ">>>>>>>" not in line)


def test_pre_commit_rejects_a_conflict(updates: Updates) -> None:
    hooks = [find_uv_bin(), "tool", "run", "--quiet", "pre-commit", "run", "--all-files"]
    variables = {**os.environ, "PRE_COMMIT_HOME": str(updates.project.with_name("pre-commit"))}

    def run() -> subprocess.CompletedProcess[str]:
        git(updates.project, "add", "-A")
        return subprocess.run(
            hooks,
            cwd=updates.project,
            env=variables,
            check=False,
            capture_output=True,
            text=True,
        )

    clean = run()
    assert clean.returncode == 0, clean.stdout + clean.stderr

    for name in (SPANS, f"{SPANS}.rej"):
        (updates.project / name).write_text("<<<<<<< before updating\n")
        refused = run()
        assert refused.returncode == 1
        assert name in refused.stdout
        git(updates.project, "reset", "-q", "--hard")
        git(updates.project, "clean", "-fdq")


def test_settings_of_git_do_not_disturb_an_update_without_global_settings(
    updates: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = (updates.project / SPANS).read_text() + "# Mine, with two spaces at the end.  \n"
    write(updates.project, {SPANS: edited, "docs/é.md": "mine\n"})
    updates.commit()
    home = updates.project.parent / "home"
    settings = "[apply]\n whitespace = fix\n[core]\n quotePath = false\n[status]\n showUntrackedFiles = no\n"
    write(home, {".gitconfig": settings})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    done = updates.update()

    assert done.returncode == 0, done.stderr
    assert (updates.project / SPANS).read_text() == f"# A fix.\n{edited}"


def test_check_update_exits_with_2_if_there_is_an_update(updates: Updates) -> None:
    assert copier("check-update", "--quiet", cwd=updates.project).returncode == 2

    updates.update()
    updates.commit()

    assert copier("check-update", "--quiet", cwd=updates.project).returncode == 0


@pytest.mark.parametrize(
    ("whole_updates", "number", "answers"),
    [
        (NEW, 0, {"package_name": "intake"}),
        pytest.param(
            PACKAGE,
            1,
            {"package_dir": "src/acme/infra", "import_name": "acme.infra"},
            marks=in_depth,
        ),
    ],
    indirect=["whole_updates"],
    ids=["renamed", "moved"],
)
def test_documented_commands_rename_the_package_and_end_equal_to_a_fresh_copy(
    number: int, answers: dict[str, str], whole_updates: Updates, template: Template
) -> None:
    section = (TEMPLATE / "docs/updating.md").read_text().split("### Rename the package")[1]
    commands = re.findall(r"^```sh\n(.+?)^```", section, re.MULTILINE | re.DOTALL)[number]
    program = f"{sys.executable} -m copier"
    kind = [NEW, PACKAGE][number]
    own = kind.own | ({"src/acme/infra/__init__.py": ""} if kind is PACKAGE else {})
    if kind is PACKAGE:
        write(whole_updates.project, own)
        whole_updates.commit()

    identity = "git config user.name Me && git config user.email me@example.org"
    whole_updates.shell(f"set -e\n{identity}\n{commands.replace('uvx copier', program)}")

    # The fixture writes the answers file without its comment.
    assert git(whole_updates.project, "status", "--porcelain") == f" M {ANSWERS_FILE}\n"
    fresh = whole_updates.project.with_name("fresh") / "project"
    write(fresh, own)
    Template(whole_updates.template).copy(fresh, CURRENT, kind.answers | answers)
    # The fixture changes the address of the template, which is in the documents.
    def same_address(folder: Path) -> dict[str, bytes]:
        here, there = (str(each).encode() for each in (whole_updates.template, template.folder))
        return {name: text.replace(here, there) for name, text in contents(folder).items()}

    assert same_address(whole_updates.project) == same_address(fresh)


# Troubleshooting in docs/updating.md: Copier's errors, and the remedies.


def test_trouble_with_uncommitted_changes(updates: Updates) -> None:
    write(updates.project, {"own.txt": "mine\n"})

    done = updates.update()

    assert done.returncode == 1
    assert "Destination repository is dirty; cannot continue." in done.stderr
    updates.commit()
    assert updates.update().returncode == 0


@in_depth
def test_trouble_with_another_folder(updates: Updates) -> None:
    done = copier("update", "--defaults", cwd=updates.project / "order_intake")

    assert done.returncode == 1
    assert "Template not found" in done.stderr


@in_depth
@pytest.mark.parametrize("path", ["docs/observability.md/own.md", "order_intake/observability"])
def test_trouble_with_a_folder_and_a_file_of_the_same_name(path: str, updates: Updates) -> None:
    inner = updates.project / path
    place = inner.parent if inner.suffix else inner
    git(updates.project, "rm", "-rq", str(place))
    write(updates.project, {path: "mine\n"})
    updates.commit()
    before = contents(updates.project)

    done = updates.update()

    assert done.returncode == 1
    assert ("assert is_dir" if inner.suffix else "FileExistsError") in done.stderr
    updates.shell(UNDO)
    assert contents(updates.project) == before
    place.rename(place.with_name("own"))
    updates.commit()
    assert updates.update().returncode == 0
    assert contents(updates.project).items() >= {path.replace(place.name, "own"): b"mine\n"}.items()


@in_depth
def test_trouble_with_an_older_release(updates: Updates) -> None:
    assert updates.update().returncode == 0
    updates.commit()

    done = updates.update("--vcs-ref", f"v{CURRENT}")

    assert done.returncode == 1
    assert "Downgrades are not supported." in done.stderr
    git(updates.project, "revert", "--no-edit", "HEAD")
    assert updates.answer("_commit") == f"v{CURRENT}"
    assert updates.update().returncode == 0


@in_depth
def test_trouble_with_a_template_that_moved(updates: Updates) -> None:
    updates.copy_template(updates.project.with_name("template"))
    moved = updates.template.with_name("moved")
    shutil.move(updates.template, moved)

    done = updates.update()

    assert done.returncode == 1
    assert "Local template must be a directory." in done.stderr
    updates.record(_src_path=str(moved))
    assert updates.update().returncode == 0
    assert updates.answer("_src_path") == str(moved)


@in_depth
def test_trouble_with_a_missing_tag(updates: Updates) -> None:
    updates.copy_template(updates.project.with_name("template"))
    commit = git(updates.template, "rev-parse", f"v{CURRENT}^{{commit}}").strip()
    git(updates.template, "tag", "-d", f"v{CURRENT}")

    done = updates.update()

    assert done.returncode == 1
    assert f"Unknown revision: 'v{CURRENT}'" in done.stderr
    updates.record(_commit=commit)
    done = updates.update()
    assert done.returncode == 0, done.stderr


@in_depth
def test_trouble_with_a_shallow_clone_of_the_template(updates: Updates) -> None:
    shallow = updates.project.with_name("shallow")
    url = updates.template.as_uri()
    git(updates.project, "clone", "-q", "--depth=1", "--branch", f"v{NEXT}", url, str(shallow))
    updates.record(_src_path=str(shallow))

    done = updates.update()

    assert done.returncode == 1
    assert f"Unknown revision: 'v{CURRENT}'" in done.stderr
    git(shallow, "fetch", "-q", "--unshallow", "--tags")
    assert updates.update().returncode == 0
