"""A client of Honeycomb's management API that retries if a retry is safe."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Final, Self

import httpx

from ..project import variable
from ..terminal import printable

ATTEMPTS: Final = 5
FIRST_PAUSE: Final = 1.0
"""Seconds before the first retry; each further pause is twice as long."""
MAX_RETRY_AFTER: Final = 120.0
"""Seconds. A longer Retry-After ends the command."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds in which a response has to be complete."""
_MAX_REASON: Final = 300


class APIError(Exception):
    """A request failed. The text is a sentence for the user, and contains no key."""


class HTTPError(APIError):
    """Honeycomb responded with an error. `status` is 0 if no request was sent."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class NoResponse(APIError):
    """The request may or may not have been carried out: no response came, or a server error."""


class HoneycombClient:
    """Requests with one key.

    Requests that read, overwrite or delete are retried. One that creates is not, since it may have
    been carried out although the response was lost: see `create`.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        notify: Callable[[str], None],
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        """`notify` receives a sentence before each pause, so that a command does not seem to hang.
        `timeout`, in seconds, is for one complete request."""
        self._endpoint = endpoint
        self._key = key
        self._notify = notify
        self._timeout = timeout
        # Runs each request to its end: asyncio can limit its total duration, a socket cannot.
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if "_http" in self.__dict__:
            self._runner.run(self._http.aclose())
        self._runner.close()

    @property
    def origin(self) -> str:
        """Scheme, host and port of the endpoint."""
        url = httpx.URL(self._endpoint)
        return f"{url.scheme}://{url.netloc.decode()}"

    def get(self, path: str) -> Any:
        """The JSON of the response. Raises APIError."""
        return self._with_retries("GET", path, None)

    def find(self, path: str) -> Any | None:
        """The JSON of the response, or None if there is no such object."""
        try:
            return self.get(path)
        except HTTPError as error:
            if error.status == 404:
                return None
            raise

    def overwrite(self, method: str, path: str, body: Any) -> Any:
        """Replace the object at `path`, by PUT or PATCH."""
        return self._with_retries(method, path, body)

    def delete(self, path: str) -> None:
        try:
            self._with_retries("DELETE", path, None)
        except HTTPError as error:
            # Already deleted, perhaps by a request whose response was lost.
            if error.status != 404:
                raise

    def create(self, path: str, body: Any, find: Callable[[], Any | None]) -> Any:
        """Create an object once, or return the one that a concurrent run has created.

        If the response is lost, the object is looked up with `find` before a retry.
        """
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once("POST", path, body)
            except HTTPError as rejected:
                # It exists, or it was the last one that the plan allows.
                created = find() if rejected.status in (403, 409) else None
                if created is None:
                    raise
                return created
            except NoResponse as error:
                if attempt == ATTEMPTS:
                    raise
                self._wait(pause, error)
                pause *= 2
                if (created := find()) is not None:
                    return created
        raise AssertionError("unreachable")

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send one request, without a retry. Raises NoResponse."""
        try:
            return self._runner.run(self._request(method, path, body))
        except TimeoutError:
            reason = f"no response within {self._timeout:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            reason = one_line(error)
        raise NoResponse(
            f"{self.origin} does not respond ({reason}). Check the endpoint and the proxy, if any."
        )

    @contextmanager
    def validated_responses(self) -> Iterator[None]:
        """Raise APIError if a response that is read in the block does not have Honeycomb's form."""
        try:
            yield
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise APIError(
                f"{self.origin} is not Honeycomb's API: a response has an unexpected form"
                f" ({one_line(error)}). Check HONEYCOMB_API_ENDPOINT."
            ) from error

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._endpoint,
            headers={
                "x-honeycomb-team": self._key,
                "accept": "application/json",
                "user-agent": user_agent(),
            },
            timeout=self._timeout,
            verify=tls_context(_certificate()) if self._endpoint.startswith("https:") else False,
        )

    async def _request(self, method: str, path: str, body: Any) -> httpx.Response:
        async with asyncio.timeout(self._timeout):
            return await self._http.request(method, path, json=body)

    def _with_retries(self, method: str, path: str, body: Any) -> Any:
        pause = FIRST_PAUSE
        for _ in range(ATTEMPTS - 1):
            try:
                return self._once(method, path, body)
            except NoResponse as error:
                self._wait(pause, error)
                pause *= 2
        return self._once(method, path, body)

    def _once(self, method: str, path: str, body: Any) -> Any:
        """One request, repeated only if it was rejected by the rate limit, which is always safe."""
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            response = self.request(method, path, body)
            if response.status_code != 429:
                return self._content(response, f"{method} {path}")
            requested = retry_after(response.headers.get("retry-after"))
            wait = pause if requested is None else requested
            error = HTTPError(429, "Honeycomb's rate limit is reached.")
            if wait > MAX_RETRY_AFTER:
                raise HTTPError(429, f"{error} Honeycomb asks to wait {wait:.0f} s.")
            if attempt == ATTEMPTS:
                raise error
            self._wait(wait, error)
            pause *= 2
        raise AssertionError("unreachable")

    def _content(self, response: httpx.Response, request: str) -> Any:
        status = response.status_code
        if status >= 500:
            raise NoResponse(f"Honeycomb returned a server error ({status} to {request}).")
        content: Any = None
        with suppress(ValueError):
            content = response.json()
        if not response.is_success:
            rejected = "the key" if status in (401, 403) else "the request"
            reason = self._reason(content) or "no reason given"
            raise HTTPError(
                status, f"Honeycomb rejected {rejected} ({status} to {request}: {reason})."
            )
        if status != 204 and content is None:
            raise HTTPError(
                status,
                f"{self.origin} is not Honeycomb's API: the response to {request} is not JSON."
                " Check HONEYCOMB_API_ENDPOINT.",
            )
        return content

    def _reason(self, content: Any) -> str:
        """The text of an error in the form of RFC 7807, field by field if it lists fields."""
        if not isinstance(content, dict):
            return ""
        details = content.get("type_detail")
        reasons = [
            ": ".join(str(detail[name]) for name in ("field", "description") if detail.get(name))
            for detail in (details if isinstance(details, list) else [])
            if isinstance(detail, dict)
        ] or [str(content.get("detail") or content.get("error") or "")]
        return printable("; ".join(reasons).replace(self._key, "(the key)"))[:_MAX_REASON]

    def _wait(self, seconds: float, error: APIError) -> None:
        self._notify(f"{error} Retrying in {seconds:.0f} s.")
        time.sleep(seconds)


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait; it holds a number or a date."""
    if not header:
        return None
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return None


def one_line(error: Exception) -> str:
    """The type of an error and the first line of its text."""
    lines = str(error).splitlines()
    text = printable(lines[0])[:100] if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def tls_context(authorities: str | None) -> ssl.SSLContext:
    """Verify certificates with the authorities in a file, by default those of this machine.

    Raises APIError if the file cannot be read.
    """
    if authorities is None and not ssl.get_default_verify_paths().cafile:
        import certifi

        authorities = certifi.where()
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise APIError(
            "OTEL_EXPORTER_OTLP_CERTIFICATE does not name a file of certificates in PEM"
            f" ({one_line(error)}). Correct or unset it."
        ) from None


def _certificate() -> str | None:
    """The file of authorities that the service uses for Honeycomb."""
    prefix = "OTEL_EXPORTER_OTLP"
    if variable(f"{prefix}_ENDPOINT") or variable(f"{prefix}_TRACES_ENDPOINT"):
        return None  # the file is for that endpoint
    return variable(f"{prefix}_TRACES_CERTIFICATE") or variable(f"{prefix}_CERTIFICATE")


def user_agent() -> str:
    try:
        return f"copier-honeycomb/{version('copier-honeycomb')}"
    except PackageNotFoundError:
        return "copier-honeycomb"
