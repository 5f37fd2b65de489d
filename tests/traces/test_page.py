"""The page of `traces --web`, in Chromium: contents, keyboard, hostile spans, other sites."""

import http.client
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from playwright.sync_api import Browser, BrowserContext, Error, Locator, expect, sync_playwright
from playwright.sync_api import Page as Tab

from hooks.traces.assembly import TraceAssembler
from hooks.traces.collector import Collector
from hooks.traces.page import Page

from .exports import Attributes, log, logs_request, post, span, traces_request

LLM: Attributes = {
    "llm.model": "claude-sonnet-4-6",
    "llm.input_tokens": 7120,
    "llm.output_tokens": 60,
    "llm.cost_usd": 0.01026,
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without requests to other hosts of the browser itself.
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")
INJECTION = "<img src=x onerror='window.injected = 1'></script><script>window.injected = 1</script>"


@dataclass
class Served:
    """A page, and an endpoint to export to."""

    tab: Tab
    endpoint: str

    def export(self, *spans: Span, service: str = "order-intake") -> None:
        post(self.endpoint, traces_request(*spans, service=service))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        except Error as error:
            reason = f"needs Chromium, which .ci/run installs: {str(error).splitlines()[0]}"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield context


@pytest.fixture
def served(context: BrowserContext) -> Iterator[Served]:
    """A page that keeps five traces. It must request nothing elsewhere, and log no error."""
    assembler = TraceAssembler(keep=5, wait=6)
    complaints: list[str] = []
    requested: list[str] = []
    with Collector(assembler, page=Page(assembler, keep=5)) as collector:
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requested.append(request.url))
        tab.goto(collector.endpoint)
        expect(tab.locator("#state")).to_have_text("live")
        yield Served(tab, collector.endpoint)
        tab.goto("about:blank")
        origins = {url.rsplit("/", url.count("/") - 2)[0] for url in requested}
        assert origins <= {collector.endpoint, "data:,", "about:blank"}
    assert complaints == []


def session() -> list[Span]:
    root = span(
        "POST /api/sessions",
        kind="server",
        ms=25.4,
        attributes={"http.response.status_code": 201, "user.id": "u-7"},
    )
    create = span("session.create", root, at=1, ms=12.7)
    call = span("llm.call", create, at=2, ms=4.9, kind="client", attributes=LLM)
    insert = span(
        "INSERT",
        create,
        at=8,
        ms=0.3,
        kind="client",
        attributes={"db.system.name": "sqlite", "db.query.text": "INSERT INTO sessions"},
    )
    return [root, create, call, insert]


def other(number: int, name: str = "GET /orders", *, error: str | None = None) -> Span:
    return span(name, kind="server", ms=number, at=number, trace=f"{number:032x}", error=error)


def test_page_names_the_endpoint_before_the_first_trace(served: Served) -> None:
    expect(served.tab.locator("#traces code")).to_have_text(
        f"OTEL_EXPORTER_OTLP_ENDPOINT={served.endpoint}"
    )


def test_trace_appears_live_with_waterfall_attributes_and_cost_by_model(served: Served) -> None:
    tab = served.tab
    spans = session()
    served.export(*spans)
    post(served.endpoint, logs_request(log("slow provider", spans[2])))

    expect(tab.locator(".trace .name")).to_have_text(["POST /api/sessions"])
    expect(tab.locator("#rows .name")).to_have_text(
        ["▾POST /api/sessions", "▾session.create", "llm.call", "INSERT"]
    )
    expect(tab.locator("#rows .figure:nth-child(3)")).to_have_text(
        ["25.4 ms", "12.7 ms", "4.90 ms", "0.30 ms"]
    )
    expect(tab.locator("#heading p")).to_contain_text("7,120 → 60  ·  $0.01026")
    expect(tab.locator("#models tbody tr td")).to_have_text(
        ["claude-sonnet-4-6", "1", "7,120 → 60", "$0.01026"]
    )
    assert [tab.locator(f"#{name}").inner_text() for name in ("count", "p50", "errors")] == [
        "1",
        "25.4 ms",
        "0",
    ]

    tab.locator("#rows .row").nth(2).click()
    expect(tab.locator("#span tr").first).to_have_text("llm.cost_usd0.01026")
    expect(tab.locator("#span")).to_contain_text("WARNslow provider")

    bars = tab.locator(".bar").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect().x)"
    )
    assert bars == sorted(bars)
    assert tab.locator(".bar").nth(2).get_attribute("class") == "bar llm"


