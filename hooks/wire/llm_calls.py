"""Find LLM SDK calls in the service, for example snippets with `llm_call`."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from packaging.requirements import Requirement
from packaging.version import Version

from ..llm_sdks import LLM_SDKS, LLMSDK
from .app_calls import enclosing
from .project import Project
from .source import Source

_NAMES = {
    "anthropic": r"messages\.(?:create|stream|parse)",
    "openai": r"(?:chat\.completions|responses|embeddings)\.(?:create|stream|parse)",
}
_CALLS = {provider: re.compile(rf"(?:^|\.){names}$") for provider, names in _NAMES.items()}


@dataclass(frozen=True)
class SDKCall:
    """A call of an LLM SDK."""

    provider: str
    path: Path
    line: int
    function: str
    """The qualified name of the enclosing function."""
    model: str
    """The expression passed as `model`."""
    call: str
    result: str
    """The variable that the response is assigned to."""
    is_awaited: bool
    is_streamed: bool
    """True if the response is streamed; its usage is then not an attribute of the result."""
    reports_usage: bool
    """False for a stream of OpenAI's chat API that does not request its usage."""
    is_async: bool
    """True if the enclosing function is async."""
    is_generator: bool

    def snippet(self, module: str) -> str:
        """Return the call inside `llm_call`, in the names of the user's code. Not for a stream."""
        name = self.function.rsplit(".", 1)[-1] or "work"
        prefix = "async " if self.is_async else ""
        comment = f"  # {self.function}" if "." in self.function else ""
        wait = "await " if self.is_awaited else ""
        names = "llm_call" if self.is_generator else "llm_call, traced"
        return "\n".join(
            [
                f"from {module} import {names}",
                "",
                # `traced` does not support generators.
                *([] if self.is_generator else [f'@traced("{self.provider}.{name}")']),
                f"{prefix}def {name}(...):{comment}",
                "    ...",
                f'    with llm_call("{self.provider}", {self.model}) as call:',
                f"        {self.result} = {wait}{self.call}(...)",
                f"        call.record_usage({self.result}.usage, model={self.result}.model)",
            ]
        )


def sdks(project: Project, packages: frozenset[str]) -> frozenset[str]:
    """Return the names of the LLM SDKs that are in the declared `packages` or imported."""
    used = {
        sdk
        for sdk in LLM_SDKS
        if (not sdk.marker and packages & sdk.all_packages) or _is_imported(project, sdk)
    }
    return frozenset(name for sdk in used for name in (sdk.name, *sdk.includes))


def sdk_summary(used: frozenset[str]) -> str:
    """Return how the calls of each SDK that is `used` are traced, in one line."""
    found = []
    for sdk in LLM_SDKS:
        if sdk.name in used and sdk.is_covered:
            package = (sdk.instrumentation or "").partition(">")[0]
            how = "traces itself" if sdk.traced_since else f"is traced by {package}"
            found.append(f"{sdk.name} {how}")
        elif sdk.name in used:
            found.append(f"{sdk.name} is not traced (use llm_call)")
    return ", ".join(found)


def sdk_notes(used: frozenset[str]) -> Iterator[str]:
    """Yield what the user has to know about the SDKs `used`."""
    for sdk in LLM_SDKS:
        if sdk.name in used and not sdk.is_covered:
            yield f"Calls of {sdk.name} are not traced automatically. Wrap each in llm_call."
        if sdk.name in used and sdk.warning:
            yield sdk.warning


def sdk_states(
    used: frozenset[str], versions: Mapping[str, str], enabled: Collection[str]
) -> Iterator[str]:
    """Yield if the calls of each SDK that is `used` are traced where the packages `versions` are
    installed, of which the instrumentations `enabled` are in effect."""
    for sdk in LLM_SDKS:
        version = next((versions[each] for each in sdk.all_packages if each in versions), None)
        if sdk.name not in used or version is None:
            continue
        package = sdk.instrumentation and Requirement(sdk.instrumentation).name
        if sdk.traced_since and Version(version) >= sdk.traced_since:
            state = "traces itself"
        elif package in enabled:
            state = f"is traced by {package}"
        elif package in versions:
            state = f"was not imported; if it is, {package} traces it"
        elif package:
            state = f"is not traced. Install {package}"
        else:
            state = "is not traced. Wrap its calls in llm_call"
        yield f"{sdk.name} {state}."


def sdk_calls(project: Project, used: frozenset[str]) -> Iterator[SDKCall]:
    """Yield each call of one of the SDKs `used`."""
    names = "|".join(rf"\b{names}\s*\(" for sdk, names in _NAMES.items() if sdk in used)
    if not names:
        return
    for source in project.sources_matching(re.compile(names.encode())):
        for call in source.nodes(cst.Call):
            if not isinstance(call.func, cst.Attribute):
                continue
            name = source.code(call.func)
            for provider, pattern in _CALLS.items():
                if provider in used and pattern.search(name):
                    yield _sdk_call(source, call, provider)


def _is_imported(project: Project, sdk: LLMSDK) -> bool:
    text = re.split(r"\W", sdk.modules)[0].encode()
    return any(sdk.is_used_in(project.text(path)) for path in project.containing(text))


def _sdk_call(source: Source, call: cst.Call, provider: str) -> SDKCall:
    name = source.code(call.func)
    keywords = {each.keyword.value: source.code(each.value) for each in call.args if each.keyword}
    names: list[str] = []
    parent = enclosing(source, call, (cst.FunctionDef, cst.ClassDef))
    function = parent if isinstance(parent, cst.FunctionDef) else None
    while isinstance(parent, cst.FunctionDef | cst.ClassDef):
        names.insert(0, parent.name.value)
        parent = enclosing(source, parent, (cst.FunctionDef, cst.ClassDef))
    return SDKCall(
        provider,
        source.path,
        source.line(call),
        ".".join(names),
        keywords.get("model", "model"),
        name,
        _result(source, call),
        is_awaited=isinstance(source.parents.get(call), cst.Await),
        is_streamed=name.endswith(".stream") or keywords.get("stream", "False") != "False",
        reports_usage="stream" not in keywords
        or "stream_options" in keywords
        or ".completions." not in name,
        is_async=function is not None and function.asynchronous is not None,
        is_generator=function is not None and _yields(source, function),
    )


def _yields(source: Source, function: cst.FunctionDef) -> bool:
    return any(
        enclosing(source, each, (cst.FunctionDef, cst.Lambda)) is function
        for each in source.nodes(cst.Yield, function.body)
    )


def _result(source: Source, call: cst.Call) -> str:
    parent = source.parents.get(call)
    if isinstance(parent, cst.Await):
        parent = source.parents.get(parent)
    if isinstance(parent, cst.Assign) and isinstance(parent.targets[0].target, cst.Name):
        return parent.targets[0].target.value
    return "answer"
