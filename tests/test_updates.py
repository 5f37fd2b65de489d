"""An update brings what is new, and loses nothing that a user wrote."""

import shutil
import subprocess
from collections.abc import Callable, Container
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from random import Random

import pytest
import yaml

from hooks.release import releases

from .answers import PLANS, PROTOCOLS, REGIONS, SECRETS
from .conftest import Workshop
from .updates import (
    ANSWERS_FILE,
    CURRENT,
    KINDS,
    Files,
    Kind,
    Project,
    Template,
    clone,
    contents,
    executables,
    expected,
    git,
    losses,
    made,
    managed,
    write,
)

NewProject = Callable[[Kind, str], Project]
STRANGE_NAMES = (
    "a b.json",
    "-c.json",
    "é 漢.json",
    'it\'s "quoted".json',
    "tab\t.json",
    "back\\.json",
)
MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")

each_project = pytest.mark.parametrize(
    ("kind", "version"), made(), ids=lambda value: getattr(value, "name", value)
)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return clone(tmp_path_factory.mktemp("template") / "copier-honeycomb")


@pytest.fixture(scope="session")
def rendered(
    template: Template, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Kind, str], Path]:
    """A repository with a project in it, made once and copied for each test."""
    made: dict[tuple[str, str], Path] = {}

    def render(kind: Kind, version: str) -> Path:
        if (kind.name, version) not in made:
            repository = tmp_path_factory.mktemp("rendered") / "order-intake"
            folder = repository / kind.folder
            write(folder, kind.own)
            template.copy(folder, version, kind.answers)
            made[kind.name, version] = repository
        return made[kind.name, version]

    return render


@pytest.fixture
def project(
    template: Template, rendered: Callable[[Kind, str], Path], tmp_path: Path
) -> NewProject:
    def make(kind: Kind, version: str) -> Project:
        repository = tmp_path / "order-intake"
        shutil.copytree(rendered(kind, version), repository)
        git(repository, "init", "-q", "-b", "main")
        folder = repository / kind.folder
        fresh = contents(rendered(kind, CURRENT) / kind.folder)
        made = contents(folder)
        return Project(
            template,
            kind,
            folder,
            base=managed(made),
            fresh=managed(fresh),
        )

    return make


def without(files: Files, names: Container[str]) -> Files:
    return {name: text for name, text in files.items() if name not in names}


def updated(project: Project) -> set[str]:
    """Updates, holds every file against what it has to be, and returns those in conflict."""
    before, executable = contents(project.folder), executables(project.folder)
    project.update()
    after = contents(project.folder)

    assert executables(project.folder) >= executable
    assert losses(before, project.base, after) == []
    assert after == expected(before, project.base, project.fresh)
    marked = {name for name, text in after.items() if any(mark in text for mark in MARKERS)}
    assert marked == project.conflicts()
    return marked


@each_project
def test_an_update_without_edits_is_a_fresh_copy(
    kind: Kind, version: str, project: NewProject
) -> None:
    mine = project(kind, version)
    before = contents(mine.folder)

    assert updated(mine) == set()

    after = contents(mine.folder)
    assert {name: after[name] for name in mine.fresh} == mine.fresh
    # What was started once is as it was, and what is retired is empty.
    rest = {name: before[name] for name in before.keys() - mine.fresh.keys()}
    retired = dict.fromkeys(mine.base.keys() - mine.fresh.keys(), b"")
    assert without(after, mine.fresh) == rest | retired
    # And so again, as long as nothing new is released.
    assert updated(replace(mine, base=mine.fresh)) == set()
    assert contents(mine.folder) == after


