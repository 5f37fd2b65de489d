"""`copier update` at a prompt: what it says, how it ends, and how it is taken back."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from uv import find_uv_bin

from hooks.wire import cli as wire

from .test_answers import copier
from .updates import ANSWERS_FILE, CURRENT, KINDS, Kind, Template, clone, contents, git, write

NEXT = "10000.0.0"
LOGS = "order_intake/observability/logs.py"
PRICING = "order_intake/observability/pricing.py"
NEW, _, PACKAGE, _ = KINDS


@dataclass(frozen=True)
class Updates:
    """A template of two releases, and a project that the first made."""

    template: Path
    project: Path

    def update(self, *options: str) -> subprocess.CompletedProcess[str]:
        return copier("update", "--defaults", *options, cwd=self.project)

    def commit(self) -> None:
        git(self.project, "add", "-A")
        git(self.project, "commit", "-q", "-m", "Mine")

    def record(self, **answers: str) -> None:
        """Writes into the answers' file, and commits."""
        path = self.project / ANSWERS_FILE
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | answers))
        self.commit()

    def answer(self, name: str) -> str:
        answers: dict[str, str] = yaml.safe_load((self.project / ANSWERS_FILE).read_text())
        return answers[name]


@pytest.fixture
def updates(request: pytest.FixtureRequest, tmp_path: Path) -> Updates:
    """The second release changes logs.py, retires pricing.py, and says so in the changelog."""
    kind: Kind = getattr(request, "param", NEW)
    template = clone(tmp_path / "template")
    project = tmp_path / "project"
    write(project, kind.own)
    template.copy(project, CURRENT, kind.answers)
    git(project, "init", "-q", "-b", "main")
    _release_next(template)
    made = Updates(template.folder, project)
    made.commit()
    return made


def _release_next(template: Template) -> None:
    root = template.folder
    logs = root / "template/{{ package_dir }}/observability/logs.py"
    logs.write_text("# A fix.\n" + logs.read_text())
    (root / "template/{{ package_dir }}/observability/pricing.py").unlink()
    template.retire("{{ observability_dir }}/pricing.py")
    changelog = (root / "CHANGELOG.md").read_text()
    title, _, rest = changelog.partition("\n## ")
    later = (
        f"## {NEXT} - 2100-01-01\n\n### Fixed\n\n- A fix.\n\n## {CURRENT} - 2099-01-01\n\nOld.\n"
    )
    (root / "CHANGELOG.md").write_text(f"{title}\n{later}\n## {rest}")
    template.release(NEXT)


def test_an_update_says_what_changed_and_what_to_do(updates: Updates) -> None:
    done = updates.update()

    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        f"Updating to template version {NEXT}\n"
        f"order-intake is updated from v{CURRENT} to v{NEXT}, and nothing is committed.\n"
        "\n"
        f"## {NEXT} - 2100-01-01\n"
        "\n"
        "### Fixed\n"
        "\n"
        "- A fix.\n"
        "\n"
        "The template does not have these any more. They are empty now, or in conflict if you wrote"
        " something into them: carry\nit over, and take them out:\n"
        "\n"
        f"    git rm -f {PRICING}\n"
        "\n"
        "Look at it: `??` is new, and `UU` a conflict. The last command takes it back.\n"
        "\n"
        "    git status --short .\n"
        "    git diff\n"
        "    git diff --check\n"
        f"    {TAKE_BACK}\n"
        "\n"
    )
    assert (updates.project / LOGS).read_text().startswith("# A fix.\n")
    assert (updates.project / PRICING).read_bytes() == b""
    git(updates.project, "rm", "-q", "-f", PRICING)


@pytest.mark.parametrize("updates", [PACKAGE], indirect=True)
def test_in_a_repository_that_exists_it_names_the_command_for_its_own_files(
    updates: Updates,
) -> None:
    done = updates.update()

    assert done.returncode == 0, done.stderr
    assert f"\n    uvx --from {updates.template} wire .\n" in done.stderr
    assert "\n    git rm -f src/acme/observability/pricing.py\n" in done.stderr


