"""Modal's side of a container: a deployed function with its uploaded files, served over HTTP."""

import json
import os
import pickle
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any, Literal, Self
from urllib.request import Request

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from ...service.process import PATIENCE, Log, send
from .calls import Calls
from .control_plane import SUCCESS, Context, Deployment, Servicer, serve

Stop = Literal["scale-down", "SIGINT", "SIGTERM"]
# A message of a web function's response; None ends it.
_Message = api_pb2.Asgi | None


class Container(Servicer):
    """Serves `deployment` at `url` while the block runs, in Modal's own container entrypoint.

    The environment of `python` is the image; of the project, it has only the uploaded files.
    """

    url: str
    failures: list[str]
    """Errors of the container as a whole that it reported: in its import, start-up or exit."""

    def __init__(
        self,
        deployment: Deployment,
        python: Path,
        app: Sequence[Deployment] = (),
        calls: Calls | None = None,
        /,
        *,
        task_id: str = "ta-1",
        restored_from: str | None = None,
        **variables: str,
    ) -> None:
        """`app` are all functions of its app, which can call each other through `calls`.

        `restored_from` is the task whose memory snapshot this container starts from.
        """
        self._deployment = deployment
        self._app = app or (deployment,)
        self._calls = calls or Calls()
        self._calls.register(deployment.function_id, self)
        self._python = python
        self._task_id = task_id
        self._restored_from = restored_from
        self._variables = variables
        self._folder = tempfile.TemporaryDirectory()
        self._log = Log()
        self._inputs: Queue[api_pb2.FunctionGetInputsItem] = Queue()
        self._cancelled: list[str] = []
        self._requests: dict[str, api_pb2.DataChunk] = {}
        self._answers: dict[str, Queue[_Message]] = {}
        self._is_over = threading.Event()
        self.failures = []
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        self._control_url, self._server = serve(self)
        self._gateway = _Gateway(self)
        self.url = self._gateway.url
        root = Path(self._folder.name)
        for name, content in self._deployment.files.items():
            file = root / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self._process = subprocess.Popen(
            [self._python, "-u", "-m", "modal._container_entrypoint"],
            cwd=root / "root",
            env=self._environment(root),
            stdin=subprocess.DEVNULL,
            stdout=self._log.file,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._wait_for_exit, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.stop()
        self._gateway.close()
        self._server.stop(0).wait()
        self._folder.cleanup()

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of the response."""
        return send(Request(self.url + path))

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        return send(Request(self.url + path, json.dumps(body).encode(), headers))

    def stop(self, how: Stop = "scale-down") -> None:
        """Stop the container. Preemption is a SIGINT."""
        if how == "scale-down":
            self._inputs.put(api_pb2.FunctionGetInputsItem(kill_switch=True))
        else:
            self._process.send_signal(signal.Signals[how])
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"The container did not stop.\n{self.log()}") from None
        self.exit_code = self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads so far."""
        times = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """Return the output so far."""
        return self._log.text()

    def _wait_for_exit(self) -> None:
        self._process.wait()
        self._is_over.set()
        for answer in list(self._answers.values()):
            answer.put(None)

    def _environment(self, root: Path) -> dict[str, str]:
        deployment = self._deployment
        arguments = api_pb2.ContainerArguments(
            task_id=self._restored_from or self._task_id,
            function_id=deployment.function_id,
            app_id=deployment.app_id,
            function_def=deployment.function,
            environment_name=deployment.environment,
        )
        layout = arguments.app_layout
        for each in self._app:
            function = layout.objects.add(object_id=each.function_id)
            function.function_handle_metadata.CopyFrom(each.metadata)
            layout.function_ids[each.function.function_name] = each.function_id
            if each.function.is_class:
                class_id = f"cs-{each.function_id}"
                layout.class_ids[each.function.function_name.removesuffix(".*")] = class_id
                layout.objects.add(object_id=class_id).class_handle_metadata.SetInParent()
        for dependency in deployment.function.object_dependencies:
            if dependency.object_id not in layout.function_ids.values():
                layout.objects.add(object_id=dependency.object_id)
        snapshot: dict[str, str] = {}
        if self._restored_from:
            arguments.checkpoint_id = "ch-1"
            arguments.function_def.is_checkpointing_function = True
            snapshot = {
                "MODAL_ENABLE_SNAP_RESTORE": "1",
                "MODAL_RESTORE_STATE_PATH": str(root / "restore-state.json"),
            }
        (root / "arguments").write_bytes(arguments.SerializeToString())
        recipe = [
            shlex.split(line.removeprefix("ENV "))
            for line in deployment.dockerfile
            if line.startswith("ENV ") and not line.startswith("ENV PATH=")
        ]
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "root"),
            "PYTHONPATH": str(root / "root"),
            **dict(pair.split("=", 1) for pairs in recipe for pair in pairs),
            **deployment.variables,
            # Modal sets these.
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_OCI",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(root / "arguments"),
            "MODAL_ENVIRONMENT": deployment.environment,
            "MODAL_IDENTITY_TOKEN": "an-identity-token-that-nobody-may-see",
            "MODAL_IMAGE_ID": deployment.function.image_id,
            "MODAL_IS_REMOTE": "1",
            "MODAL_REGION": "us-ashburn-1",
            "MODAL_SERVER_URL": self._control_url,
            "MODAL_TASK_ID": self._restored_from or self._task_id,
            **snapshot,
            **self._variables,
        }

    # Calls from the container to Modal

    def ClientHello(self, request: Any, context: Context) -> Any:
        return api_pb2.ClientHelloResponse()

    def ContainerHello(self, request: Any, context: Context) -> Empty:
        return Empty()

    def ContainerHeartbeat(self, request: Any, context: Context) -> Any:
        response = api_pb2.ContainerHeartbeatResponse()
        if self._cancelled:
            response.cancel_input_event.input_ids.extend(self._cancelled)
            self._cancelled.clear()
        return response

    def ContainerCheckpoint(self, request: Any, context: Context) -> Empty:
        state = {"task_id": self._task_id}
        (Path(self._folder.name) / "restore-state.json").write_text(json.dumps(state))
        return Empty()

    def FunctionGetDynamicConcurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest, context: Context
    ) -> Any:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.target_concurrency)

    def FunctionGetInputs(
        self, request: api_pb2.FunctionGetInputsRequest, context: Context
    ) -> api_pb2.FunctionGetInputsResponse:
        inputs: list[api_pb2.FunctionGetInputsItem] = []
        linger = 0.0
        while context.is_active() and not self._is_over.is_set():
            if not self._inputs.empty():
                inputs.append(self._inputs.get())
                # A batch waits for more inputs, but not if the container is to stop.
                linger = linger or time.monotonic() + request.batch_linger_ms / 1_000
                if inputs[-1].kill_switch or len(inputs) >= request.batch_max_size:
                    break
            elif inputs and time.monotonic() >= linger:
                break
            else:
                time.sleep(0.002)
        return api_pb2.FunctionGetInputsResponse(inputs=inputs)

    def FunctionCallGetDataIn(
        self, request: api_pb2.FunctionCallGetDataRequest, context: Context
    ) -> Iterator[api_pb2.DataChunk]:
        if request.last_index == 0:
            yield self._requests[request.function_call_id]
        # The container would repeat a call that ends.
        while context.is_active() and not self._is_over.wait(0.05):
            pass

    def FunctionCallPutDataOut(
        self, request: api_pb2.FunctionCallPutDataRequest, context: Context
    ) -> Empty:
        if not self._calls.put_data(request):
            for chunk in request.data_chunks:
                self._answers[request.function_call_id].put(api_pb2.Asgi.FromString(chunk.data))
        return Empty()

    def FunctionCallGetDataOut(
        self, request: api_pb2.FunctionCallGetDataRequest, context: Context
    ) -> Iterator[api_pb2.DataChunk]:
        sent = request.last_index
        while context.is_active() and not self._is_over.wait(0.005):
            for chunk in self._calls.data(request.function_call_id)[sent:]:
                yield chunk
                sent += 1

    def FunctionPutOutputs(
        self, request: api_pb2.FunctionPutOutputsRequest, context: Context
    ) -> Empty:
        for output in request.outputs:
            if not self._calls.put_output(output):
                self._answers[output.input_id.replace("in-", "fc-")].put(None)
        return Empty()

    def FunctionMap(
        self, request: api_pb2.FunctionMapRequest, context: Context
    ) -> api_pb2.FunctionMapResponse:
        return self._calls.map(request)

    def FunctionPutInputs(
        self, request: api_pb2.FunctionPutInputsRequest, context: Context
    ) -> api_pb2.FunctionPutInputsResponse:
        return self._calls.put_inputs(request)

    def FunctionGetOutputs(
        self, request: api_pb2.FunctionGetOutputsRequest, context: Context
    ) -> api_pb2.FunctionGetOutputsResponse:
        return self._calls.outputs(request)

    def FunctionCallCancel(
        self, request: api_pb2.FunctionCallCancelRequest, context: Context
    ) -> Empty:
        self._calls.cancel(request.function_call_id)
        return Empty()

    def TaskResult(self, request: api_pb2.TaskResultRequest, context: Context) -> Empty:
        if request.result.status != SUCCESS:
            self.failures.append(request.result.exception)
        return Empty()

    # Requests from Modal's router to the container

    def put(self, item: api_pb2.FunctionGetInputsItem) -> None:
        self._inputs.put(item)

    def cancel(self, input_ids: Iterable[str]) -> None:
        """Cancel these inputs with the next heartbeat."""
        self._cancelled.extend(input_ids)

    def call(self, number: int, scope: dict[str, Any], body: bytes) -> Queue[_Message]:
        """Send a request to the container. Its messages come in the queue, followed by None."""
        call_id, input_id = f"fc-{number}", f"in-{number}"
        request = api_pb2.Asgi(http_request=api_pb2.Asgi.HttpRequest(body=body))
        self._requests[call_id] = api_pb2.DataChunk(
            data_format=api_pb2.DATA_FORMAT_ASGI, data=request.SerializeToString(), index=1
        )
        answer = self._answers[call_id] = Queue()
        if self._is_over.is_set():
            answer.put(None)
        arguments = pickle.dumps(((scope,), {}))
        self._inputs.put(
            api_pb2.FunctionGetInputsItem(
                input_id=input_id,
                function_call_id=call_id,
                input=api_pb2.FunctionInput(args=arguments, data_format=api_pb2.DATA_FORMAT_PICKLE),
            )
        )
        return answer


class _Gateway:
    """`*.modal.run`: translates HTTP to the messages of a web function."""

    def __init__(self, container: Container) -> None:
        numbers = count(1)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                # The fields that Modal's router sends; it omits server and root_path.
                scope = {
                    "type": "http",
                    "http_version": "1.1",
                    "method": self.command,
                    "scheme": "https",
                    "path": path,
                    "query_string": query.encode(),
                    "headers": [
                        (name.lower().encode(), value.encode())
                        for name, value in self.headers.items()
                    ],
                    "client": ("203.0.113.7", 43210),
                    "extensions": {},
                }
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                answer = container.call(next(numbers), scope, body)
                start, content = None, b""
                while (message := answer.get()) is not None:
                    if message.HasField("http_response_start"):
                        start = message.http_response_start
                    elif message.HasField("http_response_body"):
                        content += message.http_response_body.body
                        if not message.http_response_body.more_body and start:
                            self._answer(start, content)
                            return
                self.close_connection = True

            do_POST = do_GET

            def _answer(self, start: api_pb2.Asgi.HttpResponseStart, content: bytes) -> None:
                self.send_response(start.status)
                for name, value in zip(start.headers[::2], start.headers[1::2], strict=True):
                    self.send_header(name.decode(), value.decode())
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
