"""The standard HTTP servers of Node and Go as receivers: idle connections, TLS, and a limit of size."""

import gzip
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hooks.traces.otlp import spans_in

from ..conftest import Workshop
from ..depth import in_depth
from .messages import export_lines
from .process import Program

# Both write the body of each accepted request to a file, close connections that are idle for 50 ms,
# and reject a body of over 100 kB before it is complete, as common frameworks do.
NODE: Final = """
const fs = require("fs"), [folder, tls] = process.argv.slice(2);
let number = 0;
function receive(request, response) {
  if (request.headers["content-length"] > 100_000) {
    response.writeHead(413, { connection: "close" }).end(() => request.destroy());
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    fs.writeFileSync(`${folder}/${number++}.body`, Buffer.concat(chunks));
    response.end();
  });
}
const read = (name) => fs.readFileSync(`${folder}/${name}`);
const server = tls
  ? require("https").createServer({ key: read("key.pem"), cert: read("cert.pem") }, receive)
  : require("http").createServer(receive);
server.keepAliveTimeout = 50;
if ("keepAliveTimeoutBuffer" in server) server.keepAliveTimeoutBuffer = 0;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
GO: Final = """
package main

import (
    "fmt"
    "io"
    "net"
    "net/http"
    "os"
    "sync/atomic"
    "time"
)

func main() {
    folder, number := os.Args[1], atomic.Int64{}
    receive := func(response http.ResponseWriter, request *http.Request) {
        body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, 100_000))
        if err != nil {
            http.Error(response, "too large", http.StatusRequestEntityTooLarge)
            return
        }
        os.WriteFile(fmt.Sprintf("%s/%d.body", folder, number.Add(1)), body, 0o600)
    }
    listener, err := net.Listen("tcp", "127.0.0.1:0")
    if err != nil {
        panic(err)
    }
    fmt.Println(listener.Addr().(*net.TCPAddr).Port)
    server := &http.Server{Handler: http.HandlerFunc(receive), IdleTimeout: 50 * time.Millisecond}
    if len(os.Args) > 2 {
        server.ServeTLS(listener, folder+"/cert.pem", folder+"/key.pem")
    } else {
        server.Serve(listener)
    }
}
"""
PAUSES: Final = """
import time

from order_intake.observability import flush, setup_observability, traced

setup_observability()
for number in range(60):
    with traced(f"span {number}"):
        pass
    assert flush(60)
    time.sleep((0.0, 0.048, 0.05, 0.052, 0.2)[number % 5])
"""
BACKLOG: Final = """
import random

from order_intake.observability import setup_observability, traced

setup_observability()
for number in range(2_000):
    with traced(f"span {number}", {"app.text": random.randbytes(200).hex()}):
        pass
"""


@pytest.fixture(scope="module", params=["node", "go"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts a server, before its folder and the option of TLS."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"requires {request.param}")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "node":
        (folder / "server.js").write_text(NODE)
        return [program, str(folder / "server.js")]
    (folder / "main.go").write_text(GO)
    binary = str(folder / "server")
    subprocess.run([program, "build", "-o", binary, "main.go"], cwd=folder, check=True)
    return [binary]


@contextmanager
def receiving(command: list[str], folder: Path, scheme: str) -> Iterator[str]:
    """Run the server and return its endpoint."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    arguments = [*command, str(folder), *(["tls"] if scheme == "https" else [])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"{scheme}://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


@in_depth
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("source", "count"), [(PAUSES, 60), (BACKLOG, 2_000)])
def test_standard_server_receives_each_span_once(
    source: str,
    count: int,
    scheme: str,
    command: list[str],
    project: Path,
    workshop: Workshop,
    tmp_path: Path,
) -> None:
    with (
        receiving(command, tmp_path, scheme) as endpoint,
        Program(
            workshop,
            project,
            source,
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "authority.pem"),
            OTEL_BSP_SCHEDULE_DELAY="60000",
        ) as program,
    ):
        program.end()

    bodies = [gzip.decompress(path.read_bytes()) for path in tmp_path.glob("*.body")]
    spans = [
        each for body in bodies for each in spans_in(ExportTraceServiceRequest.FromString(body))
    ]
    assert Counter(span.name for span in spans) == {f"span {number}": 1 for number in range(count)}
    # A server that closes the connection without reading the request may lose its own response.
    assert count > 60 or export_lines(program.log()) == []