def test_late_span_is_added_to_the_shown_trace(served: Served) -> None:
    root, *others = session()
    served.export(*others)
    expect(served.tab.locator(".trace .about")).to_contain_text("spans missing")
    expect(served.tab.locator("#rows .row")).to_have_count(3)

    served.export(root)

    expect(served.tab.locator("#rows .row")).to_have_count(4)
    expect(served.tab.locator("#rows .row").first).to_contain_text("POST /api/sessions")
    expect(served.tab.locator(".trace .about")).not_to_contain_text("spans missing")


def test_failed_trace_opens_at_the_span_where_the_error_began(served: Served) -> None:
    root = span("GET /orders", kind="server", ms=900, error="")
    queries = [span("SELECT", root, at=n / 10, ms=0.1) for n in range(1998)]
    failed = span("SELECT", root, at=800, ms=5, error="connection refused")
    served.export(root, *queries, failed)

    expect(served.tab.locator(".message")).to_have_text("connection refused")
    expect(served.tab.locator("#rows .row")).to_have_count(2000)
    expect(served.tab.locator(".row[aria-selected=true]")).to_be_in_viewport()


def test_first_span_of_a_long_trace_is_below_the_axis_when_the_keyboard_selects_it(
    served: Served,
) -> None:
    tab = served.tab
    root = span("GET /orders", kind="server", ms=900)
    served.export(root, *(span("SELECT", root, at=n, ms=1) for n in range(99)))
    expect(tab.locator("#rows .row")).to_have_count(100)
    first = tab.locator("#rows .row").first

    tab.locator("#traces").focus()
    tab.keyboard.press("Enter")
    assert _top(first) >= _bottom(tab.locator("#axis"))
    for key in ("ArrowDown", "ArrowUp"):
        for _ in range(30):
            tab.keyboard.press(key)

    expect(first).to_have_attribute("aria-selected", "true")
    assert _top(first) >= _bottom(tab.locator("#axis"))


