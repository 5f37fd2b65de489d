"""Repositories that are not edited, or only beside existing telemetry."""

from typing import Final

from .base import CALL, HELLO, IMPORT, PLAIN, PYPROJECT, Repository, refused, wired

REFUSED: Final = [
    refused("returned", "from fastapi import FastAPI\n\n\ndef make():\n    return FastAPI()\n", "acme/main.py:5", "it is returned directly", IMPORT),
    refused("conditional expression", "from fastapi import FastAPI\n\napp = FastAPI() if 1 else FastAPI()\n", "acme/main.py:3", "conditional expression"),
    refused("walrus", "from fastapi import FastAPI\n\nif (app := FastAPI()):\n    pass\n", "acme/main.py:3", "within an expression"),
    refused("attribute", "from fastapi import FastAPI\n\n\nclass Server:\n    def __init__(self):\n        self.app = FastAPI()\n", "acme/main.py:6", "instrument_app(self.app)"),
    refused("wrapped at once", "from fastapi import FastAPI\nfrom x import Wrap\n\napp = Wrap(FastAPI())\n", "acme/main.py:4", "passed directly to another call"),
    refused("one line", "from fastapi import FastAPI\n\nif 1: app = FastAPI()\n", "acme/main.py:3", "on the same line as its"),
    refused("star import", "from fastapi import *\n\napp = FastAPI()\n", "acme/main.py uses a star import of fastapi", status=2),
    refused("factory of another package", "from vendor import create\n\napp = create()\n", "acme/main.py gets app from another package", status=2, more={"Procfile": "web: uvicorn acme.main:app\n"}),
    refused("syntax error", "from fastapi import FastAPI\n\napp = FastAPI(\n", "acme/main.py", "does not parse", status=2),
    refused("both names are used", PLAIN + "instrument_app = instrument_honeycomb_app = 1\n", "already uses the names"),
    refused("FastAPI is too old", PLAIN, "FastAPI 0.88 is too old", status=2, more={"pyproject.toml": PYPROJECT.replace('"fastapi"', '"fastapi==0.88"')}),
    refused("existing OpenTelemetry", PLAIN, "acme/tracing.py:3 configures OpenTelemetry. It must run before instrument_app, which then adds a span processor to"
            " its tracer provider. Call it above acme/main.py:3, or move the line with instrument_app below the call; a lifespan function is too late for both."
            " To edit the files first, use --beside.", "instrument_app(app)", more={
        "acme/tracing.py": "from opentelemetry import trace\n\ntrace.set_tracer_provider(object())\n"}),
    refused("existing Logfire", PLAIN + "\nlogfire.configure()\n", "configures Logfire"),
    refused("existing Datadog", "import ddtrace\n" + PLAIN, "acme/main.py:1 configures Datadog", "--beside"),
    refused("existing New Relic", "import newrelic.agent\n\nnewrelic.agent.initialize('x')\n" + PLAIN, "configures New Relic"),
]  # fmt: skip
REFUSED[11:] = [Repository(each.name, each.files, {}, each.printed, 1) for each in REFUSED[11:]]

BESIDE: Final = [
    wired(
        "existing provider, set first",
        "from fastapi import FastAPI\nfrom opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n\n"
        "trace.set_tracer_provider(TracerProvider())\napp = FastAPI()\n" + HELLO,
    ),
    wired(
        "existing provider, set in a function",
        "from fastapi import FastAPI\n\nfrom acme.tracing import setup_tracing\n\nsetup_tracing()\napp = FastAPI()\n" + HELLO,
        [IMPORT, CALL],
        more={"acme/tracing.py": "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n\n\n"
              "def setup_tracing():\n    trace.set_tracer_provider(TracerProvider())\n"},
    ),
    wired(
        "existing provider, set in a function with a result",
        "from fastapi import FastAPI\n\nfrom acme.tracing import setup_tracing\n\ntracer = setup_tracing()\napp = FastAPI()\n" + HELLO,
        [IMPORT, CALL],
        more={"acme/tracing.py": "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n\n\n"
              "def setup_tracing():\n    trace.set_tracer_provider(TracerProvider())\n    return trace.get_tracer('acme')\n"},
    ),
    wired(
        "existing provider, set in the factory",
        "import os\n\nfrom fastapi import FastAPI\nfrom opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n\n\n"
        "def create_app():\n    if 'X' in os.environ:\n        trace.set_tracer_provider(TracerProvider())\n    app = FastAPI()\n    return app\n\n\napp = create_app()\n" + HELLO,
        ["", IMPORT, f"    {CALL}"],
    ),
    wired("Sentry", PLAIN.replace("app =", "def report() -> None:\n    sentry_sdk.init()\n\n\napp =")),
]  # fmt: skip
