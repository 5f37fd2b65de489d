"""`copier update` from every release merges managed files and loses no edit."""

import shutil
from collections.abc import Container
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment as Jinja

from hooks.release import releases

from ..conftest import Workshop
from ..depth import in_depth
from ..environments import Environment
from .answer_combinations import PLANS, PROTOCOLS, REGIONS, SECRETS
from .conftest import NewProject
from .edits import END, INSTEAD, MIDDLE, edit_in_every_way
from .projects import (
    ANSWERS_FILE,
    CURRENT,
    KINDS,
    NEXT,
    RETIRED,
    Files,
    Kind,
    Project,
    Template,
    contents,
    executables,
    expected,
    git,
    losses,
    made,
    oldest,
    write,
)

MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")


def label(value: object) -> object:
    return getattr(value, "name", value)


def rows(projects: list[tuple[Kind, str]], plain: list[tuple[Kind, str]]) -> list[object]:
    """The parameters of a test. Those that are not `plain` run in depth only."""
    return [row if row in plain else pytest.param(*row, marks=in_depth) for row in projects]


NEWEST = list(releases())[-1]
# Each kind of project with the oldest release, and new services with the newest too.
ENDS = [*oldest(), (KINDS[0], NEWEST)]

each_project = pytest.mark.parametrize(("kind", "version"), rows(made(), ENDS), ids=label)
# Each layout with each release, and each other kind of project with the oldest.
each_edited = pytest.mark.parametrize(
    ("kind", "version"),
    rows([row for row in made() if row[0] in KINDS[::2] or row in oldest()], ENDS),
    ids=label,
)
each_kind = pytest.mark.parametrize(
    ("kind", "version"), rows(oldest(), oldest()[::2]), ids=label
)
each_layout = pytest.mark.parametrize(
    ("kind", "version"), rows(oldest()[::2], oldest()[:1]), ids=label
)


def without(files: Files, names: Container[str]) -> Files:
    return {name: text for name, text in files.items() if name not in names}


def updated(project: Project) -> set[str]:
    """Update, compare every file with the expected result, and return the files in conflict."""
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
def test_update_without_edits_equals_a_fresh_copy(
    kind: Kind, version: str, project: NewProject
) -> None:
    mine = project(kind, version)
    before = contents(mine.folder)

    assert updated(mine) == set()

    after = contents(mine.folder)
    assert {name: after[name] for name in mine.fresh} == mine.fresh
    # Files that were started once are unchanged, and retired files are empty.
    rest = {name: before[name] for name in before.keys() - mine.fresh.keys()}
    retired = dict.fromkeys(mine.base.keys() - mine.fresh.keys(), b"")
    assert without(after, mine.fresh) == rest | retired


@pytest.mark.parametrize(
    ("name", "value"), [("observability_dir", "../outside"), ("tests_dir", "tests")]
)
def test_computed_value_in_the_answers_file_ends_an_update(
    name: str, value: str, project: NewProject
) -> None:
    mine = project(KINDS[0], CURRENT)
    with (mine.folder / ANSWERS_FILE).open("a") as answers:
        answers.write(f"{name}: {value}\n")
    before = contents(mine.folder)

    with pytest.raises(ValueError, match=f"'{name}': Omit {name}"):
        mine.update()
    assert contents(mine.folder) == before


@each_layout
def test_second_update_to_the_same_release_changes_nothing(
    kind: Kind, version: str, project: NewProject
) -> None:
    mine = project(kind, version)
    mine.update()
    before = contents(mine.folder)

    mine.update()

    assert contents(mine.folder) == before
    assert git(mine.folder, "status", "--porcelain") == ""


@each_edited
def test_edits_of_any_kind_are_merged_as_git_merges_them(
    kind: Kind, version: str, project: NewProject, tmp_path: Path
) -> None:
    mine = project(kind, version)
    edited = edit_in_every_way(mine, tmp_path / "formatted")

    conflicts = updated(mine)

    assert edited.deleted
    after = contents(mine.folder)
    assert not set(edited.deleted) & after.keys()
    assert conflicts >= edited.coming
    for name, edit in edited.edits.items():
        if edit == "add lines":
            assert after[name].count(MIDDLE) == after[name].count(END) == 1, name
        if edit == "same line":
            text = after[name]
            assert text.index(MARKERS[0]) < text.index(INSTEAD) < text.index(MARKERS[1]), name
    assert "same line" in edited.edits.values()


