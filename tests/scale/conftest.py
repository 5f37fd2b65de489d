"""The real programs, and the services whose spans they receive."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from filelock import FileLock

from ..conftest import Render, Workshop
from .honeycomb import Ingest, Trace, decode, traces
from .programs import Collector, new_project, write
from .services import EXPENSIVE_USD, SLOW_MS, Shops
from .traffic import regroup

Record: TypeAlias = Callable[..., list[bytes]]

REQUESTS: Final = 20_000
RATE: Final = 10
POLICY: Final = (
    f"--sample-rate={RATE}",
    f"--keep-slow-ms={SLOW_MS}",
    f"--keep-cost-usd={EXPENSIVE_USD}",
)

SAMPLING: Final = {
    "HONEYCOMB_SAMPLE_RATE": "4",
    # One decision for the whole trace.
    "HONEYCOMB_TRUST_INCOMING": "true",
    "HONEYCOMB_KEEP_SLOW_MS": "1000000",
}
"""Variables of services that sample too."""

_GO: Final = (1, 26)
_SOURCE: Final = Path(__file__).parent / "collector"
# Release 3.2.2. Go knows it by its commit only, as the path of the module does not end with /v3.
_REFINERY: Final = "v1.21.1-0.20260526205233-64a874adf8f9"


@pytest.fixture(scope="session")
def go() -> str:
    """The Go compiler."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed, so there is no program to test")
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, check=True, text=True)
    release = re.match(r"go(\d+)\.(\d+)", done.stdout)
    if release and (int(release[1]), int(release[2])) < _GO:
        pytest.skip(f"the programs need Go {_GO[0]}.{_GO[1]} or later")
    return go


@pytest.fixture(scope="session")
def collector_program(go: str) -> Path:
    """A Collector, built from Go modules. It is built again only if its source has changed."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_SOURCE.iterdir())))
    program = _cache() / f"collector-{digest.hexdigest()[:12]}"
    with FileLock(f"{program}.lock"):
        if not program.exists():
            unfinished = program.with_suffix(".unfinished")
            flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
            subprocess.run([go, "build", *flags, "-o", unfinished, "."], cwd=_SOURCE, check=True)
            unfinished.rename(program)
    return program


@pytest.fixture(scope="session")
def refinery_program(request: pytest.FixtureRequest) -> Path:
    """Refinery on the PATH, or built from its Go module if the proxy serves that."""
    if installed := shutil.which("refinery"):
        return Path(installed)
    go: str = request.getfixturevalue("go")
    folder = _cache() / f"refinery-{_REFINERY}"
    package = f"github.com/honeycombio/refinery/cmd/refinery@{_REFINERY}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "refinery").exists():
            done = subprocess.run(
                [go, "install", "-ldflags=-X main.BuildID=3.2.2", package],
                env={**os.environ, "GOBIN": str(folder)},
                stderr=subprocess.PIPE,
                check=False,
                text=True,
            )
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1].strip()
                pytest.skip(f"refinery is not on the PATH, and Go cannot build it: {reason}")
    return folder / "refinery"


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copier-honeycomb"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def shops(render: Render, workshop: Workshop) -> Shops:
    return Shops(render, workshop)


@pytest.fixture(scope="session")
def record(collector_program: Path, shops: Shops, shared: Path) -> Record:
    """Send requests to the services, and record the spans that a Collector forwards."""

    def record(requests: int, **variables: str) -> list[bytes]:
        folder = shared / f"traffic-{requests}-{'-'.join(variables.values())}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                unfinished = folder.with_suffix(".unfinished")
                for number, body in enumerate(_record(unfinished, requests, variables)):
                    (unfinished / f"{number:05}").write_bytes(body)
                shutil.rmtree(unfinished / "collector")
                (unfinished / ".copier-answers.yml").unlink()
                unfinished.rename(folder)
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    def _record(folder: Path, requests: int, variables: dict[str, str]) -> list[bytes]:
        project = new_project(folder)
        write(project, "collector")
        with (
            Ingest() as ingest,
            Collector(collector_program, project, ingest.url) as collector,
            shops.serve(collector.endpoints, **variables) as shop,
        ):
            shop.send(iter(range(requests)))
            shop.stop()
            collector.wait_until_forwarded()
            return list(regroup(ingest.requests))

    return record


@pytest.fixture(scope="session")
def recorded(record: Record) -> list[bytes]:
    """The spans of 20,000 requests, as a Collector has forwarded them."""
    return record(REQUESTS)


@pytest.fixture(scope="session")
def sent(recorded: list[bytes]) -> dict[str, Trace]:
    """The traces in `recorded` by trace ID."""
    return traces(decode(recorded))


def spans_in_a_trace(sent: Mapping[str, Trace]) -> int:
    """The number of spans of a request, which is the same for each kind."""
    [number] = {len(trace.events) for trace in sent.values()}
    return number
