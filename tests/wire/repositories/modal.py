"""Repositories that run on Modal."""

from typing import Final

from .base import CALL, IMPORT, PLAIN, PYPROJECT, SDK, Repository, server

IMAGE: Final = 'image = modal.Image.debian_slim().pip_install("fastapi")\n'
OURS: Final = 'modal.Secret.from_name("honeycomb-secrets")'
PACKAGES: Final = (
    'image = modal.Image.debian_slim().pip_install("fastapi", "opentelemetry-sdk>=1.27,<2")'
)


def modal(
    name: str,
    function: str,
    lines: list[str],
    *,
    head: str = "import modal\n\napp = modal.App('x')\n",
    image: str = IMAGE,
    replaced: int = 0,
    printed: tuple[str, ...] = (),
    packages: list[str] | None = None,
) -> Repository:
    text = f"{head}{image}\n\n{function}\n@modal.asgi_app()\ndef serve():\n    from acme.main import app as api\n\n    return api\n"
    added = [*([PACKAGES] if packages is None else packages), *lines]
    changed = {"acme/deploy.py": added} if added else {}
    return Repository(
        name,
        server(PLAIN, more={"acme/deploy.py": text}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], **changed},
        printed,
        replaced=replaced + (1 if packages is None else 0),
        served="acme.main:app",
    )


