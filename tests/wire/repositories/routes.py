"""Repositories whose Dockerfiles, compose files and Modal images decide what is edited."""

from typing import Final

from .base import CALL, HELLO, IMPORT, PLAIN, PYPROJECT, SDK, Repository, server

OURS: Final = '    secrets=[modal.Secret.from_name("honeycomb-secrets")],'
FLAT: Final = "from observability import instrument_app"
CONTRIB: Final = '"opentelemetry-instrumentation-fastapi>=0.48b0"'
REQUIREMENTS: Final = "fastapi\nuvicorn\n"
NEEDED: Final = "opentelemetry-sdk>=1.27,<2"
DOCKERFILE: Final = """\
FROM python:3.12-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .
CMD ["uvicorn", "acme.main:app", "--host", "0.0.0.0"]
"""
MODAL_APP: Final = """\
import modal
{imports}
image = modal.Image.debian_slim(python_version="3.12").{image}
app = modal.App("x"{options})


@app.function(
    image=image,
)
@modal.asgi_app()
def serve():
{body}
    return web_app
"""
INSTALLS: Final = 'image = modal.Image.debian_slim(python_version="3.12").pip_install('
CREATES: Final = "    web_app = FastAPI()\n"


def flat(name: str, dockerfile: str, added: list[str], *printed: str, **more: str) -> Repository:
    """Return a repository with the server in main.py, and the lines added to its Dockerfile."""
    files: dict[str, str | bytes] = {
        "main.py": PLAIN,
        "requirements.txt": REQUIREMENTS,
        "Dockerfile": dockerfile,
    }
    changed = {"Dockerfile": added} if added else {}
    return Repository(
        name,
        {**files, **more},
        {"main.py": ["", FLAT, CALL], "requirements.txt": [NEEDED], **changed},
        printed,
        served="main:app",
        package_dir=".",
        import_name="",
    )