@each_kind
def test_changed_answers_are_merged_into_edited_files(
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
    wanted = {name: text for name, text in contents(fresh).items() if name in mine.fresh}

    mine.update(**answers)

    after = contents(mine.folder)
    assert losses(before, mine.base, after) == []
    assert after == expected(before, mine.base, wanted)


@pytest.mark.parametrize(
    "version",
    [
        version if number == 0 else pytest.param(version, marks=in_depth)
        for number, version in enumerate(releases())
    ],
)
def test_updated_service_passes_its_own_tests(
    version: str, project: NewProject, workshop: Workshop
) -> None:
    mine = project(KINDS[0], version)
    mine.update()

    workshop.install(mine.folder)

    workshop.tool(mine.folder, "ruff", "check", "--no-cache")
    workshop.tool(mine.folder, "mypy")
    assert " passed" in workshop.tool(mine.folder, "pytest", "-q")


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        row if row in oldest() else pytest.param(*row, marks=in_depth)
        for row in made()
        if row[0] in KINDS[2:]
    ],
    ids=label,
)
def test_updated_module_passes_its_tests_in_an_existing_repository(
    kind: Kind, version: str, project: NewProject, newest: Environment
) -> None:
    mine = project(kind, version)
    mine.update()

    done = newest.run(mine.folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@each_layout
def test_project_of_an_untagged_checkout_can_be_updated(
    kind: Kind, version: str, template: Template, project: NewProject, tmp_path: Path
) -> None:
    mine = project(kind, version)
    untagged = Template(tmp_path / "untagged")
    git(tmp_path, "clone", "-q", "--no-tags", str(template.folder), str(untagged.folder))
    commit = git(template.folder, "rev-parse", f"v{version}^0").strip()
    git(untagged.folder, "checkout", "-q", commit)
    shutil.rmtree(mine.folder)
    write(mine.folder, kind.own)
    untagged.copy(mine.folder, "HEAD", kind.answers)
    git(untagged.folder, "fetch", "-q", "--tags")
    git(mine.folder, "init", "-q")

    mine.update()

    # The guide contains the address of the template.
    here, there = (str(each.folder).encode() for each in (untagged, template))
    after = {name: text.replace(here, there) for name, text in contents(mine.folder).items()}
    assert without(after, {ANSWERS_FILE}).items() >= without(mine.fresh, {ANSWERS_FILE}).items()
    assert mine.conflicts() == set()


def test_releases_differ_in_all_ways_that_an_update_must_handle(
    template: Template, project: NewProject
) -> None:
    def questions(version: str) -> set[str]:
        settings = yaml.safe_load(git(template.folder, "show", f"v{version}:copier.yml"))
        return {
            name
            for name in settings
            if isinstance(settings[name], dict) and "help" in settings[name]
        }

    added, changed, dropped, asked = set(), set(), set(), set()
    for version in releases():
        mine = project(KINDS[0], version)
        added |= mine.fresh.keys() - mine.base.keys()
        changed |= {name for name, text in mine.base.items() if mine.fresh.get(name, text) != text}
        dropped |= mine.base.keys() - mine.fresh.keys()
        asked |= questions(CURRENT) - questions(version)
        shutil.rmtree(mine.folder)

    assert added
    assert changed - {ANSWERS_FILE}
    # A renamed file.
    assert "tests/observability/test_vocabulary.py" in dropped
    assert "tests/observability/test_contract.py" in added
    assert asked


def retired_files(template: Template, project: Project) -> dict[str, set[str]]:
    """The paths in hooks/questions/retired.jinja, by the last release that had them."""
    [llm] = [name for name in project.base if name.endswith("observability/llm.py")]
    [contract] = [name for name in project.fresh if name.endswith("/test_contract.py")]
    folders = {"observability_dir": llm.rpartition("/")[0], "tests_dir": contract.rpartition("/")[0]}
    text = (template.folder / RETIRED).read_text()
    return {
        release: set(paths)
        for release, paths in yaml.safe_load(Jinja().from_string(text).render(folders)).items()
    }


@pytest.mark.parametrize(("kind", "version"), made(), ids=label)
def test_managed_file_of_a_release_is_rendered_or_retired(
    kind: Kind, version: str, template: Template, project: NewProject
) -> None:
    mine = project(kind, version)
    retired = retired_files(template, mine)

    known = set().union(*retired.values())
    # Rendered for a new service; an update of an existing repository empties it, which changes nothing.
    known |= {name for name in mine.base if name.endswith("/__init__.py") and "tests/" in name}
    missing = sorted(mine.base.keys() - mine.fresh.keys() - known)

    assert not missing, (
        f"An update would delete files of {version}. If the template dropped them, add the lines to"
        f" {RETIRED}, under the last release that had them:\n"
        + "\n".join(f"  - {name}" for name in missing)
    )
    assert not mine.fresh.keys() & set().union(*retired.values())


def test_retired_files_are_listed_under_the_last_release_that_had_them(
    template: Template, project: NewProject
) -> None:
    last: dict[str, str] = {}
    for version in releases():
        mine = project(KINDS[0], version)
        last |= dict.fromkeys(mine.base, version)
        shutil.rmtree(mine.folder)

    for release, paths in retired_files(template, mine).items():
        for path in paths:
            assert last[path] == release, path


# Answers that may change in a project.
ANSWERS = {
    "project_name": ("order-intake", "something-else"),
    "honeycomb_region": REGIONS,
    "honeycomb_plan": PLANS,
    "otlp_protocol": PROTOCOLS,
    "modal_secret": SECRETS,
}
FIXED = [
    ("new", {"package_name": "elsewhere"}, "An update cannot rename the package"),
    ("new", {"layout": "existing"}, "The layout of this project is new"),
    ("package", {"package_dir": "src/other"}, "An update cannot move the package"),
    ("package", {"import_name": "src.acme"}, "An update cannot change the import name"),
    ("package", {"layout": "new"}, "The layout of this project is existing"),
]


@pytest.mark.parametrize(("name", "answers", "sentence"), FIXED)
def test_answer_that_would_move_files_cannot_change(
    name: str, answers: dict[str, str], sentence: str, reduced_project: NewProject
) -> None:
    [kind] = [kind for kind in KINDS if kind.name == name]
    mine = reduced_project(kind, CURRENT)
    before = contents(mine.folder)

    with pytest.raises(ValueError, match=sentence):
        mine.update(**answers)

    assert contents(mine.folder) == before
    assert git(mine.folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", KINDS[::2], ids=label)
def test_no_other_answer_adds_or_removes_a_file(kind: Kind, sources: Path, tmp_path: Path) -> None:
    def copied(**answers: str) -> Files:
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "order-intake"
        write(folder, kind.own)
        Template(sources).copy(folder, "HEAD", kind.answers | answers)
        # An update empties this one; see below.
        return {n: text for n, text in contents(folder).items() if not n.endswith("/_grpc.py")}

    usual = copied()
    recorded = yaml.safe_load(usual[ANSWERS_FILE])
    changes = [(name, answer) for name, answers in ANSWERS.items() for answer in answers]

    # An update would delete a file that is turned off, edits included.
    for question, answer in changes:
        if recorded.get(question) != answer:
            assert copied(**{question: answer}).keys() == usual.keys(), (question, answer)


MINE = b"# mine\n"


@pytest.fixture(params=KINDS[::2], ids=label)
def later(
    request: pytest.FixtureRequest,
    reduced_template: Template,
    reduced_project: NewProject,
    tmp_path: Path,
) -> Project:
    """A project of the working tree with a line of the user in each file, and a template to change."""
    folder = tmp_path / "later"
    git(tmp_path, "clone", "-q", str(reduced_template.folder), str(folder))
    mine = reduced_project(request.param, CURRENT)
    mine.template = Template(folder)
    mine.edit(lambda name, text: text + MINE)
    answers = mine.folder / ANSWERS_FILE
    answers.write_text(answers.read_text().replace(str(reduced_template.folder), str(folder)))
    return mine


def next_release(project: Project) -> tuple[Files, Files]:
    """Release the changed template, update to it, and return the files before and after."""
    project.template.release(NEXT)
    before = contents(project.folder)
    project.update(NEXT)
    return before, contents(project.folder)


SPANS = "template/{{ observability_dir }}/spans.py"
"""The file that is changed."""


def rendered_spans(project: Project) -> str:
    [name] = [name for name in project.base if name.endswith("observability/spans.py")]
    return name


@pytest.mark.parametrize("careless", ["delete", "rename"])
def test_file_dropped_without_being_retired_is_reported(careless: str, later: Project) -> None:
    source = later.template.folder / SPANS
    source.unlink() if careless == "delete" else source.rename(source.with_name("traced.py"))

    before, after = next_release(later)

    spans = rendered_spans(later)
    [loss] = losses(before, later.base, after)
    assert loss.startswith(f"{spans} would be deleted from the user's project. ")
    assert spans not in after


def test_lost_line_is_reported(project: NewProject) -> None:
    mine = project(KINDS[0], CURRENT)
    spans = rendered_spans(mine)
    before = {spans: mine.base[spans] + MINE}

    [loss] = losses(before, mine.base, {spans: mine.base[spans]})

    assert loss == f"{spans} loses b'# mine'"


@pytest.mark.parametrize(
    ("later", "new_name"),
    [(KINDS[0], None), (KINDS[2], "traced.py"), (KINDS[3], None)],
    ids=label,
    indirect=["later"],
)
def test_retired_file_is_emptied_and_an_edited_one_is_a_conflict(
    new_name: str | None, later: Project
) -> None:
    edited = rendered_spans(later)
    unedited, deleted = edited.replace("spans.py", "llm.py"), edited.replace("spans", "__main__")
    (later.folder / unedited).write_bytes(later.base[unedited])
    (later.folder / deleted).unlink()
    source = later.template.folder / SPANS
    source.rename(source.with_name(new_name)) if new_name else source.unlink()
    source.with_name("llm.py").unlink()
    source.with_name("__main__.py").unlink()
    names = ("spans.py", "llm.py", "__main__.py", "never_rendered.py")
    later.template.retire(*(f"{{{{ observability_dir }}}}/{name}" for name in names))

    before, after = next_release(later)

    assert losses(before, later.base, after) == []
    assert after[unedited] == b""
    assert after[edited] == b"".join(
        [MARKERS[0], b"\n", later.base[edited], MINE, b"=======\n", MARKERS[1], b"\n"]
    )
    assert later.conflicts() == {edited}
    # A retired file that the project does not have is not created.
    assert deleted not in after
    assert edited.replace("spans", "never_rendered") not in after
    if new_name:
        assert after[edited.replace("spans.py", new_name)] == later.base[edited]


def test_retired_file_that_the_user_keeps_is_not_touched_again(later: Project) -> None:
    spans = rendered_spans(later)
    (later.template.folder / SPANS).unlink()
    later.template.retire("{{ observability_dir }}/spans.py")
    next_release(later)
    (later.folder / spans).write_bytes(MINE)
    later.commit()
    later.template.release("10001.0.0")

    later.update("10001.0.0")

    assert contents(later.folder)[spans] == MINE
    assert later.conflicts() == set()


GRPC = "template/{{ observability_dir }}/_grpc.py.jinja"


@pytest.mark.parametrize("edited", [False, True], ids=["unedited", "edited"])
def test_protocol_adds_and_removes_the_grpc_exporter_without_losing_an_edit(
    edited: bool, later: Project
) -> None:
    grpc = rendered_spans(later).replace("spans", "_grpc")
    text = b"EXPORTER = 1\n"
    source = later.template.folder / GRPC
    source.write_text("{% if otlp_protocol == 'grpc' -%}\nEXPORTER = 1\n{% endif -%}\n")
    before, after = next_release(later)
    assert grpc not in after

    later.update(NEXT, otlp_protocol="grpc")
    assert (later.folder / grpc).read_bytes() == text

    if edited:
        (later.folder / grpc).write_bytes(text + MINE)
    later.update(NEXT, otlp_protocol="http/protobuf")
    after = contents(later.folder)
    if edited:
        # The last lines of the guide, which the user has edited, name the protocol.
        assert later.conflicts() - {"docs/observability.md"} == {grpc}
        assert MINE in after[grpc]
    else:
        assert after[grpc] == b""
        (later.folder / grpc).unlink()
        later.update(NEXT)
        assert grpc not in contents(later.folder)
        later.update(NEXT, otlp_protocol="grpc")
        assert (later.folder / grpc).read_bytes() == text


@pytest.mark.parametrize("kind", KINDS[::2], ids=label)
def test_update_changes_managed_files_and_no_others(
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
    assert {name.split("/")[1] for name in changed if name.startswith("tests/")} == {
        "observability"
    }


@pytest.mark.parametrize("later", [KINDS[0]], ids=label, indirect=True)
def test_new_question_gets_its_default(later: Project) -> None:
    settings = later.template.folder / "copier.yml"
    settings.write_text(settings.read_text() + "\nalert_channel:\n  type: str\n  default: ops\n")

    before, after = next_release(later)

    assert losses(before, later.base, after) == []
    assert b"alert_channel: ops\n" in after[ANSWERS_FILE]
    assert later.conflicts() == set()
