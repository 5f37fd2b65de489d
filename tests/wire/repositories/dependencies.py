"""Repositories with all kinds of dependency files."""

from collections.abc import Mapping
from typing import Final

from .base import CALL, IMPORT, NOTHING, PLAIN, PYPROJECT, SDK, Repository, server


def dependencies(
    name: str,
    path: str,
    text: str,
    lines: list[str],
    replaced: int = 0,
    more: Mapping[str, str | bytes] = NOTHING,
) -> Repository:
    files: dict[str, str | bytes] = {
        "acme/__init__.py": "",
        "acme/main.py": PLAIN,
        path: text,
        **more,
    }
    return Repository(
        name,
        files,
        {"acme/main.py": ["", IMPORT, CALL], path: lines},
        served="acme.main:app",
        replaced=replaced,
    )


POETRY: Final = (
    '[tool.poetry]\nname = "acme"\n\n[tool.poetry.dependencies]\npython = "^3.11"\nfastapi = "{}"\n'
)
CONTRIB: Final = '    "opentelemetry-instrumentation-fastapi>=0.48b0",'
DEPENDENCIES: Final = [
    Repository("pydantic that genai-prices does not support", {"acme/__init__.py": "", "acme/main.py": PLAIN, "acme/llm.py": "import openai\n", "requirements.txt": "fastapi>=0.142\nopenai\npydantic==2.9.2\n"},
               {"acme/main.py": ["", IMPORT, CALL], "requirements.txt": ["opentelemetry-instrumentation-genai-openai>=1.0b0", "opentelemetry-sdk>=1.27,<2"]},
               ("requirements.txt allows no pydantic that genai-prices supports (2.10 or later)",)),
    dependencies("one line", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = ["fastapi"]\n',
                 ['dependencies = ["fastapi", "opentelemetry-sdk>=1.27,<2"]'], 1),
    dependencies("no comma, comments", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = [\n  # web\n  "fastapi", # x\n  "zeep"\n]\n',
                 ['  "opentelemetry-sdk>=1.27,<2",']),
    dependencies("last in order, no comma", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = [\n    "anyio",\n    "fastapi[standard]"\n]\n',
                 ['    "fastapi[standard]",', '    "opentelemetry-sdk>=1.27,<2"'], 1),
    dependencies("empty", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = []\n',
                 ['dependencies = ["opentelemetry-sdk>=1.27,<2"]'], 1),
    dependencies("pinned", "pyproject.toml", PYPROJECT.replace('"fastapi"', '"fastapi==0.115.2"'), [CONTRIB, SDK]),
    dependencies("below", "pyproject.toml", PYPROJECT.replace('"fastapi"', '"fastapi>=0.100,<0.130"'), [CONTRIB, SDK]),
    dependencies("poetry", "pyproject.toml", POETRY.format("*"), ['opentelemetry-sdk = ">=1.27,<2"']),
    dependencies("poetry caret", "pyproject.toml", POETRY.format("^0.110"),
                 ['opentelemetry-instrumentation-fastapi = ">=0.48b0"', 'opentelemetry-sdk = ">=1.27,<2"']),
    dependencies("locked", "pyproject.toml", PYPROJECT, [CONTRIB, SDK],
                 more={"uv.lock": '[[package]]\nname = "fastapi"\nversion = "0.120.1"\n'}),
    dependencies("pdm and hatch", "pyproject.toml", PYPROJECT + '\n[tool.pdm]\n[build-system]\nrequires = ["hatchling"]\n', [SDK]),
    dependencies("requirements with returns", "requirements.txt", "fastapi\r\nuvicorn\r\n", ["opentelemetry-sdk>=1.27,<2"]),
    dependencies("requirements.in", "requirements.in", "fastapi\n", ["opentelemetry-sdk>=1.27,<2"], more={"requirements.txt": "fastapi==0.150.0\n"}),
    Repository("LLM call outside the import root", {"app/__init__.py": "", "app/main.py": PLAIN, "requirements.txt": "fastapi\nopenai\n",
               "tool/run.py": "import helper\n\nhelper.client.chat.completions.create(model='x')\n", "tool/helper.py": ""},
               {"app/main.py": ["", "from app.observability import instrument_app", CALL],
                "requirements.txt": ["genai-prices>=0.2", "opentelemetry-instrumentation-genai-openai>=1.0b0", "opentelemetry-sdk>=1.27,<2"]},
               served="app.main:app", package_dir="app", import_name="app"),
    dependencies("just below", "pyproject.toml", PYPROJECT.replace('"fastapi"', '"fastapi<0.142"'), [CONTRIB, SDK]),
    Repository("hashes", {"acme/__init__.py": "", "acme/main.py": PLAIN, "requirements.txt": "fastapi==0.150 --hash=sha256:00\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("requirements.txt contains hashes", "opentelemetry-sdk>=1.27,<2"), served="acme.main:app"),
    Repository("SDK is too old", {"acme/__init__.py": "", "acme/main.py": PLAIN, "requirements.txt": "fastapi\nopentelemetry-sdk==1.20.0\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("requirements.txt declares opentelemetry-sdk==1.20.0; the module requires 1.27 or later:", "opentelemetry-sdk>=1.27,<2")),
    Repository("SDK may be too old", server(PLAIN, more={"pyproject.toml": PYPROJECT.replace('"fastapi"', '"fastapi",\n    "opentelemetry-sdk~=1.20"')}),
               {"acme/main.py": ["", IMPORT, CALL]}, ("pyproject.toml declares opentelemetry-sdk~=1.20; the module requires 1.27 or later:",)),
    Repository("locked SDK is too old", server(PLAIN, more={"pyproject.toml": PYPROJECT.replace('"fastapi"', '"fastapi",\n    "opentelemetry-sdk"'),
               "uv.lock": '[[package]]\nname = "opentelemetry-sdk"\nversion = "1.26.0"\n'}),
               {"acme/main.py": ["", IMPORT, CALL]}, ("opentelemetry-sdk is locked at 1.26.0; the module requires 1.27 or later:",)),
    Repository("older Python", server(PLAIN, more={"pyproject.toml": PYPROJECT.replace(">=3.11", ">=3.9")}),
               {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]}, ("allows Python 3.10 and earlier; the module requires 3.11 or later. Raise the lower bound",), served="acme.main:app"),
    Repository("conda environment", {"acme/__init__.py": "", "acme/main.py": PLAIN,
               "environment.yml": "name: acme\ndependencies:\n  - python=3.12\n  - fastapi=0.115\n  - pip:\n      - uvicorn\n",
               "Dockerfile": "FROM condaforge/miniforge3\nWORKDIR /app\nCOPY . .\nRUN conda env create -f environment.yml\nCMD conda run -n acme uvicorn acme.main:app\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("environment.yml is not edited. Add these packages below `pip:` in it:\n    opentelemetry-instrumentation-fastapi>=0.48b0\n    opentelemetry-sdk>=1.27,<2\n",
               "packages from environment.yml"), served="acme.main:app"),
    Repository("setup.py only", {"acme/__init__.py": "", "acme/main.py": PLAIN, "setup.py": "from setuptools import setup\nsetup(install_requires=['fastapi'])\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("Install these packages",), served="acme.main:app"),
    Repository("LLM calls", server(
        PLAIN + "\n\nclass Claude:\n    async def answer(self, text: str) -> str:\n"
        "        message = await self.client.messages.create(model=self.model, max_tokens=9, messages=[text])\n        return str(message)\n",
        more={"pyproject.toml": PYPROJECT.replace('    "fastapi",', '    "anthropic",\n    "fastapi",\n    "openai",')}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [
            '    "genai-prices>=0.2",', '    "opentelemetry-instrumentation-genai-openai>=1.0b0",', SDK]},
        ("acme/main.py:16", 'with llm_call("anthropic", self.model)', "Claude.answer"), served="acme.main:app"),
]  # fmt: skip