@pytest.mark.parametrize("updates", [PACKAGE], indirect=True)
def test_wired_again_its_own_files_have_what_the_update_needs(updates: Updates) -> None:
    declared = '[project]\nname = "acme"\nversion = "1"\ndependencies = [\n    "fastapi",\n]\n'
    write(updates.project, {"pyproject.toml": declared})
    updates.commit()
    assert wire.main([str(updates.project), "--yes"]) == 0
    updates.commit()
    assert updates.update("--data=otlp_protocol=grpc").returncode == 0
    updates.commit()

    assert wire.main([str(updates.project), "--yes"]) == 0

    assert git(updates.project, "diff", "-U0").splitlines()[-1] == '+    "grpcio>=1.60",'
    assert git(updates.project, "diff", "--numstat") == "1\t0\tpyproject.toml\n"


TAKE_BACK = "git restore --staged --worktree . && git clean -fdq"


def test_a_conflict_is_shown_refused_and_taken_back(updates: Updates) -> None:
    edited = "# My own first line.\n" + (updates.project / LOGS).read_text()
    (updates.project / LOGS).write_text(edited)
    updates.commit()
    before = contents(updates.project)

    assert updates.update().returncode == 0

    text = (updates.project / LOGS).read_text()
    assert text.startswith(
        "<<<<<<< before updating\n# My own first line.\n=======\n# A fix.\n>>>>>>> after updating\n"
    )
    assert f"UU {LOGS}\n" in git(updates.project, "status", "--porcelain")
    assert f"{LOGS}:1: leftover conflict marker" in git(
        updates.project, "diff", "--check", check=False
    )
    assert _committed_conflicts(updates) == f"{LOGS}:1:<<<<<<< before updating\n"

    subprocess.run(TAKE_BACK, cwd=updates.project, shell=True, check=True)
    assert contents(updates.project) == before
    assert _committed_conflicts(updates) == ""


def test_taking_an_update_back_leaves_the_rest_of_a_repository_alone(updates: Updates) -> None:
    repository = updates.project.parent / "repository"
    write(repository, {"other/own.txt": "mine\n"})
    service = repository / "services" / "intake"
    shutil.copytree(updates.project, service, ignore=shutil.ignore_patterns(".git"))
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "All")
    write(repository, {"other/own.txt": "mine, not committed\n", "other/new.txt": "mine\n"})
    before = contents(repository)

    done = copier("update", "--defaults", "services/intake", cwd=repository)
    assert done.returncode == 0, done.stderr
    assert contents(repository) != before
    # Where the update was started elsewhere, it says where its commands belong.
    assert "\n    cd services/intake\n" in done.stderr
    subprocess.run(f"cd services/intake\n{TAKE_BACK}", cwd=repository, shell=True, check=True)

    assert contents(repository) == before


@pytest.mark.parametrize("option", ["--conflict=rej", "status.showUntrackedFiles=no"])
def test_a_rejected_change_is_named_and_refused_in_ci(option: str, updates: Updates) -> None:
    (updates.project / LOGS).write_text("# Mine.\n" + (updates.project / LOGS).read_text())
    updates.commit()

    if option.startswith("--"):
        done = updates.update(option)
    else:
        # Copier then does not see the rejected changes that it makes conflicts of.
        git(updates.project, "config", *option.split("="))
        done = updates.update()

    assert done.returncode == 0, done.stderr
    assert f"and delete these files:\n\n    {LOGS}.rej\n\n" in done.stderr
    assert _committed_conflicts(updates) == f"{LOGS}.rej\n"


def _committed_conflicts(updates: Updates) -> str:
    """What the step of the rendered CI says; its exit status agrees."""
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


@pytest.mark.parametrize("name", [LOGS, f"{LOGS}.rej"])
def test_a_commit_of_a_conflict_is_refused_by_pre_commit(name: str, updates: Updates) -> None:
    hooks = [find_uv_bin(), "tool", "run", "--quiet", "pre-commit", "run", "--all-files"]
    variables = {**os.environ, "PRE_COMMIT_HOME": str(updates.template.parent / "pre-commit")}

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

    (updates.project / name).write_text("<<<<<<< before updating\n")
    refused = run()
    assert refused.returncode == 1
    assert name in refused.stdout