MODAL: Final = [
    modal("no secrets", "@app.function(image=image)", [f"@app.function(secrets=[{OURS}], image=image)"], replaced=1,
          printed=("modal secret create honeycomb-secrets",)),
    modal("no secrets, lines", "@app.function(\n    image=image,\n    timeout=60,\n)", [f"    secrets=[{OURS}],"]),
    modal("one secret", '@app.function(image=image, secrets=[modal.Secret.from_name("a")])',
          ["@app.function(", "    image=image,", f'    secrets=[modal.Secret.from_name("a"), {OURS}],', ")"], replaced=1),
    modal("secrets on lines", '@app.function(\n    image=image,\n    secrets=[\n        modal.Secret.from_name("a"),\n        modal.Secret.from_name("b")\n    ],\n)',
          [f"        {OURS},"]),
    modal("secrets by name", "@app.function(image=image, secrets=SECRETS)", ["@app.function(image=image, secrets=[", "    *(SECRETS),", f"    {OURS},", "])"],
          head='import modal\n\napp = modal.App("x")\nSECRETS = [modal.Secret.from_name("a")]\n', replaced=1),
    modal("secrets by condition", "@app.function(image=image, secrets=[] if x else [y])",
          ["@app.function(image=image, secrets=[", "    *([] if x else [y]),", f"    {OURS},", "])"], replaced=1),
    modal("secrets by condition, lines", "@app.function(\n    image=image,\n    secrets=([modal.Secret.from_name('database')] if x else []),\n)",
          ["    secrets=([", "        *([modal.Secret.from_name('database')] if x else []),", f"        {OURS},", "    ]),"], replaced=1),
    modal("secrets by a short condition, lines", "@app.function(\n    image=image,\n    secrets=[] if x else [y],\n)",
          ["    secrets=[", "        *([] if x else [y]),", f"        {OURS},", "    ],"], replaced=1),
    modal("starred condition", "@app.function(image=image, secrets=[*([x] if x else [])])",
          ["@app.function(", "    image=image,", f"    secrets=[*([x] if x else []), {OURS}],", ")"], replaced=1),
    modal("secret of the App", "@app.function(image=image)", [],
          head='import modal\n\napp = modal.App("x", secrets=[modal.Secret.from_name("honeycomb-secrets")])\n'),
    modal("uv_sync", "@app.function(image=image)", [f"@app.function(secrets=[{OURS}], image=image)"], replaced=1,
          image="image = modal.Image.debian_slim().uv_sync()\n", packages=[]),
    modal("packages on lines", "@app.function(\n    image=image,\n)", [f"    secrets=[{OURS}],"],
          image='image = (\n    modal.Image.debian_slim()\n    .pip_install(\n        "fastapi",\n        "httpx",\n    )\n    .add_local_python_source("acme")\n)\n',
          packages=['        "opentelemetry-sdk>=1.27,<2",']),
    modal("image in another file", "@app.function(image=base)", [f"@app.function(secrets=[{OURS}], image=base)"], replaced=1,
          head="import modal\n\nfrom acme.images import base\n\napp = modal.App('x')\n", image="", packages=[],
          printed=("acme/deploy.py", "Add these to it", ".pip_install")),
    modal("a function that it calls", "@app.function(image=jobs)\ndef work():\n    return 1\n\n\n@app.function(image=image)",
          ['jobs = modal.Image.debian_slim().pip_install("numpy", "opentelemetry-sdk>=1.27,<2")',
           f"@app.function(secrets=[{OURS}], image=jobs)", f"@app.function(secrets=[{OURS}], image=image)"],
          image=IMAGE + 'jobs = modal.Image.debian_slim().pip_install("numpy")\n', replaced=3),
    Repository(
        "functions that it calls in other files",
        server(PLAIN, more={
            "acme/jobs.py": 'import modal\n\nfrom .deploy import app\n\n\n@app.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\ndef work():\n    return 1\n\n\n@app.cls(\n    image=modal.Image.debian_slim().uv_sync(),\n)\nclass Worker:\n    @modal.method()\n    def first(self):\n        return 1\n\n    @modal.method()\n    def second(self):\n        return 2\n',
            "acme/other.py": 'import modal\n\nunrelated = modal.App("y")\n\n\n@unrelated.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\ndef work():\n    return 1\n',
            "acme/deploy.py": 'import modal\n\napp = modal.App("x")\n\n\n@app.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\n@modal.asgi_app()\ndef serve():\n    from .main import app as api\n\n    return api\n'}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], "acme/deploy.py": [f"    secrets=[{OURS}],"], "acme/jobs.py": [f"    secrets=[{OURS}],"] * 2},
        served="acme.main:app",
    ),
    Repository(
        "a server that it starts", server(PLAIN, more={
            "deploy.py": 'import subprocess\n\nimport modal\n\nimage = (\n    modal.Image.debian_slim()\n    .uv_pip_install("fastapi==0.115.6", "uvicorn", extra_options="--no-build")\n    .add_local_dir("acme", "/root/acme")\n)\n'
                         'app = modal.App("x", image=image)\n\n\n@app.function(\n    timeout=60,\n)\n@modal.web_server(8000)\ndef serve():\n    subprocess.Popen([\n        "uvicorn", "acme.main:app", "--port", "8000",\n    ])\n'}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], "deploy.py": [f"    secrets=[{OURS}],",
            "    .uv_pip_install(", '        "opentelemetry-instrumentation-fastapi>=0.48b0",', '        "opentelemetry-sdk>=1.27,<2",',
            '        "fastapi==0.115.6",', '        "uvicorn",', '        extra_options="--no-build",', "    )"]},
        ("Route: deploy.py:24 starts acme.main:app",), replaced=1, served="acme.main:app",
    ),
    Repository(
        "functions of another App that it looks up",
        server(PLAIN.replace("    return name", "    return modal.Function.from_name('jobs', 'work').remote(name)"), more={
            "acme/jobs.py": "import modal\n\njobs = modal.App('jobs')\n\n\n@jobs.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\ndef work():\n    return 1\n",
            "acme/deploy.py": 'import modal\n\napp = modal.App("x")\n\n\n@app.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\n@modal.asgi_app()\ndef serve():\n    from .main import app as api\n\n    return api\n'}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], "acme/deploy.py": [f"    secrets=[{OURS}],"], "acme/jobs.py": [f"    secrets=[{OURS}],"]},
    ),
    modal("stub", "@stub.function(image=image)", [], head="import modal\n\nstub = modal.Stub('x')\n", packages=[],
          printed=("uses modal.Stub, from before Modal 1.0", "secrets=[modal.Secret")),
    Repository(
        "on a class", server(PLAIN, more={"acme/deploy.py": 'import modal\n\napp = modal.App("x")\n\n\n@app.cls(\n    image=modal.Image.debian_slim().uv_sync(),\n)\nclass Web:\n    @modal.asgi_app()\n    def serve(self):\n        from .main import app\n\n        return app\n'}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK], "acme/deploy.py": [f"    secrets=[{OURS}],"]},
        served="acme.main:app",
    ),
    Repository(
        "created inside the function", {"pyproject.toml": PYPROJECT, "acme/__init__.py": "", "acme/deploy.py":
            'import modal\n\nmodal_app = modal.App("x")\n\n\n@modal_app.function(\n    image=modal.Image.debian_slim().uv_sync(),\n)\n@modal.asgi_app()\ndef serve():\n    from fastapi import FastAPI\n\n    app = FastAPI()\n\n    @app.get("/")\n    def index():\n        return 1\n\n    return app\n'},
        {"acme/deploy.py": [f"    secrets=[{OURS}],", "    from acme.observability import instrument_app", "    instrument_app(app)"],
         "pyproject.toml": [SDK]},
    ),
    Repository(
        "serves something else", server(PLAIN, more={"acme/deploy.py": "import modal\n\napp = modal.App('x')\n\n\n@app.function(secrets=[])\n@modal.asgi_app()\ndef other():\n    from vendor.web import app\n\n    return app\n"}),
        {"acme/main.py": ["", IMPORT, CALL], "pyproject.toml": [SDK]},
        ("No Modal function serves acme.main:app", "@modal.asgi_app()"), served="acme.main:app",
    ),
]  # fmt: skip