def _top(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box
    return box["y"]


def _bottom(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box
    return box["y"] + box["height"]


def test_names_values_and_messages_are_shown_as_text(served: Served) -> None:
    tab = served.tab
    root = span(
        f"{INJECTION}name",
        kind="server",
        error=f"{INJECTION}error",
        attributes={
            f"{INJECTION}key": f"{INJECTION}value",
            "json": f'["{INJECTION}"]',
            "llm.model": f"{INJECTION}model",
            "llm.cost_usd": 1.0,
            "http.response.status_code": f"{INJECTION}status",
        },
    )
    event = root.events.add(name=f"{INJECTION}event")
    event.attributes.add(key=f"{INJECTION}event key").value.string_value = f"{INJECTION}event value"
    served.export(root, service=f"{INJECTION}service")
    post(served.endpoint, logs_request(log(f"{INJECTION}log", root)))

    expect(tab.locator("#span")).to_contain_text(f"{INJECTION}log")
    text = tab.locator("body").inner_text()
    for part in ("name", "error", "key", "value", "model", "status", "event", "service", "log"):
        assert INJECTION + part in text, part
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 1
    assert tab.evaluate("window.injected") is None


def test_policy_of_the_page_blocks_injected_scripts(context: BrowserContext, port: int) -> None:
    """Even if a value were parsed as markup, nothing of it would run."""
    tab = context.new_page()
    tab.goto(f"http://127.0.0.1:{port}")

    blocked = tab.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) =>
                resolve(event.violatedDirective));
            const element = document.createElement("div");
            element.innerHTML = "<button onclick='window.injected = 1'></button>";
            document.body.append(element);
            element.firstChild.click();
        })"""
    )

    assert blocked == "script-src-attr"
    assert tab.evaluate("window.injected") is None


def test_keyboard_reaches_traces_spans_and_filter(served: Served) -> None:
    tab = served.tab
    served.export(other(1, "GET /first"))
    expect(tab.locator(".trace")).to_have_count(1)
    served.export(*session())
    expect(tab.locator(".trace")).to_have_count(2)
    focused = "document.activeElement.id"

    tab.keyboard.press("Escape")
    assert tab.evaluate(focused) == "traces"
    tab.keyboard.press("Home")
    first = tab.locator(".trace").first.locator(".name").inner_text()
    expect(tab.locator("#heading h2")).to_have_text(first)
    tab.keyboard.press("ArrowDown")
    expect(tab.locator("#heading h2")).not_to_have_text(first)
    tab.locator(".trace", has_text="POST /api/sessions").click()
    expect(tab.locator("#rows .row")).to_have_count(4)

    tab.locator("#traces").press("Enter")
    assert tab.evaluate(focused) == "rows"
    tab.keyboard.press("ArrowDown")
    expect(tab.locator("#span h3").first).to_have_text("session.create")
    tab.keyboard.press("ArrowLeft")
    expect(tab.locator("#rows .row")).to_have_count(2)
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#rows .row")).to_have_count(4)
    tab.keyboard.press("End")
    expect(tab.locator("#span h3").first).to_have_text("INSERT")
    tab.keyboard.press("ArrowLeft")
    expect(tab.locator("#span h3").first).to_have_text("session.create")

    tab.keyboard.press("/")
    assert tab.evaluate(focused) == "text"
    tab.keyboard.type("first")
    expect(tab.locator(".trace .name")).to_have_text(["GET /first"])


def test_filters_of_errors_and_slow_traces(served: Served) -> None:
    tab = served.tab
    served.export(other(10), other(20, error="boom"), other(30))
    expect(tab.locator(".trace")).to_have_count(3)

    tab.locator("#failed").check()
    expect(tab.locator(".trace .name")).to_have_text(["✗ GET /orders"])
    tab.locator("#failed").uncheck()
    tab.locator("#slow").fill("25")
    expect(tab.locator(".trace")).to_have_count(1)
    expect(tab.locator("#p95")).to_have_text("30.0 ms")


def test_only_the_last_traces_are_listed(served: Served) -> None:
    for number in range(1, 9):
        served.export(other(number, f"GET /{number}"))

    expect(served.tab.locator(".trace .name")).to_have_text(
        ["GET /8", "GET /7", "GET /6", "GET /5", "GET /4"]
    )


def test_address_of_a_trace_opens_it(served: Served) -> None:
    served.export(other(1, "GET /first"), other(2, "GET /second"))
    expect(served.tab.locator(".trace")).to_have_count(2)

    served.tab.goto(f"{served.endpoint}/#{1:032x}")
    served.tab.reload()

    expect(served.tab.locator("#heading h2")).to_have_text("GET /first")


def test_colours_follow_the_system_and_are_legible(served: Served) -> None:
    tab = served.tab
    served.export(other(1, error="boom"))
    expect(tab.locator(".trace")).to_have_count(1)
    backgrounds = []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        tab.emulate_media(color_scheme=scheme)
        backgrounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        for selector in ("#heading h2", "#heading p", ".trace .about", ".failed .name", ".message"):
            assert tab.locator(selector).first.evaluate(CONTRAST) >= 4.5, (scheme, selector)
    assert backgrounds[0] != backgrounds[1]


# The contrast ratio of WCAG 2 between the text of an element and the nearest background.
CONTRAST = """(element) => {
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (color) => {
        const [red, green, blue] = parts(color).map((part) => {
            const share = part / 255;
            return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    let behind = element;
    while (parts(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const values = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
    const [low, high] = values.map(luminance).sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
}"""


def test_narrow_window_needs_no_horizontal_scrolling(served: Served) -> None:
    served.export(*session())
    expect(served.tab.locator("#rows .row")).to_have_count(4)

    served.tab.set_viewport_size({"width": 375, "height": 700})

    assert served.tab.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    assembler = TraceAssembler(keep=5, wait=6)
    with Collector(assembler, page=Page(assembler, keep=5)) as collector:
        post(collector.endpoint, traces_request(other(1)))
        yield int(collector.endpoint.rpartition(":")[2])


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = b"" if path == "/events" and response.status == 200 else response.read()
    connection.close()
    return response.status, body


@pytest.mark.parametrize("path", ["/", "/events", f"/traces/{1:032x}"])
def test_page_is_served_under_its_own_address_only(port: int, path: str) -> None:
    """A name of another site may resolve to 127.0.0.1 (DNS rebinding)."""
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert get(port, path, Host=host)[0] == 200, host
    for host in (
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"localhost:{port + 1}",
        "127.0.0.1",
        "",
        "[",
    ):
        status, body = get(port, path, Host=host)
        assert (status, body) == (
            403,
            f"Open http://127.0.0.1:{port}/ in a browser on this machine.\n".encode(),
        ), host


@pytest.mark.parametrize("path", ["/events", f"/traces/{1:032x}"])
def test_traces_are_not_served_to_pages_of_other_sites(port: int, path: str) -> None:
    for site in ("cross-site", "same-site"):
        assert get(port, path, **{"Sec-Fetch-Site": site})[0] == 403


def test_unknown_traces_and_paths_are_not_found(port: int) -> None:
    for path in (f"/traces/{9:032x}", "/traces/../page.html", "/page.html"):
        assert get(port, path)[0] == 404, path


def test_page_needs_the_option(port: int) -> None:
    with Collector(TraceAssembler(keep=5, wait=6)) as collector:
        assert get(int(collector.endpoint.rpartition(":")[2]), "/")[0] == 404
