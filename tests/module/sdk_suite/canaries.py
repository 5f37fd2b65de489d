"""Plants secrets in the work of every supported instrumentation. Run by ../test_canaries.py."""

import asyncio
import logging
import os
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from observability import get_tracer, inject, setup_observability, traced
from observability.integrations.modal import traced_call
from opentelemetry import trace

from tests.fakes.llm import LLMAPIs

SECRET: Final = "c4n4ry"
LOGGER: Final = logging.getLogger("shop")


def privacy() -> None:
    """FastAPI, SQLAlchemy, exceptions, and spans of instrumentations that do not exist."""
    # It logs the URL of each request, whose path may have a value.
    logging.getLogger("httpx2").setLevel("WARNING")
    for canary in import_module("tests.module.suite.test_privacy").CANARIES.values():
        canary.work()
    logging.getLogger("httpx2").setLevel("INFO")


def http_clients(url: str) -> None:
    target = f"{url.replace('//', f'//user:{SECRET}@')}/v1/{SECRET}?key={SECRET}#{SECRET}"
    target = target.replace(f"/v1/{SECRET}", "/v1/path")
    refused = f"http://127.0.0.1:1/?key={SECRET}"
    options: Any = {"headers": {"authorization": SECRET, "cookie": SECRET}}

    async def concurrent(library: Any, url: str) -> None:
        if library.__name__ == "aiohttp":
            async with library.ClientSession() as session:
                await session.post(url, data=SECRET, **options)
        else:
            async with library.AsyncClient() as client:
                await client.post(url, content=SECRET, **options)

    for name in ("httpx", "httpx2", "requests", "aiohttp"):
        library = import_module(name)
        for each in (target, refused):
            with suppress(Exception), traced(f"{name} work"):
                if name != "aiohttp":
                    library.post(each, data={"text": SECRET}, **options)
            with suppress(Exception), traced(f"{name} work"):
                if name != "requests":
                    asyncio.run(concurrent(library, each))


def log_records() -> None:
    """Messages, exceptions, and fields named as the attributes of content."""
    privacy = import_module("tests.module.suite.test_privacy")
    for create in (privacy.sql_error, privacy.pydantic_error, privacy.ERRORS["group"]):
        error = create()
        LOGGER.warning("Failed: %s", error)
        LOGGER.error("Failed: %s", error, exc_info=error)
        LOGGER.error("Failed.", exc_info=privacy.with_cause(error))
    fields = {"gen_ai.prompt": SECRET, "url.full": f"https://host/?key={SECRET}"}
    LOGGER.warning("Called https://user:%s@host/?key=%s.", SECRET, SECRET, extra=fields)
    logging.getLogger("uvicorn.access").info('"GET /?key=%s"', SECRET)


def modal_functions() -> None:
    privacy = import_module("tests.module.suite.test_privacy")
    callers = [
        inject(),
        {"traceparent": f"00-{'7' * 32}-{'7' * 16}-01", "tracestate": f"a={SECRET}"},
    ]
    for contexts in (callers[1], callers, None):
        with suppress(Exception), traced_call("shop.summarise", contexts):
            raise privacy.sql_error()


def links_and_events() -> None:
    attributes = {"gen_ai.prompt": SECRET, "url.full": f"https://host/?key={SECRET}"}
    with get_tracer("an.instrumentation").start_as_current_span("linked") as span:
        context = span.get_span_context()
        link = trace.Link(context, attributes)
        span.add_event("gen_ai.content", attributes)
        span.add_link(context, attributes)
    get_tracer("an.instrumentation").start_span("linked", links=[link]).end()


def llm_sdks(apis: LLMAPIs) -> None:
    sdks = import_module("tests.module.sdk_suite.sdks")
    for name, call in sdks.SDKS.items():
        for prompt in (f"a PROMPT {SECRET}", f"FAIL, a PROMPT {SECRET}"):
            for streams in (False, name != "openai_embeddings"):
                tool = name != "openai_embeddings"
                with suppress(Exception):
                    call(apis, sdks.Call(prompt, streams=streams, offers_tool=tool))
    for run, *_ in import_module("tests.module.sdk_suite.test_frameworks").FRAMEWORKS.values():
        run()


def llama_index(apis: LLMAPIs) -> None:
    suite = import_module("tests.module.sdk_suite.test_llama_index")
    for streams in (False, True):
        suite.run_agent(suite.model(apis), streams=streams)


def main() -> None:
    is_llama_index = find_spec("llama_index") is not None
    if not is_llama_index:
        # Its import removes the span processors of openai-agents.
        import_module("tests.module.sdk_suite.test_frameworks")
    with LLMAPIs() as apis:
        os.environ.update(apis.variables)
        setup_observability()
        logging.basicConfig(level="INFO", handlers=[logging.NullHandler()])
        if is_llama_index:
            llama_index(apis)
            return
        privacy()
        with traced("work"):
            http_clients(apis.url)
            log_records()
            modal_functions()
            links_and_events()
            llm_sdks(apis)


if __name__ == "__main__":
    main()
