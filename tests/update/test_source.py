"""The address of the template: recorded without credentials, and printed as `uvx --from` accepts it."""

import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest
from jinja2.sandbox import SandboxedEnvironment
from uv import find_uv_bin

from hooks.source import clone_url, requirement, without_credentials

from ..conftest import TEMPLATE
from ..depth import in_depth

GITHUB = "git+ssh://git@github.com/acme/template.git"
# As it is recorded; in the documents; in messages, at a release.
SOURCES = [
    (
        "gh:acme/template",
        "git+https://github.com/acme/template",
        "git+https://github.com/acme/template",
    ),
    (
        "gl:acme/template",
        "git+https://gitlab.com/acme/template",
        "git+https://gitlab.com/acme/template",
    ),
    ("git@github.com:acme/template.git", GITHUB, GITHUB),
    ("org-123@github.com:acme/t.git", *2 * ("git+ssh://org-123@github.com/acme/t.git",)),
    ("git@host:/srv/t.git", *2 * ("git+ssh://git@host/srv/t.git",)),
    ("work:acme/t.git", *2 * ("git+ssh://work/acme/t.git",)),
    ("ssh://git@host:22/t.git", *2 * ("git+ssh://git@host:22/t.git",)),
    ("ssh://git:pw@host/t.git", *2 * ("git+ssh://git@host/t.git",)),
    ("https://host/t.git", *2 * ("git+https://host/t.git",)),
    ("HTTPS://me:t0ken@host/t.git", *2 * ("git+HTTPS://host/t.git",)),
    ("https://me:t0ken@host/t.git", *2 * ("git+https://host/t.git",)),
    ("git+https://t0ken@host/t.git", *2 * ("git+https://host/t.git",)),
    ("http://me:p@ss@127.0.0.1:80/t.git", *2 * ("git+http://127.0.0.1:80/t.git",)),
    ("git+ssh://git@host/t", *2 * ("git+ssh://git@host/t",)),
    ("file:///srv/t", *2 * ("git+file:///srv/t",)),
    ("/srv/t", "/srv/t", "git+file:///srv/t"),
    ("/srv/a b/t", "'/srv/a b/t'", "git+file:///srv/a%20b/t"),
    ("~/t", "~/t", "git+file://HOME/t"),
    ("t", "../t", "git+file://FOLDER/t"),
    ("./t", "../t", "git+file://FOLDER/t"),
    ("../t", "../t", "git+file://PARENT/t"),
    ("C:/Users/me/t", "C:/Users/me/t", "git+file:///C:/Users/me/t"),
    ("C:\\Users\\me\\t", "C:/Users/me/t", "git+file:///C:/Users/me/t"),
]


@pytest.fixture(scope="module")
def template() -> jinja2.Template:
    environment = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("hooks/questions/template_source.jinja")


@pytest.mark.parametrize(("recorded", "in_documents", "in_messages"), SOURCES)
def test_each_form_of_the_address_is_printed_as_uvx_accepts_it(
    recorded: str,
    in_documents: str,
    in_messages: str,
    template: jinja2.Template,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, path in (("HOME", tmp_path / "home"), ("FOLDER", folder), ("PARENT", tmp_path)):
        in_messages = in_messages.replace(name, str(path))
    answers = {"_copier_answers": {"_src_path": recorded}}

    assert template.render(answers) == in_documents
    assert template.render(answers, release="v1.2.0") == f"{in_messages}@v1.2.0"
    assert requirement(recorded, "v1.2.0") == f"{in_messages}@v1.2.0"


@in_depth
@pytest.mark.parametrize("source", sorted({words for _, *both in SOURCES for words in both}))
def test_each_printed_form_is_parsed_by_uvx(source: str) -> None:
    [source] = shlex.split(source)
    done = subprocess.run(
        [find_uv_bin(), "tool", "run", "--offline", "--from", source, "copier-honeycomb"],
        env={"PATH": "", "UV_CACHE_DIR": "/nonexistent", "UV_NO_CACHE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Failed to parse" not in done.stderr, done.stderr
    assert "Unsupported Git URL" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("recorded", "release", "expected"),
    [
        ("gh:acme/t", "v0.3.0-5-gabc1234", "git+https://github.com/acme/t@abc1234"),
        # The commit of uncommitted changes in a folder is gone after the copy.
        ("/srv/t", "v0.3.0-5-gabc1234", "/srv/t"),
        # A commit whose short name reads like the version 54a2273.
        ("/srv/t", "54a2273", "/srv/t"),
        ("gh:acme/t", "", "git+https://github.com/acme/t"),
        ("gh:acme/t", "1.0rc1", "git+https://github.com/acme/t@1.0rc1"),
    ],
)
def test_state_between_releases_is_named_by_its_commit(
    recorded: str, release: str, expected: str, template: jinja2.Template
) -> None:
    answers = {"_copier_answers": {"_src_path": recorded}}

    assert template.render(answers, release=release) == expected
    assert requirement(recorded, release) == expected


def test_credentials_are_removed_and_aliases_expanded() -> None:
    assert without_credentials("https://a:b@host/x@y") == "https://host/x@y"
    assert without_credentials("git@host:x") == "git@host:x"
    assert clone_url("gh:/acme/t") == "https://github.com/acme/t"
    assert clone_url("git+https://host/t") == "https://host/t"
