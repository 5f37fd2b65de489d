"""Honeycomb's management API: one request at a time, again where that is safe."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from ..http_transport import connection_to, seconds_of
from ..sending import in_one_line
from ..settings import Settings
from ..terminal import printable

TRIES: Final = 5
FIRST_PAUSE: Final = 1.0
"""Seconds before the second try; each further pause is twice as long."""
LONGEST_WAIT: Final = 120.0
"""Seconds that Honeycomb may ask to wait. What it asks beyond that ends the command."""
REQUEST_SECONDS: Final = 30.0
_MAX_BYTES: Final = 32_000_000


class APIError(Exception):
    """A request that did not do what it was for. Its text is a sentence for the user."""


class Refused(APIError):
    """Honeycomb answered, and the answer is no."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Unanswered(APIError):
    """Nobody knows whether the request was carried out: no answer came, or that of a fault."""


def address_of(settings: Settings) -> str:
    """Where Honeycomb is asked, without what may be secret in a URL."""
    url = urlsplit(settings.api_endpoint)
    return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")


@contextmanager
def understood(settings: Settings) -> Iterator[None]:
    """Raises `APIError` where an answer that is read in the block has another form than Honeycomb's."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise APIError(
            f"{address_of(settings)} answers in a form that is not Honeycomb's"
            f" ({in_one_line(error)}). Check HONEYCOMB_API_ENDPOINT."
        ) from error


class HoneycombAPI:
    """Requests with one key.

    What reads or overwrites is tried again. What creates is not, as it may have been carried out
    although no answer came: see `create`.
    """

    def __init__(
        self,
        settings: Settings,
        key: str,
        say: Callable[[str], None],
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        """`say` is told of each wait, so that nobody takes it for a command that hangs. `seconds`
        is how long an answer may take."""
        if settings.has_own_endpoint:
            # The certificates are those of that endpoint.
            settings = replace(settings, certificate=None, client_certificate=None, client_key=None)
        self._settings = settings
        self._url = urlsplit(settings.api_endpoint)
        self._key = key
        self._say = say
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None
        self._prefix = ""
        self._for_proxy: dict[str, str] = {}

    def get(self, path: str) -> Any:
        """The JSON of the answer. Raises `APIError`."""
        return self._again_and_again("GET", path, None)

    def find(self, path: str) -> Any | None:
        """As `get`, and None where there is no such thing."""
        try:
            return self.get(path)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def overwrite(self, method: str, path: str, body: Any) -> Any:
        """Makes the thing at `path` what `body` says, by PUT or PATCH."""
        return self._again_and_again(method, path, body)

    def delete(self, path: str) -> None:
        try:
            self._again_and_again("DELETE", path, None)
        except Refused as refusal:
            # Gone already, perhaps by a request whose answer was lost.
            if refusal.status != 404:
                raise

    def create(self, path: str, body: Any, look: Callable[[], Any | None]) -> Any:
        """Makes a new thing, once.

        Where the answer is lost, `look` is asked for the thing before it is made again.
        """
        pause = FIRST_PAUSE
        for attempt in range(1, TRIES + 1):
            try:
                return self._once("POST", path, body)
            except Unanswered as error:
                if attempt == TRIES:
                    raise
                self._wait(pause, error)
                pause *= 2
                if (made := look()) is not None:
                    return made
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _again_and_again(self, method: str, path: str, body: Any) -> Any:
        pause = FIRST_PAUSE
        for _ in range(TRIES - 1):
            try:
                return self._once(method, path, body)
            except Unanswered as error:
                self._wait(pause, error)
                pause *= 2
        return self._once(method, path, body)

    def _once(self, method: str, path: str, body: Any) -> Any:
        """One request, again only where Honeycomb says that it took none: its rate limit."""
        pause = FIRST_PAUSE
        for attempt in range(1, TRIES + 1):
            status, headers, answer = self.exchange(method, path, body)
            if status != 429:
                return self._result(status, answer, f"{method} {path}")
            wait = seconds_of(headers.get("retry-after"))
            wait = pause if wait is None else wait
            error = Refused(
                429, f"Honeycomb's rate limit is reached; it asks to wait {wait:.0f} s."
            )
            if attempt == TRIES or wait > LONGEST_WAIT:
                raise error
            self._wait(wait, error)
            pause *= 2
        raise AssertionError("unreachable")

    def exchange(
        self, method: str, path: str, body: Any
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request, once: status, headers and body of the answer. Raises `Unanswered`."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"x-honeycomb-team": self._key, "accept": "application/json"}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            if self._connection is None:
                self._connection, prefix, self._for_proxy = connection_to(self._url, self._settings)
                self._connection.timeout = self._seconds
                self._prefix = prefix + self._url.path
            self._connection.request(
                method, self._prefix + path, content, headers | self._for_proxy
            )
            response = self._connection.getresponse()
            answer = response.read(_MAX_BYTES)
            if not response.isclosed() or response.will_close:
                self.close()
            return response.status, response.headers, answer
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            raise Unanswered(
                f"{address_of(self._settings)} does not answer ({in_one_line(error)})."
                " Check the endpoint, and the proxy where there is one."
            ) from None

    def _result(self, status: int, answer: bytes, request: str) -> Any:
        if status >= 500:
            raise Unanswered(f"Honeycomb has a fault of its own ({status} to {request}).")
        content: Any = None
        with suppress(ValueError):
            content = json.loads(answer)
        if status in (401, 403):
            reason = self._in_words(content) or "no reason is given"
            raise Refused(status, f"Honeycomb refuses the key ({status} to {request}: {reason}).")
        if not 200 <= status < 300:
            reason = self._in_words(content) or "no reason is given"
            raise Refused(status, f"Honeycomb refuses it ({status} to {request}: {reason}).")
        if status != 204 and content is None:
            raise Refused(
                status,
                f"{address_of(self._settings)} is not Honeycomb's API: its answer to {request} is"
                " no JSON. Check HONEYCOMB_API_ENDPOINT.",
            )
        return content

    def _in_words(self, content: Any) -> str:
        """What an error in the form of RFC 7807 says, field by field where it does."""
        if not isinstance(content, dict):
            return ""
        details = content.get("type_detail")
        said = [
            ": ".join(str(detail[name]) for name in ("field", "description") if detail.get(name))
            for detail in (details if isinstance(details, list) else [])
            if isinstance(detail, dict)
        ] or [str(content.get("detail") or content.get("error") or "")]
        return printable("; ".join(said).replace(self._key, "(the key)"))[:300]

    def _wait(self, seconds: float, because: APIError) -> None:
        self._say(f"{because} Trying again in {seconds:.0f} s.")
        time.sleep(seconds)
