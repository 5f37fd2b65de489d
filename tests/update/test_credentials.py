"""No credential in the address of the template is recorded or printed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..depth import in_depth
from ..fakes.git_server import PASSWORD, USER, serve_repositories
from ..template.conftest import Once
from ..template.copying import copier
from ..template.projects import CURRENT, Template, contents, git, write
from .small import ANSWERS_FILE, Small, release_template

HELPER = f"""\
[credential]
    helper = "!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f"
"""


def bare(source: Path, folder: Path) -> Path:
    git(folder, "clone", "-q", "--bare", str(source), "template.git")
    git(folder / "template.git", "update-server-info")
    return folder


@pytest.fixture
def small_port(once: Once, tmp_path: Path) -> Iterator[int]:
    served = tmp_path / "served"
    served.mkdir()
    with serve_repositories(bare(once("small-template", release_template), served)) as port:
        yield port


@pytest.fixture
def port(template: Template, tmp_path: Path) -> Iterator[int]:
    served = tmp_path / "served"
    served.mkdir()
    with serve_repositories(bare(template.folder, served)) as port:
        yield port


def test_update_removes_a_recorded_credential_and_uses_the_credential_helper(
    small: Small, small_port: int, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{small_port}/template.git"
    small.edit(ANSWERS_FILE, str(small.template), f"http://{USER}:{PASSWORD}@{address}")
    small.commit()

    done = small.run(GIT_TERMINAL_PROMPT="0")

    assert done.code == 0, done.err
    assert (
        "Removed a credential from the address of the template in .copier-answers.yml. It is still in"
        " the history of this repository: revoke it. Let git's credential helper supply the next one.\n"
    ) in done.out
    assert f"uvx --from git+http://{address}@v2.0.0 copier-honeycomb update --undo\n" in done.out
    assert PASSWORD not in done.out + "".join(small.files().values())
    assert f"_src_path: http://{address}\n" in small.read(ANSWERS_FILE)
    small.commit()

    done = small.run(GIT_TERMINAL_PROMPT="0", HOME=str(tmp_path))
    assert done.code == 1
    assert f"The template http://{address} cannot be reached (could not read Username" in done.err
    write(tmp_path, {".gitconfig": HELPER})
    done = small.run(GIT_TERMINAL_PROMPT="0", HOME=str(tmp_path))
    assert (done.code, done.out) == (0, "shop is up to date with v2.0.0.\n")


@in_depth
@pytest.mark.parametrize("layout", ["new", "existing"])
def test_copy_and_update_of_copier_record_and_print_no_credential(
    layout: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIER_CACHE_DIR", str(tmp_path / "cache"))
    address = f"127.0.0.1:{port}/template.git"
    project = tmp_path / "shop"
    write(
        project,
        {"shop/__init__.py": "", "shop/main.py": "", "pyproject.toml": ""}
        if layout == "existing"
        else {},
    )
    project.mkdir(exist_ok=True)

    done = copier(
        *("copy", "--defaults", f"--data=layout={layout}", f"--vcs-ref=v{CURRENT}"),
        *(f"http://{USER}:{PASSWORD}@{address}", "."),
        cwd=project,
    )

    assert done.returncode == 0, done.stderr
    assert f"uvx --from git+http://{address}@v{CURRENT} copier-honeycomb" in done.stderr
    assert PASSWORD not in done.stderr + str(contents(project))
    recorded = f"_src_path: http://{address}\n"
    answers = (project / ANSWERS_FILE).read_text()
    assert recorded in answers
    # As an earlier release recorded it.
    (project / ANSWERS_FILE).write_text(answers.replace("http://", f"http://{USER}:{PASSWORD}@"))
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "All")

    done = copier("update", "--defaults", f"--vcs-ref=v{CURRENT}", cwd=project)

    assert done.returncode == 0, done.stderr
    assert "It is still in the history of this\nrepository: revoke it, and let" in done.stderr
    assert PASSWORD not in done.stderr + str(contents(project))
    assert recorded in (project / ANSWERS_FILE).read_text()
