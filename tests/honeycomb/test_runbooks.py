"""Links from alerts to the runbooks in the project's repository."""

import subprocess
from pathlib import Path

import pytest

from hooks.honeycomb.runbooks import base_from_git, base_in, base_of, with_links

from ..fakes.honeycomb import FakeHoneycomb
from .conftest import FILES, Commands, Folder

BASE = "https://github.com/acme/shop/blob/HEAD/"
AZURE = "https://dev.azure.com/acme/shop%20api/_git/shop?path=/"


@pytest.mark.parametrize(
    ("repository", "base"),
    [
        ("https://github.com/acme/shop", BASE),
        ("https://user:s3cret@github.com/acme/shop.git", BASE),
        ("git@github.com:acme/shop.git", BASE),
        ("ssh://git@github.com:22/acme/shop.git/", BASE),
        ("https://gitlab.example:8443/a/b/c.git", "https://gitlab.example/a/b/c/-/blob/HEAD/"),
        ("git@bitbucket.org:acme/shop.git", "https://bitbucket.org/acme/shop/src/HEAD/"),
        ("https://acme@dev.azure.com/acme/shop%20api/_git/shop", AZURE),
        ("git@ssh.dev.azure.com:v3/acme/shop%20api/shop", AZURE),
        ("ssh://git@ssh.dev.azure.com/v3/acme/shop%20api/shop", AZURE),
        ("https://acme.visualstudio.com/DefaultCollection/shop%20api/_git/shop", AZURE),
        ("https://acme.visualstudio.com/shop%20api/_git/shop", AZURE),
        ("acme@vs-ssh.visualstudio.com:v3/acme/shop%20api/shop", AZURE),
        ("https://dev.azure.com/acme/_git/shop", "https://dev.azure.com/acme/_git/shop?path=/"),
        ("https://tfs.example/c/shop/_git/shop", "https://tfs.example/c/shop/_git/shop?path=/"),
        ("/srv/git/shop.git", None),
        ("../shop", None),
        ("", None),
    ],
)
def test_base_is_the_page_of_the_repository(
    repository: str, base: str | None, tmp_path: Path
) -> None:
    assert base_of(repository, tmp_path) == base


def test_base_is_that_of_the_folder_in_the_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)

    git("init", "-q")
    folder = tmp_path / "services/order intake"
    folder.mkdir(parents=True)
    assert base_from_git(folder) is None
    git("remote", "add", "upstream", "git@github.com:acme/shop.git")
    assert base_from_git(folder) == f"{BASE}services/order%20intake/"
    assert base_from_git(tmp_path / "nowhere") is None
    assert base_of("https://dev.azure.com/acme/_git/shop", folder) == (
        "https://dev.azure.com/acme/_git/shop?path=/services/order%20intake/"
    )


@pytest.mark.parametrize(
    ("base", "link"),
    [
        (BASE, "docs/runbooks.md#failed"),
        (AZURE, "docs/runbooks.md&_a=preview&anchor=failed"),
        ("https://bitbucket.org/a/b/src/HEAD/", "docs/runbooks.md#markdown-header-failed"),
    ],
)
def test_link_of_an_earlier_apply_is_found_and_replaced(base: str, link: str) -> None:
    text = "Failed. Runbook: docs/runbooks.md#failed"
    linked = with_links(base)(text)

    assert linked == f"Failed. Runbook: {base}{link}"
    assert base_in([{"name": "a"}, {"description": linked}]) == base
    assert with_links(base)(linked) == linked
    assert with_links(None)(linked) == text


def test_description_in_honeycomb_links_to_the_runbook(
    commands: Commands, honeycomb: FakeHoneycomb, folder: Folder
) -> None:
    trigger = {**FILES["triggers/errors.json"], "description": "Runbook: docs/runbooks.md#errors"}
    folder.write("triggers/errors.json", trigger)

    assert commands.run("apply", "--repository", "git@github.com:acme/shop.git").code == 0

    [created] = honeycomb.store.triggers["order-intake"].values()
    assert created["description"] == f"Runbook: {BASE}docs/runbooks.md#errors"
    # Without a remote, as in an export of the files, the link is kept.
    assert commands.run("plan").code == 0
    invalid = commands.run("plan", "--repository", "../shop")
    assert invalid.err.startswith("--repository '../shop' is not the URL of a repository, such as")
