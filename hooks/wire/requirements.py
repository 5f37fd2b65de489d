"""The packages that the observability module requires in a repository."""

from collections.abc import Collection, Sequence
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ..llm_sdks import LLM_SDKS
from .dependency_file import DependencyFile, locked_version, newest_in, newest_version, oldest_in
from .plan import Step
from .project import Project

SDK: Final = "opentelemetry-sdk>=1.27,<2"
OLDEST_FASTAPI: Final = Version("0.92")
_FASTAPI_INSTRUMENTATION: Final = "opentelemetry-instrumentation-fastapi>=0.48b0"
_PRICES: Final = "genai-prices>=0.2"
_PYDANTIC_OF_PRICES: Final = Version("2.10")
_GRPC: Final = "grpcio>=1.60"
# The first release with built-in OpenTelemetry support.
_FASTAPI_WITH_TRACING: Final = Version("0.142")


def required_packages(project: Project, file: DependencyFile, sdks: Collection[str]) -> list[str]:
    """Return the requirements of the module in a repository that uses the LLM SDKs `sdks`."""
    requirements = [SDK]
    version = newest_version(project, file, "fastapi")
    if version is not None and version < _FASTAPI_WITH_TRACING:
        requirements.append(_FASTAPI_INSTRUMENTATION)
    if sdks and not excludes_prices(file):
        requirements.append(_PRICES)
    for sdk in LLM_SDKS:
        if sdk.name in sdks and sdk.instrumentation:
            version = newest_version(project, file, sdk.name)
            # Newer releases may be installed than an unknown version.
            if not sdk.traced_since or (version is not None and version < sdk.traced_since):
                requirements.append(sdk.instrumentation)
    if project.answers.get("otlp_protocol") == "grpc":
        requirements.append(_GRPC)
    return sorted(requirements)


def excludes_prices(file: DependencyFile) -> bool:
    """Return True if the file allows only versions of pydantic that genai-prices does not support."""
    newest = newest_in(file.versions.get("pydantic", ""))
    return newest is not None and newest < _PYDANTIC_OF_PRICES


def outdated(project: Project, file: DependencyFile, requirements: Sequence[str]) -> list[Step]:
    """Return a step for each package that is declared or locked in a version below the required."""
    steps: list[Step] = []
    for each in requirements:
        name = package_name(each)
        if name not in file.names:
            continue
        [least] = [
            Version(part.version) for part in Requirement(each).specifier if part.operator == ">="
        ]
        locked, specifier = locked_version(project, file, name), file.versions[name]
        bounds = (newest_in(specifier), oldest_in(specifier))
        if locked is not None and locked < least:
            steps.append(
                Step(f"{name} is locked at {locked}; the module requires {least} or later:", each)
            )
        elif any(bound is not None and bound < least for bound in bounds):
            steps.append(
                Step(
                    f"{file.path} declares {name}{specifier}; the module requires {least} or later:",
                    each,
                )
            )
    return steps


def package_name(requirement: str) -> str:
    """Return the normalized name of the package."""
    return canonicalize_name(Requirement(requirement).name)
