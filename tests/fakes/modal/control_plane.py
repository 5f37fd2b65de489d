"""Modal's side of `modal deploy`: secrets, images, files and functions, kept in memory."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2, api_pb2_grpc

# The version whose protocol this module implements, for containers and for deploying.
MODAL: Final = f"modal=={version('modal')}"
BUILDER: Final = "2026.10"
SUCCESS: Final = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
Context = grpc.ServicerContext

if TYPE_CHECKING:
    # In its stub, all of its 285 calls are abstract.
    Servicer = object
else:
    Servicer = api_pb2_grpc.ModalClientServicer


@dataclass(frozen=True)
class Deployment:
    """A function of an app, as one `modal deploy` or `modal serve` created it."""

    app_name: str
    """Empty for `modal serve`, as its app ends with the command."""
    app_id: str
    environment: str
    function_id: str
    function: api_pb2.Function
    metadata: api_pb2.FunctionHandleMetadata
    dockerfile: list[str]
    """The image's recipe, beginning with its base."""
    context: Mapping[str, bytes]
    """The files that the recipe copies into the image."""
    files: Mapping[str, bytes]
    """Other files of a container, by their paths."""
    variables: Mapping[str, str]
    """The variables that a container's secrets set."""


class ControlPlane(Servicer):
    """Listens at `url` while the block runs. Calls that are not implemented here are rejected."""

    url: str

    def __init__(
        self, secrets: Mapping[str, Mapping[str, str]] | None = None, environment: str = "main"
    ) -> None:
        self.secrets = {name: dict(values) for name, values in (secrets or {}).items()}
        self.deployments: list[Deployment] = []
        self._environment = environment
        self._ids = count(1)
        self._names: dict[str, str] = {}
        self._is_deployed: dict[str, bool] = {}
        self._secret_ids: dict[str, dict[str, str]] = {}
        self._images: dict[str, api_pb2.Image] = {}
        self._mounts: dict[str, list[api_pb2.MountFile]] = {}
        self._contents: dict[str, bytes] = {}
        self._functions: dict[str, api_pb2.Function] = {}
        self._metadata: dict[str, api_pb2.FunctionHandleMetadata] = {}

    def __enter__(self) -> Self:
        self.url, self._server = serve(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(0).wait()

    def modal(
        self, python: Path, project: Path, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the real `modal` with these arguments in `project`. Its output is in stdout."""
        with tempfile.TemporaryDirectory() as home:
            return subprocess.run(
                [python, "-m", "modal", *arguments],
                cwd=project,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": home,
                    "TERM": "dumb",
                    # Tables are as wide as the terminal.
                    "COLUMNS": "200",
                    "MODAL_SERVER_URL": self.url,
                    "MODAL_TOKEN_ID": "ak-test",
                    "MODAL_TOKEN_SECRET": "as-test",
                    **variables,
                },
                check=False,
                # Confirms a prompt.
                input="\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._ids):022d}"

    # The client and its environment

    def ClientHello(self, request: Any, context: Context) -> Any:
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest, context: Context
    ) -> Any:
        self._environment = request.deployment_name or self._environment
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1",
            metadata=api_pb2.EnvironmentMetadata(
                name=self._environment,
                settings=api_pb2.EnvironmentSettings(image_builder_version=BUILDER),
            ),
        )

    # Secrets

    def SecretGetOrCreate(
        self, request: api_pb2.SecretGetOrCreateRequest, context: Context
    ) -> api_pb2.SecretGetOrCreateResponse:
        name, how = request.deployment_name, request.object_creation_type
        if how == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
            if name not in self.secrets:
                context.abort(
                    grpc.StatusCode.NOT_FOUND,
                    f"Secret '{name}' not found in environment '{self._environment}'",
                )
            if missing := set(request.required_keys) - set(self.secrets[name]):
                context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Secret '{name}' is missing keys: {', '.join(sorted(missing))}",
                )
        elif name:
            fails = api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
            if name in self.secrets and how == fails:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Secret '{name}' already exists")
            self.secrets[name] = dict(request.env_dict)
        values = self.secrets[name] if name else dict(request.env_dict)
        secret_id = self._id("st")
        self._secret_ids[secret_id] = values
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id)

    def SecretList(self, request: Any, context: Context) -> api_pb2.SecretListResponse:
        items = [
            api_pb2.SecretListItem(
                label=name, secret_id="st-1", metadata=api_pb2.SecretMetadata(name=name)
            )
            for name in sorted(self.secrets)
        ]
        return api_pb2.SecretListResponse(items=items, environment_name=self._environment)

    # Files and images

    def MountBatchedCheckExistence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest, context: Context
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [each for each in request.sha256_hex_hashes if each not in self._contents]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    def MountPutFile(
        self, request: api_pb2.MountPutFileRequest, context: Context
    ) -> api_pb2.MountPutFileResponse:
        self._contents[request.sha256_hex] = request.data
        return api_pb2.MountPutFileResponse(exists=True)

    def MountGetOrCreate(
        self, request: api_pb2.MountGetOrCreateRequest, context: Context
    ) -> api_pb2.MountGetOrCreateResponse:
        mount_id = self._id("mo")
        self._mounts[mount_id] = list(request.files)
        return api_pb2.MountGetOrCreateResponse(mount_id=mount_id)

    def ImageGetOrCreate(
        self, request: api_pb2.ImageGetOrCreateRequest, context: Context
    ) -> api_pb2.ImageGetOrCreateResponse:
        image_id = self._id("im")
        self._images[image_id] = request.image
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id,
            result=api_pb2.GenericResult(status=SUCCESS),
            metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER),
        )

    def _recipe(self, image_id: str) -> tuple[list[str], dict[str, bytes]]:
        image = self._images[image_id]
        dockerfile: list[str] = []
        context: dict[str, bytes] = {}
        for base in image.base_images:
            lines, files = self._recipe(base.image_id)
            dockerfile += lines
            context |= files
        dockerfile += [line for line in image.dockerfile_commands if line != "FROM base"]
        return dockerfile, context | {file.filename: file.data for file in image.context_files}

    # Functions and apps

    def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest, context: Context
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        return api_pb2.AppGetByDeploymentNameResponse(environment_name=self._environment)

    def AppCreate(
        self, request: api_pb2.AppCreateRequest, context: Context
    ) -> api_pb2.AppCreateResponse:
        app_id = self._id("ap")
        self._names[app_id] = request.description
        self._is_deployed[app_id] = request.app_state != api_pb2.APP_STATE_EPHEMERAL
        return api_pb2.AppCreateResponse(app_id=app_id, app_page_url="https://modal.test/app")

    def FunctionPrecreate(
        self, request: api_pb2.FunctionPrecreateRequest, context: Context
    ) -> api_pb2.FunctionPrecreateResponse:
        function_id = self._id("fu")
        # Like Modal: the URL contains the environment and, for `modal serve`, a suffix.
        environment = "" if self._environment == "main" else f"-{self._environment}"
        suffix = request.webhook_config.ephemeral_suffix or "dev"
        suffix = "" if self._is_deployed[request.app_id] else f"-{suffix}"
        label = f"{self._names[request.app_id]}-{request.function_name}{suffix}"
        self._metadata[function_id] = metadata = api_pb2.FunctionHandleMetadata(
            function_name=request.function_name,
            function_type=request.function_type,
            definition_id=f"de-{function_id}",
            web_url=f"https://acme{environment}--{label}.modal.run"
            if request.HasField("webhook_config") and request.webhook_config.type
            else "",
            app_id=request.app_id,
        )
        for name, method in request.method_definitions.items():
            metadata.method_handle_metadata[name].CopyFrom(
                api_pb2.FunctionHandleMetadata(
                    function_name=method.function_name,
                    function_type=method.function_type,
                    is_method=True,
                    use_method_name=name,
                )
            )
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    def FunctionCreate(
        self, request: api_pb2.FunctionCreateRequest, context: Context
    ) -> api_pb2.FunctionCreateResponse:
        function_id, function = request.existing_function_id, request.function
        self._functions[function_id] = function
        answer = api_pb2.FunctionCreateResponse(
            function_id=function_id,
            function=function,
            handle_metadata=self._metadata[function_id],
        )
        answer.function_data.function_name = function.function_name
        answer.function_data.ranked_functions.add(rank=0, function=function)
        return answer

    def ClassCreate(
        self, request: api_pb2.ClassCreateRequest, context: Context
    ) -> api_pb2.ClassCreateResponse:
        return api_pb2.ClassCreateResponse(
            class_id=self._id("cs"), handle_metadata=api_pb2.ClassHandleMetadata()
        )

    def AppPublish(
        self, request: api_pb2.AppPublishRequest, context: Context
    ) -> api_pb2.AppPublishResponse:
        for function_id in request.function_ids.values():
            self._publish(request, function_id)
        return api_pb2.AppPublishResponse(url="https://modal.test/app", deployed_at=time.time())

    def _publish(self, request: api_pb2.AppPublishRequest, function_id: str) -> None:
        function = self._functions[function_id]
        dockerfile, files = self._recipe(function.image_id)
        variables: dict[str, str] = {}
        for secret_id in function.secret_ids:
            variables |= self._secret_ids[secret_id]
        self.deployments.append(
            Deployment(
                app_name=request.name,
                app_id=request.app_id,
                environment=self._environment,
                function_id=function_id,
                function=function,
                metadata=self._metadata[function_id],
                dockerfile=dockerfile,
                context=files,
                files={
                    file.filename: self._contents[file.sha256_hex]
                    for mount_id in function.mount_ids
                    for file in self._mounts[mount_id]
                },
                variables=variables,
            )
        )

    def AppHeartbeat(self, request: Any, context: Context) -> Empty:
        return Empty()

    def AppClientDisconnect(self, request: Any, context: Context) -> Empty:
        return Empty()


def serve(servicer: Any) -> tuple[str, grpc.Server]:
    """Start a server for `servicer`. Return its URL and the server."""
    # Some calls of a container block.
    server = grpc.server(ThreadPoolExecutor(max_workers=64))
    api_pb2_grpc.add_ModalClientServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return f"http://127.0.0.1:{port}", server