def test_without_global_settings_no_setting_of_git_disturbs_an_update(
    updates: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = (updates.project / LOGS).read_text() + "# Mine, with two spaces at the end.  \n"
    write(updates.project, {LOGS: edited, "docs/é.md": "mine\n"})
    updates.commit()
    home = updates.project.parent / "home"
    settings = "[apply]\n whitespace = fix\n[core]\n quotePath = false\n[status]\n showUntrackedFiles = no\n"
    write(home, {".gitconfig": settings})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    done = updates.update()

    assert done.returncode == 0, done.stderr
    assert (updates.project / LOGS).read_text() == f"# A fix.\n{edited}"


def test_whether_there_is_an_update_is_an_exit_status(updates: Updates) -> None:
    assert copier("check-update", "--quiet", cwd=updates.project).returncode == 2

    updates.update()
    updates.commit()

    assert copier("check-update", "--quiet", cwd=updates.project).returncode == 0


def test_a_renamed_package_is_updated_under_its_new_name(updates: Updates) -> None:
    git(updates.project, "mv", "order_intake", "intake")
    updates.record(package_name="intake")
    mine = (updates.project / "intake/observability/logs.py").read_text()

    assert updates.update().returncode == 0

    assert (updates.project / "intake/observability/logs.py").read_text() == "# A fix.\n" + mine
    assert not (updates.project / "order_intake").exists()


# The troubleshooting of the README: what Copier prints, and what helps.


def test_trouble_with_uncommitted_changes(updates: Updates) -> None:
    write(updates.project, {"own.txt": "mine\n"})

    done = updates.update()

    assert done.returncode == 1
    assert "Destination repository is dirty; cannot continue." in done.stderr
    updates.commit()
    assert updates.update().returncode == 0


def test_trouble_with_another_folder(updates: Updates) -> None:
    done = copier("update", "--defaults", cwd=updates.project / "order_intake")

    assert done.returncode == 1
    assert "Template not found" in done.stderr


@pytest.mark.parametrize("path", ["docs/observability.md/own.md", "order_intake/observability"])
def test_trouble_with_a_folder_and_a_file_in_each_others_place(path: str, updates: Updates) -> None:
    inner = updates.project / path
    place = inner.parent if inner.suffix else inner
    git(updates.project, "rm", "-rq", str(place))
    write(updates.project, {path: "mine\n"})
    updates.commit()
    before = contents(updates.project)

    done = updates.update()

    assert done.returncode == 1
    assert ("assert is_dir" if inner.suffix else "FileExistsError") in done.stderr
    subprocess.run(TAKE_BACK, cwd=updates.project, shell=True, check=True)
    assert contents(updates.project) == before
    place.rename(place.with_name("own"))
    updates.commit()
    assert updates.update().returncode == 0
    assert contents(updates.project).items() >= {path.replace(place.name, "own"): b"mine\n"}.items()


def test_trouble_with_an_older_release(updates: Updates) -> None:
    assert updates.update().returncode == 0
    updates.commit()

    done = updates.update("--vcs-ref", f"v{CURRENT}")

    assert done.returncode == 1
    assert "Downgrades are not supported." in done.stderr
    git(updates.project, "revert", "--no-edit", "HEAD")
    assert updates.answer("_commit") == f"v{CURRENT}"
    assert updates.update().returncode == 0


def test_trouble_with_a_template_that_moved(updates: Updates) -> None:
    moved = updates.template.with_name("moved")
    shutil.move(updates.template, moved)

    done = updates.update()

    assert done.returncode == 1
    assert "Local template must be a directory." in done.stderr
    updates.record(_src_path=str(moved))
    assert updates.update().returncode == 0
    assert updates.answer("_src_path") == str(moved)


def test_trouble_with_a_missing_tag(updates: Updates) -> None:
    commit = git(updates.template, "rev-parse", f"v{CURRENT}^{{commit}}").strip()
    git(updates.template, "tag", "-d", f"v{CURRENT}")

    done = updates.update()

    assert done.returncode == 1
    assert f"Unknown revision: 'v{CURRENT}'" in done.stderr
    updates.record(_commit=commit)
    done = updates.update()
    assert done.returncode == 0, done.stderr


def test_trouble_with_a_shallow_clone_of_the_template(updates: Updates) -> None:
    shallow = updates.template.with_name("shallow")
    url = updates.template.as_uri()
    git(updates.project, "clone", "-q", "--depth=1", "--branch", f"v{NEXT}", url, str(shallow))
    updates.record(_src_path=str(shallow))

    done = updates.update()

    assert done.returncode == 1
    assert f"Unknown revision: 'v{CURRENT}'" in done.stderr
    git(shallow, "fetch", "-q", "--unshallow", "--tags")
    assert updates.update().returncode == 0