TWINS: Final = "from fastapi import FastAPI\n\n\ndef first():\n    app = FastAPI()\n    return app\n\n\ndef second():\n    app = FastAPI(title='2')\n    return app\n\n\nserved = second()\n"
ROUTES: Final = [
    flat("Dockerfile copies the repository", DOCKERFILE.replace("acme.main", "main"), [],
         "Route: Dockerfile:6 starts main:app with Python 3.12; the module is at /app/observability; packages from requirements.txt"),
    flat("Dockerfile copies one file", DOCKERFILE.replace("acme.main", "main").replace("COPY . .", "COPY main.py ."),
         ["COPY observability ./observability"], "the module is at /app/observability"),
    flat("Dockerfile copies patterns", "FROM python:3.12\nENV APP_HOME=/srv\nWORKDIR ${APP_HOME}\nCOPY requirements.txt ./\nRUN pip3 install --no-cache-dir \\\n    -r requirements.txt\n"
         "COPY *.py ${APP_HOME}/\nCMD exec uvicorn main:app --port $PORT",
         ["COPY observability ./observability"]),
    flat("ignored by Docker", DOCKERFILE.replace("acme.main", "main"), [], ".dockerignore excludes observability", "!observability",
         **{".dockerignore": "*\n!main.py\n!requirements.txt\n"}),
    flat("start script", DOCKERFILE.replace('CMD ["uvicorn", "acme.main:app", "--host", "0.0.0.0"]', 'ENTRYPOINT ["./start.sh"]'), [],
         "Route: start.sh:", **{"start.sh": "#!/bin/sh\nset -e\nMODULE=${MODULE:-main}\nexec gunicorn -k uvicorn.workers.UvicornWorker \"$MODULE:app\"\n"}),
    flat("application in gunicorn's configuration", DOCKERFILE.replace('"uvicorn", "acme.main:app", "--host", "0.0.0.0"', '"gunicorn"'), [], "Dockerfile:6 starts main:app",
         **{"gunicorn.conf.py": 'bind = "0.0.0.0:80"\nwsgi_app = "main:app"\n'}),
    flat("application in a wrapper that cannot be looked into", DOCKERFILE.replace("acme.main:app", "asgi:wrapped"), [], "Dockerfile:6 starts main:app",
         **{"asgi.py": "from main import app\n\n\nclass Wrapper:\n    def __init__(self, inner):\n        self.inner = inner\n\n    async def __call__(self, scope, receive, send):\n        await self.inner(scope, receive, send)\n\n\nwrapped = Wrapper(app)\n"}),
    flat("run by Python", DOCKERFILE.replace('"uvicorn", "acme.main:app", "--host", "0.0.0.0"', '"python", "main.py"'), [], "starts main:app",
         **{"main.py": PLAIN + '\nif __name__ == "__main__":\n    import uvicorn\n\n    uvicorn.run("main:app")\n'}),
    Repository("packages named in the Dockerfile", {"main.py": PLAIN, "Dockerfile": "FROM python:3.12\nWORKDIR /app\nRUN pip install fastapi==0.115.5 uvicorn\nCOPY . .\nCMD fastapi run main.py\n"},
               {"main.py": ["", FLAT, CALL], "Dockerfile": [f'RUN pip install {CONTRIB} "{NEEDED}" fastapi==0.115.5 uvicorn']},
               replaced=1, served="main:app", package_dir=".", import_name=""),
    Repository("requirements of the root Dockerfile", {"backend/__init__.py": "", "backend/main.py": PLAIN, "backend/requirements.txt": REQUIREMENTS, "requirements.txt": "fastapi==0.120.0\nuvicorn\n",
               "Dockerfile": DOCKERFILE.replace("acme", "backend")},
               {"backend/main.py": ["", "from backend.observability import instrument_app", CALL], "backend/requirements.txt": [NEEDED],
                "requirements.txt": ["opentelemetry-instrumentation-fastapi>=0.48b0", NEEDED]},
               served="backend.main:app", package_dir="backend", import_name="backend"),
    Repository("folder is flattened in the image", {"deploy/docker/server.py": "import sys\n\nsys.path.append('/app/lib')\n\nfrom fastapi import FastAPI  # noqa: E402\n\napp = FastAPI()\n" + HELLO,
               "deploy/docker/requirements.txt": REQUIREMENTS, "README.md": "",
               "Dockerfile": "FROM python:3.12\nENV APP_HOME=/app\nWORKDIR ${APP_HOME}\nCOPY deploy/docker/* ${APP_HOME}/\nRUN pip install -r requirements.txt\nCMD uvicorn server:app\n"},
               {"deploy/docker/server.py": [f"{FLAT}  # noqa: E402", CALL], "deploy/docker/requirements.txt": [NEEDED], "Dockerfile": ["COPY deploy/docker/observability ./observability"]},
               ("the module is at /app/observability",),
               package_dir="deploy/docker", import_name=""),
    Repository("compose outside the folder starts the other application", {"acme/__init__.py": "", "acme/main.py": PLAIN, "acme/admin.py": PLAIN, "pyproject.toml": PYPROJECT,
               "deployment/compose.yaml": "services:\n  api:\n    build:\n      context: ..\n      dockerfile: deployment/Dockerfile\n    command: uvicorn acme.admin:app\n",
               "deployment/Dockerfile": "FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN pip install .\n"},
               {"acme/admin.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]}, ("Route: deployment/compose.yaml:2 starts acme.admin:app",), served="acme.admin:app"),
    Repository("two services", {"pyproject.toml": PYPROJECT, "a/main.py": PLAIN, "b/main.py": PLAIN,
               "a/Dockerfile": "FROM python:3.12\nWORKDIR /app\nCOPY . .\nCMD uvicorn main:app\n", "b/Dockerfile": "FROM python:3.12\nWORKDIR /app\nCOPY . .\nCMD uvicorn main:app\n"},
               printed=("Several applications may be served", "--app a.main:app", "--app b.main:app"), status=2, package_dir=".", import_name=""),
    Repository("older Python in the image", server(PLAIN, more={"Dockerfile": DOCKERFILE.replace("3.12", "3.10"), "requirements.txt": REQUIREMENTS}),
               printed=("Dockerfile:1 runs Python 3.10; the module requires 3.11 or later",), status=2),
    Repository("Pipfile", {"acme/__init__.py": "", "acme/main.py": PLAIN, "Pipfile": '[packages]\nfastapi = "*"\n\n[requires]\npython_version = "3.12"\n'},
               {"acme/main.py": ["", IMPORT, CALL], "Pipfile": ['opentelemetry-sdk = ">=1.27,<2"']}, ("pipenv install",), served="acme.main:app"),
    Repository("optional dependency of a library", server(PLAIN, more={"pyproject.toml":
               '[project]\nname = "acme"\nversion = "1"\ndependencies = ["anyio"]\n\n[project.optional-dependencies]\nall = ["fastapi"]\nserver = ["fastapi"]\n'}),
               {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": ['server = ["fastapi", "opentelemetry-sdk>=1.27,<2"]']}, replaced=1, served="acme.main:app"),
    Repository("optional dependency in Poetry", server(PLAIN, more={"pyproject.toml":
               '[tool.poetry]\nname = "acme"\n[tool.poetry.dependencies]\npython = "^3.11"\nfastapi = {version = "*", optional = true}\n[tool.poetry.extras]\nserver = ["fastapi"]\n'}),
               {"acme/main.py": ["", IMPORT, CALL]}, ("FastAPI is optional", NEEDED), served="acme.main:app"),
    Repository("workspace whose members are installed", {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
               "packages/shared/src/shared/__init__.py": "", "packages/shared/pyproject.toml": '[project]\nname = "shared"\nversion = "1"\n',
               "packages/api/acme/__init__.py": "import shared\n", "packages/api/pyproject.toml": PYPROJECT.replace("version = \"1\"", "version = \"7\""),
               "packages/api/acme/main.py": "from importlib.metadata import version\n\nfrom fastapi import FastAPI\n\nassert version('acme') == '7'\n\napp = FastAPI()\n" + HELLO,
               "Dockerfile": "FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN uv sync --frozen --package acme\nCMD uvicorn acme.main:app\n"},
               {"packages/api/acme/main.py": [IMPORT, CALL], "packages/api/pyproject.toml": [SDK]},
               ("Route: Dockerfile:5 starts packages.api.acme.main:app",), served="acme.main:app", package_dir="packages/api/acme"),
    Repository("workspace whose library creates the application", {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["services/*", "libs/*"]\n',
               "libs/web/pyproject.toml": PYPROJECT.replace("acme", "acme-web"), "libs/web/src/acme/__init__.py": "",
               "libs/web/src/acme/web.py": "from fastapi import FastAPI\n\n\ndef make_app(title):\n    app = FastAPI(title=title)\n    return app\n",
               "services/shop/pyproject.toml": PYPROJECT.replace('"acme"', '"shop"').replace('"fastapi"', '"acme_web",\n    "fastapi"'),
               "services/shop/src/shop/main.py": "from acme.web import make_app\n\napp = make_app('Shop')\n",
               "services/jobs/pyproject.toml": PYPROJECT.replace('"acme"', '"jobs"'),
               "Dockerfile": "FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN uv sync --frozen --package shop\nCMD uvicorn shop.main:app\n"},
               {"libs/web/src/acme/web.py": ["", IMPORT, "    instrument_app(app)"], "libs/web/pyproject.toml": [SDK], "services/shop/pyproject.toml": [SDK]},
               ("packages from services/shop/pyproject.toml, libs/web/pyproject.toml",), served="shop.main:app", package_dir="libs/web/src/acme"),
    Repository("two factories with the same variable", server(TWINS, {"dockerfile": DOCKERFILE.replace("main:app", "main:served"), "requirements.txt": REQUIREMENTS}),
               {"acme/main.py": ["", IMPORT, "    instrument_app(app)"], "requirements.txt": [NEEDED], "pyproject.toml": [SDK]}, ("     app = FastAPI(title='2')\n+    instrument_app(app)\n",), served="acme.main:app"),
    Repository("two factories and the label of both", server(TWINS, {"requirements.txt": REQUIREMENTS}), app="acme.main:app", status=2,
               printed=("--app acme.main:first.app    # acme/main.py:5", "--app acme.main:second.app    # acme/main.py:10")),
    # Modal
    Repository("Modal file without a requirements file", {"web.py": MODAL_APP.format(imports="", options="", image='pip_install("jinja2", "fastapi[standard]")', body="    from fastapi import FastAPI\n\n" + CREATES)},
               {"web.py": [INSTALLS, f'    "{NEEDED}",', '    "jinja2",', '    "fastapi[standard]",', ")", OURS, f"    {FLAT}", "    instrument_app(web_app)"]},
               ("needs the folder observability in its image", '.add_local_dir("observability", remote_path="/root/observability")'), replaced=1, package_dir=".", import_name=""),
    Repository("Modal image that runs uv", {"web.py": MODAL_APP.format(imports="", options="", image='workdir("/work").add_local_file("pyproject.toml", "/work/pyproject.toml", copy=True).run_commands(["uv sync --no-dev"]).add_local_dir("observability", remote_path="/root/observability")', body="    from fastapi import FastAPI\n\n" + CREATES),
               "pyproject.toml": PYPROJECT},
               {"web.py": [OURS, f"    {FLAT}", "    instrument_app(web_app)"], "pyproject.toml": [SDK]},
               ("packages from pyproject.toml",), package_dir=".", import_name=""),
    Repository("import at the top of a Modal file", {"web.py": MODAL_APP.format(imports="from fastapi import FastAPI\n", options="", image='pip_install("fastapi==0.115.5").add_local_dir("observability", remote_path="/root/observability")', body=CREATES)},
               {"web.py": [INSTALLS, f"    {CONTRIB},", f'    "{NEEDED}",', '    "fastapi==0.115.5",', ').add_local_dir("observability", remote_path="/root/observability")',
                           OURS, f"    {FLAT}", "    instrument_app(web_app)"]},
               replaced=1, package_dir=".", import_name=""),
    Repository("image in another file of the repository", {
               "src/common.py": 'import modal\n\nimage = modal.Image.debian_slim().pip_install(\n    "fastapi==0.115.5",\n    "httpx",\n)\napp = modal.App("x", image=image)\n',
               "src/app.py": "import modal\nfrom fastapi import FastAPI\n\nfrom .common import app\n\n# stub = modal.Stub('x')\n\n\n@app.function()\n@modal.asgi_app()\ndef serve():\n    web_app = FastAPI()\n\n    return web_app\n",
               "README.md": "modal deploy -m src.app\n"},
               {"src/app.py": ['@app.function(secrets=[modal.Secret.from_name("honeycomb-secrets")])', "    from .observability import instrument_app", "    instrument_app(web_app)"],
                "src/common.py": [f"    {CONTRIB},", f'    "{NEEDED}",']},
               ("the module is at /root/src/observability",), replaced=1, package_dir="src", import_name=""),
    Repository("gRPC stubs are not Modal's", {"web.py": MODAL_APP.format(imports="from greeter import GreeterStub\nfrom acme import SomeBoundaryStub\n", options="", image="uv_sync()", body="    GreeterStub(1)\n    SomeBoundaryStub(2)\n    from fastapi import FastAPI\n\n" + CREATES),
               "pyproject.toml": PYPROJECT},
               {"web.py": [OURS, f"    {FLAT}", "    instrument_app(web_app)"], "pyproject.toml": [SDK]},
               package_dir=".", import_name=""),
    Repository("folder added under another name", {"modal_app.py": MODAL_APP.format(imports="", options="", image='pip_install("fastapi").add_local_dir(".", remote_path="~/pkg")', body="    from fastapi import FastAPI\n\n" + CREATES)},
               {"modal_app.py": [INSTALLS, f'    "{NEEDED}",', '    "fastapi",', ').add_local_dir(".", remote_path="~/pkg")', OURS, f"    {FLAT}", "    instrument_app(web_app)"]},
               ('.add_local_dir("observability", remote_path="/root/observability")',), replaced=1, package_dir=".", import_name=""),
]  # fmt: skip
