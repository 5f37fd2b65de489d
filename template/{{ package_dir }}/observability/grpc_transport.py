"""OTLP over gRPC, for requests that are bytes already."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .sending import REJECTED, Failure, in_one_line
from .settings import Settings


class GRPCTransport:
    """A channel of grpcio, which connects and reconnects by itself."""

    _METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._grpc: Any = None
        self._call: Any = None
        self._channel: Any = None
        # gRPC refuses header names with upper case.
        self._metadata = [(name.lower(), value) for name, value in settings.headers.items()]

        with suppress(ImportError):
            import grpc

            self._grpc = grpc

    def send(self, request: bytes) -> Failure | None:
        grpc = self._grpc
        if grpc is None:
            return Failure(
                reason="OTLP over gRPC needs grpcio. Install it, or set"
                " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
                again=False,
            )
        try:
            if self._call is None:
                self._connect()
            self._call(request, timeout=self._settings.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return self._failure(grpc.StatusCode, error)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the thread goes on
            reason = f"{self._where} cannot be used ({in_one_line(error)})."
            return Failure(reason=reason, again=False)
        return None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _connect(self) -> None:
        grpc = self._grpc
        url = urlsplit(self._settings.endpoint)
        compression = (
            grpc.Compression.Gzip if self._settings.compressed else grpc.Compression.NoCompression
        )
        if url.scheme == "http":
            self._channel = grpc.insecure_channel(url.netloc, compression=compression)
        else:
            certificate = self._settings.client_certificate
            # One file may hold both. gRPC ends the process that gives it only one of them.
            key = certificate and (self._settings.client_key or certificate)
            credentials = grpc.ssl_channel_credentials(
                _content(self._settings.certificate), _content(key), _content(certificate)
            )
            target = url.netloc if url.port else f"{url.netloc}:443"
            self._channel = grpc.secure_channel(target, credentials, compression=compression)
        self._call = self._channel.unary_unary(
            self._METHOD, request_serializer=None, response_deserializer=None
        )

    @property
    def _where(self) -> str:
        # Without what may be secret in a URL.
        url = urlsplit(self._settings.endpoint)
        return f"{url.scheme}://{url.netloc}"

    def _failure(self, codes: Any, error: Any) -> Failure:
        code = error.code()
        where = self._where
        if code in (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED):
            return Failure(reason=REJECTED.format(code.name), again=False)
        if code in (codes.UNAVAILABLE, codes.DEADLINE_EXCEEDED):
            reason = f"{where} cannot be reached ({code.name}). Check the endpoint and the network."
            return Failure(reason=reason, again=True)
        if code in (codes.RESOURCE_EXHAUSTED, codes.ABORTED, codes.CANCELLED, codes.INTERNAL):
            return Failure(reason=f"{where} has a fault of its own ({code.name}).", again=True)
        return Failure(reason=f"{where} refuses the request ({code.name}).", again=False)


def _content(file: str | None) -> bytes | None:
    return Path(file).read_bytes() if file else None
