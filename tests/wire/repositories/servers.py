"""Repositories that are wired: ways of creating the application, and layouts."""

from typing import Final

from .base import CALL, HELLO, IMPORT, PLAIN, PYPROJECT, SDK, Repository, server, wired

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
        "module with the name of a package",
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
        "name is used",
        PLAIN + "\n\ndef instrument_app() -> None: ...\n",
        ["", f"{IMPORT} as instrument_honeycomb_app", "instrument_honeycomb_app(app)"],
    ),
    wired(
        "code before imports",
        "import os\n\nos.environ.setdefault('A', 'b')\n\nfrom fastapi import FastAPI\n\napp = FastAPI()\n" + HELLO,
    ),
    wired("imports below the application in its function", "from fastapi import FastAPI\n\n\ndef make():\n    app = FastAPI()\n\n    from json import dumps\n\n"
          "    @app.get('/x')\n    def x():\n        from fastapi import Response\n\n        return Response(dumps(1))\n\n    return app\n\n\nserved = make()\n",
          ["", IMPORT, "    instrument_app(app)"]),
    wired("function whose first import is below the application", "import fastapi\n\n\ndef make():\n    app = fastapi.FastAPI()\n    from fastapi import Response\n\n    app.state.response = Response\n    return app\n\n\nserved = make()\n",
          ["", IMPORT, "    instrument_app(app)"]),
]  # fmt: skip

LAYOUTS: Final = [
    Repository(
        "src layout",
        {"src/acme/__init__.py": "", "src/acme/api/__init__.py": "", "src/acme/api/server.py": PLAIN, "pyproject.toml": PYPROJECT},
        {"src/acme/api/server.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme.api.server:app", root="src", package_dir="src/acme",
    ),
    Repository(
        "application in the package itself",
        {"acme/__init__.py": PLAIN, "pyproject.toml": PYPROJECT},
        {"acme/__init__.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme:app",
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
        served="app.main:app", root="backend", package_dir="backend/app", import_name="app",
    ),
    Repository(
        "flat",
        {"main.py": PLAIN, "requirements.txt": "fastapi\nuvicorn"},
        {"main.py": ["", "from observability import instrument_app", CALL],
         "requirements.txt": ["opentelemetry-sdk>=1.27,<2"]},
        served="main:app", package_dir=".", import_name="",
    ),
    Repository(
        "flat backend",
        {"backend/main.py": "from fastapi import FastAPI\n\nfrom settings import X\n\napp = FastAPI(title=X)\n" + HELLO,
         "backend/settings.py": "X = 'x'\n", "backend/requirements.txt": "fastapi\n"},
        {"backend/main.py": ["from observability import instrument_app", CALL],
         "backend/requirements.txt": ["opentelemetry-sdk>=1.27,<2"]},
        served="main:app", root="backend", package_dir="backend", import_name="",
    ),
    Repository(
        "module outside the import root",
        {"requirements.txt": "fastapi\n", "acme/main.py": "", "web/store/main.py": "from fastapi import FastAPI\n\nfrom store.x import X\n\napp = FastAPI(title=X)\n",
         "web/store/x.py": "X = 'x'\n", "web/store/__init__.py": ""},
        printed=("web/store/main.py imports from web", "copier-honeycomb adopt --app web.store.main"), status=2,
    ),
    Repository(
        "existing FastAPIInstrumentor",
        server("from fastapi import FastAPI\nfrom opentelemetry.instrumentation.fastapi import FastAPIInstrumentor\n\napp = FastAPI()\n\nFastAPIInstrumentor.instrument_app(app)\n"),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        ("acme/main.py:6 configures FastAPIInstrumentor. Remove that line",),
    ),
    Repository(
        "entrypoint decides",
        server(PLAIN, more={"acme/admin.py": PLAIN, "pyproject.toml": PYPROJECT + '\n[tool.fastapi]\nentrypoint = "acme.admin:app"\n'}),
        {"acme/admin.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme.admin:app",
    ),
    Repository(
        "Dockerfile decides",
        server(PLAIN, more={"acme/admin.py": PLAIN, "Dockerfile": 'CMD ["uvicorn", "acme.admin:app", "--port", "80"]\n'}),
        {"acme/admin.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        served="acme.admin:app",
    ),
    Repository(
        "two equally likely applications",
        {"pyproject.toml": PYPROJECT, "acme/__init__.py": "", "acme/one.py": PLAIN, "acme/two.py": PLAIN},
        printed=("Several applications may be served", "--app acme.one:app", "--app acme.two:app"), status=2,
    ),
    Repository(
        "two applications and --app",
        {"pyproject.toml": PYPROJECT, "acme/__init__.py": "", "acme/one.py": PLAIN, "acme/two.py": PLAIN},
        {"acme/two.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        app="acme.two:app", served="acme.two:app",
    ),
]  # fmt: skip
