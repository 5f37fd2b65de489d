"""Modal's side of `.remote()`, `.spawn()`, `.map()` and others: calls between containers of an app."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from modal_proto import api_pb2

if TYPE_CHECKING:
    from .container import Container

TIMEOUT: Final = api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT
# Seconds that a client waits for outputs before it asks again.
_LONGEST_POLL: Final = 55.0


@dataclass
class _Call:
    function_id: str
    invocation: api_pb2.FunctionCallInvocationType.ValueType
    inputs: int = 0
    answered: set[str] = field(default_factory=set)  # IDs of inputs
    outputs: list[api_pb2.FunctionGetOutputsItem] = field(default_factory=list)
    chunks: list[api_pb2.DataChunk] = field(default_factory=list)


class Calls:
    """Routes inputs to the container of their function, and outputs to their caller."""

    def __init__(self) -> None:
        self._containers: dict[str, Container] = {}
        self._calls: dict[str, _Call] = {}
        self._inputs: dict[str, tuple[_Call, int]] = {}
        self._ids = count(1)
        self._changed = threading.Condition()

    def register(self, function_id: str, container: Container) -> None:
        self._containers[function_id] = container

    def map(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
        call_id = f"fc-called-{next(self._ids)}"
        call = _Call(request.function_id, request.function_call_invocation_type)
        self._calls[call_id] = call
        return api_pb2.FunctionMapResponse(
            function_call_id=call_id,
            pipelined_inputs=self._queue(call_id, request.pipelined_inputs),
            function_call_jwt="jwt",
            retry_policy=api_pb2.FunctionRetryPolicy(),
            sync_client_retries_enabled=False,
            max_inputs_outstanding=1000,
        )

    def put_inputs(
        self, request: api_pb2.FunctionPutInputsRequest
    ) -> api_pb2.FunctionPutInputsResponse:
        return api_pb2.FunctionPutInputsResponse(
            inputs=self._queue(request.function_call_id, request.inputs)
        )

    def schedule(self, function_id: str) -> None:
        """Call a function as its schedule does: without arguments, and without a caller."""
        call_id = f"fc-scheduled-{next(self._ids)}"
        self._calls[call_id] = _Call(function_id, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC)
        self._queue(call_id, [api_pb2.FunctionPutInputsItem(input=api_pb2.FunctionInput())])

    def _queue(
        self, call_id: str, items: Iterable[api_pb2.FunctionPutInputsItem]
    ) -> list[api_pb2.FunctionPutInputsResponseItem]:
        call, answers = self._calls[call_id], []
        for item in items:
            input_id = f"in-called-{next(self._ids)}"
            with self._changed:
                self._inputs[input_id] = call, item.idx
                call.inputs += 1
            self._containers[call.function_id].put(
                api_pb2.FunctionGetInputsItem(
                    input_id=input_id,
                    function_call_id=call_id,
                    input=item.input,
                    function_call_invocation_type=call.invocation,
                    function_map_idx=item.idx,
                )
            )
            answers.append(
                api_pb2.FunctionPutInputsResponseItem(
                    idx=item.idx, input_id=input_id, input_jwt="jwt"
                )
            )
        return answers

    def put_output(self, output: api_pb2.FunctionPutOutputsItem) -> bool:
        """Return false if `output` belongs to no call."""
        if output.input_id not in self._inputs:
            return False
        call, index = self._inputs[output.input_id]
        with self._changed:
            if output.input_id in call.answered:  # it has timed out
                return True
            call.answered.add(output.input_id)
            call.outputs.append(
                api_pb2.FunctionGetOutputsItem(
                    result=output.result,
                    idx=index,
                    input_id=output.input_id,
                    data_format=output.data_format,
                    retry_count=output.retry_count,
                )
            )
            self._changed.notify_all()
        return True

    def cancel(self, call_id: str) -> None:
        """Cancel the inputs of a call that are not answered."""
        call = self._calls[call_id]
        self._containers[call.function_id].cancel(self._open(call))

    def time_out(self, function_id: str) -> None:
        """Answer the open inputs of a function as Modal does if they exceed its timeout."""
        for call in [each for each in self._calls.values() if each.function_id == function_id]:
            for input_id in self._open(call):
                result = api_pb2.GenericResult(status=TIMEOUT, exception="the function timed out")
                self.put_output(api_pb2.FunctionPutOutputsItem(input_id=input_id, result=result))

    def _open(self, call: _Call) -> list[str]:
        return [
            input_id
            for input_id, (each, _) in self._inputs.items()
            if each is call and input_id not in call.answered
        ]

    def put_data(self, request: api_pb2.FunctionCallPutDataRequest) -> bool:
        """Keep the items of a generator. Return false if they belong to no call."""
        call = self._calls.get(request.function_call_id)
        if call is not None:
            call.chunks.extend(request.data_chunks)
        return call is not None

    def data(self, call_id: str) -> list[api_pb2.DataChunk]:
        return self._calls[call_id].chunks

    def outputs(
        self, request: api_pb2.FunctionGetOutputsRequest
    ) -> api_pb2.FunctionGetOutputsResponse:
        call = self._calls[request.function_call_id]
        last = int((request.last_entry_id or "0-0").partition("-")[0])
        with self._changed:
            timeout = min(request.timeout, _LONGEST_POLL)
            self._changed.wait_for(lambda: len(call.outputs) > last, timeout)
            return api_pb2.FunctionGetOutputsResponse(
                outputs=call.outputs[last:],
                last_entry_id=f"{len(call.outputs)}-0",
                num_unfinished_inputs=call.inputs - len(call.outputs),
            )

    def finished(self, function_id: str) -> int:
        """Return the number of inputs that a function has answered."""
        with self._changed:
            calls = [call for call in self._calls.values() if call.function_id == function_id]
            return sum(len(call.outputs) for call in calls)