@each_project
def test_added_lines_and_files_of_the_users_own_are_kept(
    kind: Kind, version: str, project: NewProject
) -> None:
    def add_lines(name: str, text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)
        lines.insert(len(lines) // 2, b"# mine, in the middle\n")
        return b"".join([*lines, b"# mine, at the end\n"])

    mine = project(kind, version)
    mine.edit(add_lines)
    started_once = sorted(contents(mine.folder).keys() - mine.base.keys())
    for number, name in enumerate(started_once):
        path = mine.folder / name
        match number % 4:
            case 0:
                path.unlink()
            case 1:
                path.rename(path.with_name(f"my_{path.name}"))
            case 2:
                path.write_text("mine\n")
    for name in sorted(without(mine.base, {ANSWERS_FILE}))[::2]:
        (mine.folder / name).chmod(0o755)
    # Where new managed files come, there is one of theirs.
    coming = mine.fresh.keys() - mine.base.keys()
    write(mine.folder, dict.fromkeys(coming, "mine, and there first\n"))
    write(mine.folder, {".env": "HONEYCOMB_API_KEY=mine\n", ".gitignore": ".env\n"})
    write(mine.folder, {f"honeycomb/boards/{name}": "mine\n" for name in STRANGE_NAMES})

    conflicts = updated(mine)

    assert conflicts >= coming
    for name, text in contents(mine.folder).items():
        if name in mine.base and name != ANSWERS_FILE:
            assert text.count(b"# mine, in the middle\n") == 1, name
            assert text.count(b"# mine, at the end\n") == 1, name


@each_project
def test_an_edit_of_the_same_line_is_a_conflict_and_a_deleted_file_stays_away(
    kind: Kind, version: str, project: NewProject
) -> None:
    mine = project(kind, version)
    touched: dict[str, bytes] = {}
    deleted: set[str] = set()

    def change_or_delete(name: str, text: bytes) -> bytes | None:
        lines, new = text.splitlines(keepends=True), mine.fresh.get(name, text).splitlines()
        for tag, start, _, _, _ in SequenceMatcher(None, text.splitlines(), new).get_opcodes():
            if tag == "replace" and len(deleted) >= len(touched):
                touched[name] = lines[start]
                return b"".join([*lines[:start], b"# mine instead\n", *lines[start + 1 :]])
        if len(deleted) > len(touched):
            return text
        deleted.add(name)
        return None

    mine.edit(change_or_delete)
    # What they deleted, they moved, or made a package of.
    for name in deleted:
        moved = (
            name.removesuffix(".py") + "/__init__.py" if name.endswith(".py") else f"mine/{name}"
        )
        write(mine.folder, {moved: mine.base[name].decode() + "# mine\n"})

    assert updated(mine) == touched.keys()

    assert deleted
    assert not deleted & contents(mine.folder).keys()
    for name in touched:
        text = (mine.folder / name).read_bytes()
        assert text.index(MARKERS[0]) < text.index(b"# mine instead\n") < text.index(MARKERS[1])


@each_project
def test_reformatted_files_are_kept_as_they_are_or_conflict(
    kind: Kind, version: str, project: NewProject
) -> None:
    mine = project(kind, version)
    style = ["--config", "line-length = 60", "--config", "format.quote-style = 'single'"]
    subprocess.run(["ruff", "format", "-q", "--no-cache", *style, "."], cwd=mine.folder, check=True)
    mine.edit(
        lambda name, text: (
            (mine.folder / name).read_bytes()
            if name.endswith(".py")
            else text.replace(b"\n", b"\r\n")
        )
    )

    updated(mine)


EDITS: list[Callable[[Random, list[bytes]], list[bytes] | None]] = [
    lambda random, lines: None,
    lambda random, lines: [],
    lambda random, lines: lines[: random.randrange(len(lines) + 1)],
    lambda random, lines: lines[random.randrange(len(lines) + 1) :],
    lambda random, lines: lines[::-1],
    lambda random, lines: [line for line in lines if random.random() < 0.95],
    lambda random, lines: [line if random.random() < 0.95 else b"# mine\n" for line in lines],
    lambda random, lines: [line.replace(b"\n", b"\r\n") for line in lines],
    lambda random, lines: [*lines[:-1], lines[-1].rstrip()] if lines else lines,
    lambda random, lines: [line if line.strip() else b" \t\n" for line in lines],
    lambda random, lines: [b"\xef\xbb\xbf", *lines],
    lambda random, lines: [*lines, "# é 漢 \u2028 🙂\n".encode()],
    lambda random, lines: [*lines, b"<<<<<<< not a marker of Copier\n"],
    lambda random, lines: [
        *lines,
        b"--- a/x\n",
        b"+++ b/x\n",
        b"@@ -1 +1 @@\n",
        b"\\ No newline\n",
    ],
    lambda random, lines: [
        b"A lone \r, \x0b, \x0c, \x1c and \xc2\x85 end no line." + b"x" * 70_000 + b"\n",
        *lines,
    ],
]


@each_project
def test_edits_of_any_kind_are_merged_as_git_merges_them(
    kind: Kind, version: str, project: NewProject
) -> None:
    random = Random(f"{kind.name} {version}")

    def some_edit(name: str, text: bytes) -> bytes | None:
        lines = random.choice(EDITS)(random, text.splitlines(keepends=True))
        return None if lines is None else b"".join(lines)

    mine = project(kind, version)
    mine.edit(some_edit)

    updated(mine)


@each_project
def test_changed_answers_reach_edited_files(
    kind: Kind, version: str, project: NewProject, tmp_path: Path
) -> None:
    answers = {
        "honeycomb_region": "us" if kind.answers.get("honeycomb_region") == "eu" else "eu",
        "honeycomb_plan": "enterprise"
        if kind.answers.get("honeycomb_plan") != "enterprise"
        else "free",
        "modal_secret": "another-secret",
    }
    mine = project(kind, version)
    mine.edit(lambda name, text: b"# mine\n" + text)
    before = contents(mine.folder)
    fresh = tmp_path / "fresh" / "order-intake"
    write(fresh, kind.own)
    mine.template.copy(fresh, CURRENT, kind.answers | answers)
    wanted = managed(contents(fresh))

    mine.update(**answers)

    after = contents(mine.folder)
    assert losses(before, mine.base, after) == []
    assert after == expected(before, mine.base, wanted)


@pytest.mark.parametrize("version", releases())
def test_an_updated_service_passes_its_own_tests(
    version: str, project: NewProject, workshop: Workshop
) -> None:
    mine = project(KINDS[0], version)
    mine.update()

    workshop.install(mine.folder)

    workshop.tool(mine.folder, "ruff", "check", "--no-cache")
    workshop.tool(mine.folder, "mypy")
    assert " passed" in workshop.tool(mine.folder, "pytest", "-q")


@each_project
def test_a_project_of_an_untagged_checkout_is_updated_to_a_release(
    kind: Kind, version: str, template: Template, project: NewProject, tmp_path: Path
) -> None:
    mine = project(kind, version)
    untagged = Template(tmp_path / "untagged")
    git(tmp_path, "clone", "-q", "--no-tags", str(template.folder), str(untagged.folder))
    git(
        untagged.folder,
        "checkout",
        "-q",
        git(template.folder, "rev-parse", f"v{version}^0").strip(),
    )
    shutil.rmtree(mine.folder)
    write(mine.folder, kind.own)
    untagged.copy(mine.folder, "HEAD", kind.answers)
    git(untagged.folder, "fetch", "-q", "--tags")
    git(mine.folder, "init", "-q")

    mine.update()

    after = contents(mine.folder)
    assert without(after, {ANSWERS_FILE}).items() >= without(mine.fresh, {ANSWERS_FILE}).items()
    assert mine.conflicts() == set()


def test_the_releases_differ_in_the_ways_that_an_update_has_to_deal_with(
    template: Template, project: NewProject
) -> None:
    def questions(version: str) -> set[str]:
        settings = yaml.safe_load(git(template.folder, "show", f"v{version}:copier.yml"))
        return {
            name
            for name in settings
            if isinstance(settings[name], dict) and "help" in settings[name]
        }

    comes, changes, goes, asked = set(), set(), set(), set()
    for version in releases():
        mine = project(KINDS[0], version)
        comes |= mine.fresh.keys() - mine.base.keys()
        changes |= {name for name, text in mine.base.items() if mine.fresh.get(name, text) != text}
        goes |= mine.base.keys() - mine.fresh.keys()
        asked |= questions(CURRENT) - questions(version)
        shutil.rmtree(mine.folder)

    assert comes
    assert changes - {ANSWERS_FILE}
    # One that was renamed.
    assert "tests/observability/test_vocabulary.py" in goes
    assert "tests/observability/test_contract.py" in comes
    assert asked


# Those that may change in a project that is there.
ANSWERS = {
    "project_name": ("order-intake", "something-else"),
    "honeycomb_region": REGIONS,
    "honeycomb_plan": PLANS,
    "otlp_protocol": PROTOCOLS,
    "modal_secret": SECRETS,
}
FIXED = [
    ("new", {"package_name": "elsewhere"}, "An update cannot rename the package"),
    ("new", {"layout": "existing"}, "The layout was new from the start"),
    ("package", {"package_dir": "src/other"}, "An update cannot move the package"),
    ("package", {"import_name": "src.acme"}, "An update cannot change how the package is imported"),
    ("package", {"layout": "new"}, "The layout was existing from the start"),
]


@pytest.mark.parametrize(("name", "answers", "sentence"), FIXED)
def test_an_answer_that_would_move_files_cannot_change(
    name: str, answers: dict[str, str], sentence: str, project: NewProject
) -> None:
    [kind] = [kind for kind in KINDS if kind.name == name]
    mine = project(kind, CURRENT)
    before = contents(mine.folder)

    with pytest.raises(ValueError, match=sentence):
        mine.update(**answers)

    assert contents(mine.folder) == before
    assert git(mine.folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", KINDS[::2], ids=lambda kind: kind.name)
def test_no_other_answer_turns_a_file_on_or_off(
    kind: Kind, template: Template, tmp_path: Path
) -> None:
    def names(**answers: str) -> set[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "order-intake"
        write(folder, kind.own)
        template.copy(folder, CURRENT, kind.answers | answers)
        return set(contents(folder))

    every = [
        names(**{question: answer}) for question, answers in ANSWERS.items() for answer in answers
    ]

    # An update would delete what is off, edits included: let a file say that it is off instead.
    assert all(some == every[0] for some in every)


NEXT = "10000.0.0"
MINE = b"# mine\n"


@pytest.fixture(params=KINDS[::2], ids=lambda kind: kind.name)
def later(
    request: pytest.FixtureRequest, template: Template, project: NewProject, tmp_path: Path
) -> Project:
    """A project of the current state with a line of the user's in each file, and a template to change."""
    folder = tmp_path / "later"
    git(tmp_path, "clone", "-q", str(template.folder), str(folder))
    mine = project(request.param, CURRENT)
    mine.template = Template(folder)
    mine.edit(lambda name, text: text + MINE)
    answers = mine.folder / ANSWERS_FILE
    answers.write_text(answers.read_text().replace(str(template.folder), str(folder)))
    return mine


def next_release(project: Project) -> tuple[Files, Files]:
    """Releases the changed template, updates to it, and returns the files before and after."""
    project.template.release(NEXT)
    before = contents(project.folder)
    project.update(NEXT)
    return before, contents(project.folder)


RENDERS_LOGS = "template/{{ package_dir }}/observability/logs.py"


def logs(project: Project) -> str:
    """The file that is changed."""
    [name] = [name for name in project.base if name.endswith("observability/logs.py")]
    return name


@pytest.mark.parametrize("careless", ["delete", "rename"])
def test_a_careless_change_of_the_template_is_found(careless: str, later: Project) -> None:
    source = later.template.folder / RENDERS_LOGS
    source.unlink() if careless == "delete" else source.rename(source.with_name("log_records.py"))

    before, after = next_release(later)

    [loss] = losses(before, later.base, after)
    assert loss.startswith(f"{logs(later)} would be deleted from the user's project: ")
    assert logs(later) not in after


def test_a_file_that_loses_a_line_is_found(later: Project) -> None:
    before = contents(later.folder)

    [loss] = losses(before, later.base, before | {logs(later): later.base[logs(later)]})

    assert loss == f"{logs(later)} loses b'# mine'"


@pytest.mark.parametrize(
    ("later", "new_name"),
    [(KINDS[0], None), (KINDS[2], "log_records.py"), (KINDS[3], None)],
    ids=lambda value: getattr(value, "name", value),
    indirect=["later"],
)
def test_a_retired_file_is_empty_and_an_edit_of_it_a_conflict(
    new_name: str | None, later: Project
) -> None:
    edited = logs(later)
    unedited = edited.replace("logs.py", "ids.py")
    (later.folder / unedited).write_bytes(later.base[unedited])
    source = later.template.folder / RENDERS_LOGS
    source.rename(source.with_name(new_name)) if new_name else source.unlink()
    source.with_name("ids.py").unlink()
    later.template.retire("{{ observability_dir }}/logs.py", "{{ observability_dir }}/ids.py")

    before, after = next_release(later)

    assert losses(before, later.base, after) == []
    assert after[unedited] == b""
    assert after[edited] == b"".join(
        [MARKERS[0], b"\n", later.base[edited], MINE, b"=======\n", MARKERS[1], b"\n"]
    )
    assert later.conflicts() == {edited}
    if new_name:
        assert after[edited.replace("logs.py", new_name)] == later.base[edited]


@pytest.mark.parametrize("kind", KINDS[::2], ids=lambda kind: kind.name)
def test_managed_files_are_updated_and_no_others(
    kind: Kind, template: Template, project: NewProject, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(template.folder), str(tmp_path / "later"))
    mine = project(kind, CURRENT)
    later = Template(tmp_path / "later")
    for source in (later.folder / "template").rglob("*"):
        if source.is_file() and "yield" not in source.name and "answers" not in source.name:
            source.write_text(source.read_text() + "# A fix.\n")
    answers = (mine.folder / ANSWERS_FILE).read_text()
    write(mine.folder, {ANSWERS_FILE: answers.replace(str(template.folder), str(later.folder))})
    later.release(NEXT)
    before = contents(mine.folder)

    mine.update(NEXT)

    after = contents(mine.folder)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {name for name in mine.base if name not in kind.own}
    assert {name.split("/")[0] for name in changed} == {
        "new": {
            ".copier-answers.yml",
            ".env.example",
            ".github",
            ".pre-commit-config.yaml",
            "docs",
            "honeycomb",
            "order_intake",
            "pyproject.toml",
            "tests",
        },
        "package": {".copier-answers.yml", "docs", "honeycomb", "src", "tests"},
    }[kind.name]
    assert {name.split("/")[1] for name in changed if name.startswith("order_intake/")} <= {
        "modal_app.py",
        "observability",
    }


def test_a_new_question_is_answered_by_its_default(later: Project) -> None:
    settings = later.template.folder / "copier.yml"
    settings.write_text(settings.read_text() + "\nalert_channel:\n  type: str\n  default: ops\n")

    before, after = next_release(later)

    assert losses(before, later.base, after) == []
    assert b"alert_channel: ops\n" in after[ANSWERS_FILE]
    assert later.conflicts() == set()
