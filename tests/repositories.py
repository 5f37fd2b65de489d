"""Small repositories of the shapes that are found in the wild: their files, and what `wire` does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

NOTHING: Final[Mapping[str, str | bytes]] = {}
HELLO: Final = """

@app.get("/hello/{name}")
async def hello(name: str) -> str:
    return name
"""
PYPROJECT: Final = """\
[project]
name = "acme"
version = "1"
requires-python = ">=3.11"
dependencies = [
    "fastapi",
    "uvicorn",
]
"""


@dataclass(frozen=True)
class Repository:
    """One repository: its files before, and what is expected of `wire`."""

    name: str
    files: dict[str, str | bytes]
    added: dict[str, list[str]] = field(default_factory=dict)
    """Lines that are added, by file."""
    said: tuple[str, ...] = ()
    """What the summary says."""
    code: int = 0
    app: str | None = None
    served: str = ""
    """`module:name` of what is started, to be asked; empty where it cannot run here."""
    root: str = "."
    """The folder that its imports count from."""
    replaced: int = 0
    """Lines that are changed rather than added: those of a list on one line."""


def server(text: str, more: Mapping[str, str | bytes] = NOTHING) -> dict[str, str | bytes]:
    return {"acme/__init__.py": "", "acme/main.py": text, "pyproject.toml": PYPROJECT, **more}


IMPORT: Final = "from acme.observability import instrument_app"
CALL: Final = "instrument_app(app)"
SDK: Final = '    "opentelemetry-sdk>=1.27,<2",'
PLAIN: Final = "from fastapi import FastAPI\n\napp = FastAPI()\n" + HELLO


def wired(
    name: str,
    text: str | bytes,
    lines: list[str] | None = None,
    more: Mapping[str, str | bytes] = NOTHING,
) -> Repository:
    """One with a server in acme/main.py that is wired."""
    files: dict[str, str | bytes] = {
        "acme/__init__.py": "", "acme/main.py": text, "pyproject.toml": PYPROJECT, **more,
    }  # fmt: skip
    added = {"acme/main.py": lines or ["", IMPORT, CALL], "pyproject.toml": [SDK]}
    return Repository(name, files, added, served="acme.main:app")


def refused(
    name: str, text: str, *said: str, code: int = 1, more: Mapping[str, str | bytes] = NOTHING
) -> Repository:
    """One with a server in acme/main.py that is left alone, with the line and the snippet."""
    files: dict[str, str | bytes] = {
        "acme/__init__.py": "", "acme/main.py": text, "pyproject.toml": PYPROJECT, **more,
    }  # fmt: skip
    return Repository(name, files, {"pyproject.toml": [SDK]} if code == 1 else {}, said, code)


SERVERS: Final = [
    wired("module level", PLAIN),
    wired("annotated", PLAIN.replace("app = ", "app: FastAPI = ")),
    wired("alias of the module", "import fastapi as fa\n\napp = fa.FastAPI()\n" + HELLO),
    wired("alias of the class", "from fastapi import FastAPI as F\n\napp = F()\n" + HELLO),
    wired("full name", "import fastapi\n\napp = fastapi.FastAPI()\n" + HELLO),
    wired(
        "subclass",
        "from fastapi import FastAPI\n\n\nclass API(FastAPI):\n    pass\n\n\napp = API()\n" + HELLO,
    ),
    wired(
        "subclass elsewhere",
        "from acme.base import API\n\napp = API()\n" + HELLO,
        [IMPORT, CALL],
        more={"acme/base.py": "from fastapi import FastAPI\n\n\nclass API(FastAPI):\n    pass\n"},
    ),
    wired(
        "several lines",
        'from fastapi import FastAPI\n\napp = FastAPI(\n    title="x",\n    # why\n    version="1",\n)  # made\n' + HELLO,
    ),
    wired(
        "factory",
        "from fastapi import FastAPI\n\n\ndef create_app() -> FastAPI:\n    app = FastAPI()\n\n"
        '    @app.get("/hello/{name}")\n    async def hello(name: str) -> str:\n        return name\n\n'
        "    return app\n\n\napp = create_app()\n",
        ["", IMPORT, "    instrument_app(app)"],
    ),
    wired(
        "factory with tabs",
        "from fastapi import FastAPI\n\ndef create_app():\n\tapi = FastAPI()\n"
        '\tapi.get("/hello/{name}")(lambda name: name)\n\treturn api\n\napp = create_app()\n',
        ["", IMPORT, "\tinstrument_app(api)"],
    ),
    wired(
        "both branches",
        "import os\n\nfrom fastapi import FastAPI\n\nif os.environ.get('DOCS'):\n    app = FastAPI()\n"
        "else:\n    app = FastAPI(title='x')\n" + HELLO,
    ),
    wired(
        "one branch",
        "from fastapi import FastAPI\n\ntry:\n    app = FastAPI()\nfinally:\n    pass\n" + HELLO,
        ["", IMPORT, "    instrument_app(app)"],
    ),
    wired(
        "mounted children",
        "from fastapi import FastAPI\n\nchild = FastAPI()\napp = FastAPI()\napp.mount('/child', child)\n" + HELLO,
    ),
    wired(
        "wrapped later",
        "from fastapi import FastAPI\nfrom fastapi.middleware.cors import CORSMiddleware\n\napp = FastAPI()\n"
        + HELLO + "\n\nprinted = CORSMiddleware(app)\n",
    ),
    wired(
        "docstring and future",
        '"""A server."""\n\nfrom __future__ import annotations\n\nfrom fastapi import FastAPI\n\napp = FastAPI()\n' + HELLO,
    ),
    wired("shebang and coding", "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n" + PLAIN),
    wired("latin-1", ("# -*- coding: latin-1 -*-\n# Größe\n" + PLAIN).encode("latin-1")),
    wired("byte order mark", b"\xef\xbb\xbf" + PLAIN.encode()),
    wired("carriage returns", PLAIN.replace("\n", "\r\n").encode()),
    wired(
        "no final newline",
        "from fastapi import FastAPI, APIRouter\n\nrouter = APIRouter()\n\n"
        '@router.get("/hello/{name}")\ndef hello(name: str): return name\n\n'
        "app = FastAPI(); app.include_router(router)",
    ),
    wired("semicolons", PLAIN.replace("app = FastAPI()", "app = FastAPI(); version = 1")),
    wired("comments", PLAIN.replace("app = FastAPI()", "# before\napp = FastAPI()  # after\n# below")),
    wired(
        "newer syntax",
        PLAIN + "\n\nclass Box[T]:\n    pass\n\n\ntype Name = str\n",
        None,
    ),
    wired(
        "sorted imports",
        "import os\n\nfrom fastapi import FastAPI\n\nfrom acme.models import X\nfrom acme.settings import Y\n\n"
        "app = FastAPI(title=X + Y + os.sep)\n" + HELLO,
        [IMPORT, CALL],
        more={"acme/models.py": "X = 'x'\n", "acme/settings.py": "Y = 'y'\n"},
    ),
    wired(
        "a module named as a package",
        "import redis\nfrom fastapi import FastAPI\n\nfrom acme.models import X\n\napp = FastAPI(title=X)\n" + HELLO,
        [IMPORT, CALL],
        more={"acme/models.py": "X = 'x'\n", "acme/redis.py": ""},
    ),
    wired(
        "relative imports",
        "from fastapi import FastAPI\n\nfrom .models import X\nfrom .settings import Y\n\napp = FastAPI(title=X + Y)\n" + HELLO,
        ["from .observability import instrument_app", CALL],
        more={"acme/models.py": "X = 'x'\n", "acme/settings.py": "Y = 'y'\n"},
    ),
    wired(
        "the name is taken",
        PLAIN + "\n\ndef instrument_app() -> None: ...\n",
        ["", f"{IMPORT} as instrument_honeycomb_app", "instrument_honeycomb_app(app)"],
    ),
    wired(
        "code before imports",
        "import os\n\nos.environ.setdefault('A', 'b')\n\nfrom fastapi import FastAPI\n\napp = FastAPI()\n" + HELLO,
    ),
]  # fmt: skip

LAYOUTS: Final = [
    Repository(
        "src layout",
        {"src/acme/__init__.py": "", "src/acme/api/__init__.py": "", "src/acme/api/server.py": PLAIN, "pyproject.toml": PYPROJECT},
        {"src/acme/api/server.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme.api.server:app", root="src",
    ),
    Repository(
        "nested relative",
        {"acme/__init__.py": "", "acme/api/__init__.py": "", "acme/x.py": "X = 'x'\n", "pyproject.toml": PYPROJECT,
         "acme/api/server.py": "from fastapi import FastAPI\n\nfrom ..x import X\n\napp = FastAPI(title=X)\n" + HELLO},
        {"acme/api/server.py": ["from ..observability import instrument_app", CALL], "pyproject.toml": [SDK]},
        served="acme.api.server:app",
    ),
    Repository(
        "backend folder",
        {"backend/app/__init__.py": "", "backend/app/main.py": PLAIN, "backend/requirements.txt": "fastapi\nuvicorn\n",
         "backend/Dockerfile": "FROM python\nRUN pip install -r requirements.txt\nCMD uvicorn app.main:app\n"},
        {"backend/app/main.py": ["", "from app.observability import instrument_app", CALL],
         "backend/requirements.txt": ["opentelemetry-sdk>=1.27,<2"]},
        served="app.main:app", root="backend",
    ),
    Repository(
        "flat",
        {"main.py": PLAIN, "requirements.txt": "fastapi\nuvicorn"},
        {"main.py": ["", "from observability import instrument_app", CALL],
         "requirements.txt": ["opentelemetry-sdk>=1.27,<2"]},
        served="main:app",
    ),
    Repository(
        "flat backend",
        {"backend/main.py": "from fastapi import FastAPI\n\nfrom settings import X\n\napp = FastAPI(title=X)\n" + HELLO,
         "backend/settings.py": "X = 'x'\n", "backend/requirements.txt": "fastapi\n"},
        {"backend/main.py": ["from observability import instrument_app", CALL],
         "backend/requirements.txt": ["opentelemetry-sdk>=1.27,<2"]},
        served="main:app", root="backend",
    ),
    Repository(
        "out of reach",
        {"requirements.txt": "fastapi\n", "acme/main.py": "", "web/store/main.py": "from fastapi import FastAPI\n\nfrom store.x import X\n\napp = FastAPI(title=X)\n",
         "web/store/x.py": "X = 'x'\n", "web/store/__init__.py": ""},
        said=("web/store/main.py imports from web", "--data package_dir=web/store"), code=2,
    ),
    Repository(
        "their instrumentation",
        server("from fastapi import FastAPI\nfrom opentelemetry.instrumentation.fastapi import FastAPIInstrumentor\n\napp = FastAPI()\n\nFastAPIInstrumentor.instrument_app(app)\n"),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        ("acme/main.py:6 sets FastAPIInstrumentor up: take that line out",),
    ),
    Repository(
        "entrypoint decides",
        server(PLAIN, more={"acme/admin.py": PLAIN, "pyproject.toml": PYPROJECT + '\n[tool.fastapi]\nentrypoint = "acme.admin:app"\n'}),
        {"acme/admin.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme.admin:app",
    ),
    Repository(
        "a Dockerfile decides",
        server(PLAIN, more={"acme/admin.py": PLAIN, "Dockerfile": 'CMD ["uvicorn", "acme.admin:app", "--port", "80"]\n'}),
        {"acme/admin.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme.admin:app",
    ),
    Repository(
        "a tie is a question",
        {"pyproject.toml": PYPROJECT, "acme/__init__.py": "", "acme/one.py": PLAIN, "acme/two.py": PLAIN},
        said=("Several applications may be the one that is served", "--app acme.one:app", "--app acme.two:app"), code=2,
    ),
    Repository(
        "a tie that is answered",
        {"pyproject.toml": PYPROJECT, "acme/__init__.py": "", "acme/one.py": PLAIN, "acme/two.py": PLAIN},
        {"acme/two.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        app="acme.two:app", served="acme.two:app",
    ),
]  # fmt: skip

REFUSED: Final = [
    refused("returned", "from fastapi import FastAPI\n\n\ndef make():\n    return FastAPI()\n", "acme/main.py:5", "it is returned at once", IMPORT),
    refused("conditional expression", "from fastapi import FastAPI\n\napp = FastAPI() if 1 else FastAPI()\n", "acme/main.py:3", "conditional expression"),
    refused("walrus", "from fastapi import FastAPI\n\nif (app := FastAPI()):\n    pass\n", "acme/main.py:3", "within an expression"),
    refused("attribute", "from fastapi import FastAPI\n\n\nclass Server:\n    def __init__(self):\n        self.app = FastAPI()\n", "acme/main.py:6", "instrument_app(self.app)"),
    refused("wrapped at once", "from fastapi import FastAPI\nfrom x import Wrap\n\napp = Wrap(FastAPI())\n", "acme/main.py:4", "handed to another call"),
    refused("one line", "from fastapi import FastAPI\n\nif 1: app = FastAPI()\n", "acme/main.py:3", "on the line of its"),
    refused("star import", "from fastapi import *\n\napp = FastAPI()\n", "acme/main.py imports everything of fastapi", code=2),
    refused("another package's factory", "from vendor import create\n\napp = create()\n", "acme/main.py gets app from another package", code=2, more={"Procfile": "web: uvicorn acme.main:app\n"}),
    refused("no Python", "from fastapi import FastAPI\n\napp = FastAPI(\n", "acme/main.py", "does not parse", code=2),
    refused("both names are taken", PLAIN + "instrument_app = instrument_honeycomb_app = 1\n", "uses the names"),
    refused("too old", PLAIN, "FastAPI 0.88 is too old", code=2, more={"pyproject.toml": PYPROJECT.replace('"fastapi"', '"fastapi==0.88"')}),
    refused("their OpenTelemetry", PLAIN, "acme/tracing.py:3 sets OpenTelemetry up", "instrument_app(app)", more={
        "acme/tracing.py": "from opentelemetry import trace\n\ntrace.set_tracer_provider(object())\n"}),
    refused("their Logfire", PLAIN + "\nlogfire.configure()\n", "sets Logfire up"),
    refused("their Datadog", "import ddtrace\n" + PLAIN, "acme/main.py:1 sets Datadog up", "--beside"),
    refused("their New Relic", "import newrelic.agent\n\nnewrelic.agent.initialize('x')\n" + PLAIN, "sets New Relic up"),
]  # fmt: skip
REFUSED[11:] = [Repository(each.name, each.files, {}, each.said, 1) for each in REFUSED[11:]]

BESIDE: Final = [
    wired(
        "their provider first",
        "from fastapi import FastAPI\nfrom opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n\n"
        "trace.set_tracer_provider(TracerProvider())\napp = FastAPI()\n" + HELLO,
    ),
    wired(
        "their provider in a function",
        "from fastapi import FastAPI\n\nfrom acme.tracing import setup_tracing\n\nsetup_tracing()\napp = FastAPI()\n" + HELLO,
        [IMPORT, CALL],
        more={"acme/tracing.py": "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n\n\n"
              "def setup_tracing():\n    trace.set_tracer_provider(TracerProvider())\n"},
    ),
    wired("Sentry", PLAIN.replace("app =", "def report() -> None:\n    sentry_sdk.init()\n\n\napp =")),
]  # fmt: skip


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
    dependencies("one line", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = ["fastapi"]\n',
                 ['dependencies = ["opentelemetry-sdk>=1.27,<2", "fastapi"]'], 1),
    dependencies("no comma, comments", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = [\n  # web\n  "fastapi", # x\n  "zeep"\n]\n',
                 ['  "opentelemetry-sdk>=1.27,<2",']),
    dependencies("last in order, no comma", "pyproject.toml", '[project]\nname = "acme"\nversion = "1"\ndependencies = [\n    "anyio",\n    "fastapi[standard]"\n]\n',
                 [SDK]),
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
    Repository("an LLM call out of reach", {"app/__init__.py": "", "app/main.py": PLAIN, "requirements.txt": "fastapi\nopenai\n",
               "tool/run.py": "import helper\n\nhelper.client.chat.completions.create(model='x')\n", "tool/helper.py": ""},
               {"app/main.py": ["", "from app.observability import instrument_app", CALL],
                "requirements.txt": ["genai-prices>=0.2", "opentelemetry-instrumentation-genai-openai>=1.0b0", "opentelemetry-sdk>=1.27,<2"]},
               served="app.main:app"),
    dependencies("just below", "pyproject.toml", PYPROJECT.replace('"fastapi"', '"fastapi<0.142"'), [CONTRIB, SDK]),
    Repository("hashes", {"acme/__init__.py": "", "acme/main.py": PLAIN, "requirements.txt": "fastapi==0.150 --hash=sha256:00\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("requirements.txt holds hashes", "opentelemetry-sdk>=1.27,<2"), served="acme.main:app"),
    Repository("an SDK that is too old", {"acme/__init__.py": "", "acme/main.py": PLAIN, "requirements.txt": "fastapi\nopentelemetry-sdk==1.20.0\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("requirements.txt has opentelemetry-sdk==1.20.0; the module needs 1.27.", "opentelemetry-sdk>=1.27,<2")),
    Repository("an SDK that may be too old", server(PLAIN, more={"pyproject.toml": PYPROJECT.replace('"fastapi"', '"fastapi",\n    "opentelemetry-sdk~=1.20"')}),
               {"acme/main.py": ["", IMPORT, CALL]}, ("pyproject.toml has opentelemetry-sdk~=1.20; the module needs 1.27.",)),
    Repository("an SDK that is locked too old", server(PLAIN, more={"pyproject.toml": PYPROJECT.replace('"fastapi"', '"fastapi",\n    "opentelemetry-sdk"'),
               "uv.lock": '[[package]]\nname = "opentelemetry-sdk"\nversion = "1.26.0"\n'}),
               {"acme/main.py": ["", IMPORT, CALL]}, ("opentelemetry-sdk is locked at 1.26.0, and the module needs 1.27.",)),
    Repository("older Python", server(PLAIN, more={"pyproject.toml": PYPROJECT.replace(">=3.11", ">=3.9")}),
               {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]}, ("lets in Python before 3.11",), served="acme.main:app"),
    Repository("setup.py only", {"acme/__init__.py": "", "acme/main.py": PLAIN, "setup.py": "from setuptools import setup\nsetup(install_requires=['fastapi'])\n"},
               {"acme/main.py": ["", IMPORT, CALL]}, ("install these yourself",), served="acme.main:app"),
    Repository("LLM calls", server(
        PLAIN + "\n\nclass Claude:\n    async def answer(self, text: str) -> str:\n"
        "        message = await self.client.messages.create(model=self.model, max_tokens=9, messages=[text])\n        return str(message)\n",
        more={"pyproject.toml": PYPROJECT.replace('    "fastapi",', '    "anthropic",\n    "fastapi",\n    "openai",')}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [
            '    "genai-prices>=0.2",', '    "opentelemetry-instrumentation-genai-openai>=1.0b0",', SDK]},
        ("acme/main.py:13", 'with llm_call("anthropic", self.model)', "Claude.answer"), served="acme.main:app"),
]  # fmt: skip

IMAGE: Final = 'image = modal.Image.debian_slim().pip_install("fastapi")\n'
OURS: Final = 'modal.Secret.from_name("honeycomb-secrets")'
PACKAGES: Final = (
    'image = modal.Image.debian_slim().pip_install("opentelemetry-sdk>=1.27,<2", "fastapi")'
)


def modal(
    name: str,
    function: str,
    lines: list[str],
    *,
    head: str = "import modal\n\napp = modal.App('x')\n",
    image: str = IMAGE,
    replaced: int = 0,
    said: tuple[str, ...] = (),
    packages: list[str] | None = None,
) -> Repository:
    text = f"{head}{image}\n\n{function}\n@modal.asgi_app()\ndef serve():\n    from acme.main import app as api\n\n    return api\n"
    added = [*([PACKAGES] if packages is None else packages), *lines]
    changed = {"acme/deploy.py": added} if added else {}
    return Repository(
        name,
        server(PLAIN, more={"acme/deploy.py": text}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], **changed},
        said,
        replaced=replaced + (1 if packages is None else 0),
        served="acme.main:app",
    )


MODAL: Final = [
    modal("no secrets", "@app.function(image=image)", [f"@app.function(secrets=[{OURS}], image=image)"], replaced=1,
          said=("modal secret create honeycomb-secrets",)),
    modal("no secrets, lines", "@app.function(\n    image=image,\n    timeout=60,\n)", [f"    secrets=[{OURS}],"]),
    modal("one secret", '@app.function(image=image, secrets=[modal.Secret.from_name("a")])',
          [f'@app.function(image=image, secrets=[{OURS}, modal.Secret.from_name("a")])'], replaced=1),
    modal("secrets on lines", '@app.function(\n    image=image,\n    secrets=[\n        modal.Secret.from_name("a"),\n        modal.Secret.from_name("b")\n    ],\n)',
          [f"        {OURS},"]),
    modal("secrets by name", "@app.function(image=image, secrets=SECRETS)", [f"@app.function(image=image, secrets=[*(SECRETS), {OURS}])"],
          head='import modal\n\napp = modal.App("x")\nSECRETS = [modal.Secret.from_name("a")]\n', replaced=1),
    modal("secrets by condition", "@app.function(image=image, secrets=[] if x else [y])",
          [f"@app.function(image=image, secrets=[*([] if x else [y]), {OURS}])"], replaced=1),
    modal("starred condition", "@app.function(image=image, secrets=[*([x] if x else [])])",
          [f"@app.function(image=image, secrets=[{OURS}, *([x] if x else [])])"], replaced=1),
    modal("at the level of the App", "@app.function(image=image)", [],
          head='import modal\n\napp = modal.App("x", secrets=[modal.Secret.from_name("honeycomb-secrets")])\n'),
    modal("uv_sync", "@app.function(image=image)", [f"@app.function(secrets=[{OURS}], image=image)"], replaced=1,
          image="image = modal.Image.debian_slim().uv_sync()\n", packages=[]),
    modal("packages on lines", "@app.function(\n    image=image,\n)", [f"    secrets=[{OURS}],"],
          image='image = (\n    modal.Image.debian_slim()\n    .pip_install(\n        "fastapi",\n        "httpx",\n    )\n    .add_local_python_source("acme")\n)\n',
          packages=['        "opentelemetry-sdk>=1.27,<2",']),
    modal("image elsewhere", "@app.function(image=base)", [f"@app.function(secrets=[{OURS}], image=base)"], replaced=1,
          head="import modal\n\nfrom acme.images import base\n\napp = modal.App('x')\n", image="", packages=[],
          said=("acme/deploy.py", "add the packages to it", ".pip_install")),
    modal("stub", "@stub.function(image=image)", [], head="import modal\n\nstub = modal.Stub('x')\n", packages=[],
          said=("is written for a Modal before 1.0", "secrets=[modal.Secret")),
    Repository(
        "on a class", server(PLAIN, more={"acme/deploy.py": 'import modal\n\napp = modal.App("x")\n\n\n@app.cls(\n    image=modal.Image.debian_slim().uv_sync(),\n)\nclass Web:\n    @modal.asgi_app()\n    def serve(self):\n        from .main import app\n\n        return app\n'}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], "acme/deploy.py": [f"    secrets=[{OURS}],"]},
        served="acme.main:app",
    ),
    Repository(
        "made inside the function", {"pyproject.toml": PYPROJECT, "acme/__init__.py": "", "acme/deploy.py":
            'import modal\n\nmodal_app = modal.App("x")\n\n\n@modal_app.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\n@modal.asgi_app()\ndef serve():\n    from fastapi import FastAPI\n\n    app = FastAPI()\n\n    @app.get("/")\n    def index():\n        return 1\n\n    return app\n'},
        {"acme/deploy.py": [f"    secrets=[{OURS}],", "    from acme.observability import instrument_app", "    instrument_app(app)"],
         "pyproject.toml": [SDK]},
    ),
    Repository(
        "serves something else", server(PLAIN, more={"acme/deploy.py": "import modal\n\napp = modal.App('x')\n\n\n@app.function(secrets=[])\n@modal.asgi_app()\ndef other():\n    from vendor.web import app\n\n    return app\n"}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        ("No function of Modal serves acme.main:app", "@modal.asgi_app()"), served="acme.main:app",
    ),
]  # fmt: skip

ALL: Final = [*SERVERS, *LAYOUTS, *REFUSED, *BESIDE, *DEPENDENCIES, *MODAL]
