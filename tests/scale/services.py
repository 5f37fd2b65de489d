"""Three rendered services that call each other: shop, orders, billing."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from itertools import count, takewhile
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from ..conftest import Render, Workshop
from ..fakes.honeycomb import INGEST_KEY
from ..service.process import Service, wait_until
from .honeycomb import Trace

SERVICES: Final = ("shop", "orders", "billing")
SLOW_MS: Final = 400
EXPENSIVE_USD: Final = 1
USD_PER_TOKEN: Final = 3e-6
CLIENTS: Final = 8

Kind = Literal["ordinary", "error", "slow", "expensive"]

APPLICATION: Final = """
import asyncio
import os
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI, HTTPException
from opentelemetry.propagate import inject
from {package}.observability import instrument_app, llm_call, setup_observability, traced

NEXT = os.environ.get("NEXT")


@asynccontextmanager
async def lifespan(app):
    async with httpx2.AsyncClient(trust_env=False) as client:
        app.state.client = client
        yield


setup_observability()
app = FastAPI(lifespan=lifespan)
instrument_app(app)


@app.get("/healthz")
async def healthz():
    return {{}}


@app.get("/work/{{kind}}/{{tokens}}")
async def work(kind: str, tokens: int):
    if NEXT:
        headers = {{}}
        inject(headers)
        response = await app.state.client.get(f"{{NEXT}}/work/{{kind}}/{{tokens}}", headers=headers)
        return {{"status": response.status_code}}
    with traced("charge"):
        if kind == "slow":
            await asyncio.sleep({seconds})
        async with llm_call("anthropic", "claude-sonnet-4-6") as call:
            call.record_usage({{"input_tokens": tokens, "output_tokens": 0}})
        if kind == "error":
            # The other services respond with 200.
            raise HTTPException(503)
    return {{}}
"""


class Request(NamedTuple):
    kind: Kind
    tokens: int


def request(number: int) -> Request:
    """The request `number`: 1 % fail, 1 % are slow, 1 % are expensive.

    Of 9,800 successive requests, no two ordinary ones have the same number of tokens.
    """
    kinds: dict[int, Kind] = {7: "error", 37: "slow", 67: "expensive"}
    kind = kinds.get(number % 100, "ordinary")
    return Request(kind, 400_000 if kind == "expensive" else 200 + number * 7919 % 9_800)


class Endpoints(NamedTuple):
    """Receivers of the spans of the services."""

    http: str
    grpc: str


class Shop:
    """The running services, entered through the first one."""

    def __init__(self, services: dict[str, Service]) -> None:
        self.services = services

    @property
    def url(self) -> str:
        return self.services["shop"].url

    def send(self, numbers: Iterator[int], answered: list[int] | None = None) -> None:
        """Send the requests `numbers` from several connections at once.

        The numbers of those that are answered are added to `answered`.
        """
        answered = [] if answered is None else answered
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(self._send, numbers, answered) for _ in range(CLIENTS)]:
                done.result()

    def _send(self, numbers: Iterator[int], answered: list[int]) -> None:
        connection = HTTPConnection(str(urlsplit(self.url).netloc))
        for number in numbers:
            each = request(number)
            connection.request("GET", f"/work/{each.kind}/{each.tokens}")
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            answered.append(number)
        connection.close()

    @contextmanager
    def load(self) -> Iterator[list[int]]:
        """Send requests while the block runs. Yield the numbers of those answered so far."""
        answered: list[int] = []
        is_over = threading.Event()
        numbers = takewhile(lambda _: not is_over.is_set(), count())
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(self.send, numbers, answered)
            try:
                yield answered
            finally:
                is_over.set()
            sending.result()
        print(f"{len(answered) / (time.monotonic() - began):.0f} requests per second")

    def stop(self) -> None:
        """Stop the services, which flush their spans."""
        for service in self.services.values():
            service.stop()


def lost(answered: Iterable[int], arrived: Iterable[Trace], spans: int) -> set[int]:
    """Return the numbers of answered requests of whose `spans` spans some have not arrived."""
    complete = {tokens(trace) for trace in arrived if len(trace.span_ids) == spans}
    return {number for number in answered if request(number).tokens not in complete}


def tokens(trace: Trace) -> int:
    """Return the tokens of the request. Spans may have arrived twice."""
    return round(max(event.cost_usd for event in trace.events) / USD_PER_TOKEN)


def wait_for(requests: int, answered: list[int]) -> None:
    """Wait until that many more requests are answered."""
    total = len(answered) + requests
    wait_until(lambda: len(answered) >= total, f"{requests} requests")


class Shops:
    """Starts the services, which are rendered once."""

    def __init__(self, render: Render, workshop: Workshop) -> None:
        self._workshop = workshop
        self.projects = {
            # Supports both protocols.
            name: render(name, otlp_protocol="grpc")
            for name in SERVICES
        }
        for name, project in self.projects.items():
            (project / "chain.py").write_text(
                APPLICATION.format(package=name, seconds=1.2 * SLOW_MS / 1000)
            )

    @contextmanager
    def serve(self, endpoints: Endpoints, **variables: str) -> Iterator[Shop]:
        """Run the services. The first exports over gRPC, the others over HTTP."""
        # Their dependencies are the same.
        self._workshop.install(self.projects["shop"])
        services: dict[str, Service] = {}
        with ExitStack() as stack:
            for name in reversed(SERVICES):
                own = {
                    "HONEYCOMB_API_KEY": INGEST_KEY,
                    "OTEL_BSP_SCHEDULE_DELAY": "500",
                    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if name == "shop" else "http/protobuf",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints.grpc
                    if name == "shop"
                    else endpoints.http,
                }
                if services:
                    own["NEXT"] = list(services.values())[-1].url
                services[name] = stack.enter_context(
                    Service(
                        self._workshop,
                        self.projects[name],
                        "uvicorn",
                        "chain:app",
                        "--host=127.0.0.1",
                        "--port={port}",
                        "--no-access-log",
                        **own | variables,
                    )
                )
            yield Shop(services)
