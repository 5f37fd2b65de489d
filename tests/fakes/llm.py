"""Fakes of the APIs of LLM providers on 127.0.0.1: Anthropic, OpenAI, Gemini and Bedrock.

A request whose text contains `FAIL` gets an error that quotes it, `SLOW` a response after its client
has gone, `BUSY` a 429 first; if it offers tools, the first of them is called once. The usage of all
responses is 1,200 input tokens, of which 1,000 were read from a cache (and 100 written, if the API
reports that), and 300 output tokens, of which 64 are reasoning.
"""

import json
import re
from binascii import crc32
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Self

TEXT: Final = "Hello, COMPLETION."
ARGUMENTS: Final = {"city": "a CITY"}
# Words in the texts of prompts, answers, tools and their arguments and results.
CONTENT: Final = re.compile("PROMPT|COMPLETION|CITY|DESCRIPTION|RESULT")

Body = dict[str, Any]


class LLMAPIs:
    """Serves the APIs at `url` while the block runs. `requests` are the paths and bodies received."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Body]] = []
        self.headers: list[dict[str, str]] = []
        self.attempts: Counter[str] = Counter()
        self.stopped = Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.apis = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # Of a process whose SDKs call these APIs.
        self.variables = {
            "ANTHROPIC_API_KEY": "a-key",
            "ANTHROPIC_BASE_URL": self.url,
            "OPENAI_API_KEY": "a-key",
            "OPENAI_BASE_URL": f"{self.url}/v1",
        }

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    apis: LLMAPIs
    daemon_threads = True


def _tool(request: Body) -> str | None:
    """The name of the tool to call: the first that the request offers, unless one has responded."""
    text = json.dumps(request.get("messages") or request.get("input") or request.get("contents"))
    if re.search(
        r'"(tool_call_id|tool_use_id|call_output|function_call_output|functionResponse|toolResult)"',
        text,
    ):
        return None
    tools = request.get("tools") or request.get("toolConfig", {}).get("tools") or []
    if not tools:
        return None
    tool = tools[0]
    for key in ("functionDeclarations", "function", "toolSpec"):
        tool = tool.get(key, tool)
        tool = tool[0] if isinstance(tool, list) else tool
    return str(tool["name"])


def _anthropic(request: Body) -> Body:
    content: Body = {"type": "text", "text": TEXT}
    if tool := _tool(request):
        content = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": ARGUMENTS}
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [content],
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 100,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 300,
            "output_tokens_details": {"thinking_tokens": 64},
            "service_tier": "standard",
        },
    }


def _anthropic_stream(request: Body) -> Iterator[Body]:
    message = _anthropic(request)
    [block] = message["content"]
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    if block["type"] == "text":
        yield {"type": "content_block_start", "index": 0, "content_block": {**block, "text": ""}}
        for part in TEXT.split(" "):
            delta = {"type": "text_delta", "text": part}
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
    else:
        yield {"type": "content_block_start", "index": 0, "content_block": {**block, "input": {}}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
        "usage": {name: usage[name] for name in usage if name.endswith("_tokens")},
    }
    yield {"type": "message_stop"}


_OPENAI_USAGE: Final = {
    "prompt_tokens": 1_200,
    "completion_tokens": 300,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 1_000},
    "completion_tokens_details": {"reasoning_tokens": 64},
}


def _chat(request: Body) -> Body:
    message: Body = {"role": "assistant", "content": TEXT}
    if tool := _tool(request):
        function = {"name": tool, "arguments": json.dumps(ARGUMENTS)}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    reason = "tool_calls" if tool else "stop"
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _OPENAI_USAGE,
        "service_tier": "default",
    }


def _chat_stream(request: Body) -> Iterator[Body]:
    whole = _chat(request)
    [choice] = whole["choices"]
    chunk = {**whole, "object": "chat.completion.chunk", "usage": None}
    if calls := choice["message"].get("tool_calls"):
        parts: list[Body] = [{"role": "assistant", "tool_calls": [{"index": 0, **calls[0]}]}]
    else:
        parts = [{"role": "assistant", "content": part} for part in TEXT.split(" ")]
    for delta in parts:
        yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield {**chunk, "choices": [last]}
    if (request.get("stream_options") or {}).get("include_usage"):
        yield {**chunk, "choices": [], "usage": _OPENAI_USAGE}


def _responses(request: Body) -> Body:
    output: Body = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
    }
    if tool := _tool(request):
        output = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": tool}
        output |= {"arguments": json.dumps(ARGUMENTS), "status": "completed"}
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": request["model"],
        "output": [output],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": {
            "input_tokens": 1_200,
            "input_tokens_details": {"cached_tokens": 1_000},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 1_500,
        },
    }


def _responses_stream(request: Body) -> Iterator[Body]:
    response = _responses(request)
    [item] = response["output"]
    started = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "sequence_number": 0, "response": started}
    yield {
        "type": "response.output_item.added",
        "sequence_number": 1,
        "output_index": 0,
        "item": {**item, "content": []} if item["type"] == "message" else item,
    }
    if item["type"] == "message":
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield {"type": "response.content_part.added", "sequence_number": 2, **place, "part": part}
        delta = {"sequence_number": 3, **place, "delta": TEXT, "logprobs": []}
        yield {"type": "response.output_text.delta", **delta}
    done = {"sequence_number": 4, "output_index": 0, "item": item}
    yield {"type": "response.output_item.done", **done}
    yield {"type": "response.completed", "sequence_number": 5, "response": response}


def _embeddings(request: Body) -> Body:
    return {
        "object": "list",
        "model": request["model"],
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


def _gemini(request: Body) -> Body:
    part: Body = {"text": TEXT}
    if tool := _tool(request):
        part = {"functionCall": {"name": tool, "args": ARGUMENTS}}
    return {
        "candidates": [
            {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        ],
        "modelVersion": request["model"],
        "responseId": "gemini-fake",
        "usageMetadata": {
            "promptTokenCount": 1_200,
            "candidatesTokenCount": 236,
            "thoughtsTokenCount": 64,
            "cachedContentTokenCount": 1_000,
            "totalTokenCount": 1_500,
        },
    }


def _gemini_stream(request: Body) -> Iterator[Body]:
    whole = _gemini(request)
    [candidate] = whole["candidates"]
    if "text" in candidate["content"]["parts"][0]:
        first = {"content": {"role": "model", "parts": [{"text": "Hello, "}]}, "index": 0}
        yield {**whole, "candidates": [first]}
    yield whole


def _converse(request: Body) -> Body:
    content: Body = {"text": TEXT}
    if tool := _tool(request):
        content = {"toolUse": {"toolUseId": "tooluse_1", "name": tool, "input": ARGUMENTS}}
    return {
        "output": {"message": {"role": "assistant", "content": [content]}},
        "stopReason": "tool_use" if tool else "end_turn",
        "usage": {
            "inputTokens": 100,
            "outputTokens": 300,
            "totalTokens": 1_500,
            "cacheReadInputTokens": 1_000,
            "cacheWriteInputTokens": 100,
        },
        "metrics": {"latencyMs": 1},
    }


def _converse_stream(request: Body) -> Iterator[tuple[str, Body]]:
    whole = _converse(request)
    yield "messageStart", {"role": "assistant"}
    for part in TEXT.split(" "):
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": part}}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": whole["stopReason"]}
    yield "metadata", {"usage": whole["usage"], "metrics": whole["metrics"]}


def _event_stream_message(kind: str, body: Body) -> bytes:
    """Encode an event as `application/vnd.amazon.eventstream` does."""
    headers = b""
    names = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    for name, value in names.items():
        headers += bytes([len(name)]) + name.encode() + b"\x07"
        headers += len(value).to_bytes(2, "big") + value.encode()
    payload = json.dumps(body).encode()
    total = 16 + len(headers) + len(payload)
    prelude = total.to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    message = prelude + crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + crc32(message).to_bytes(4, "big")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        apis = self.server.apis
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        request: Body = json.loads(text)
        path = self.path.partition("?")[0]
        apis.requests.append((path, request))
        apis.headers.append({name.lower(): value for name, value in self.headers.items()})
        apis.attempts[text] += 1
        if "SLOW" in text:
            apis.stopped.wait(60)
            self.close_connection = True
        elif "FAIL" in text:
            self._send_json(400, self._failure(path, f"invalid prompt: {text}"))
        elif "BUSY" in text and apis.attempts[text] == 1:
            self._send_json(429, self._failure(path, "slow down"), {"retry-after-ms": "1"})
        else:
            self._respond(path, request)

    def _failure(self, path: str, message: str) -> Body:
        if path.endswith("/messages"):
            error = {"type": "invalid_request_error", "message": message}
            return {"type": "error", "error": error}
        if "/models/" in path:
            return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
        if "/model/" in path:
            return {"message": message}
        return {"error": {"message": message, "type": "invalid_request_error", "code": None}}

    def _respond(self, path: str, request: Body) -> None:
        if gemini := re.search(r"/models/([^/:]+):(\w+)$", path):
            request["model"] = gemini[1]
            if gemini[2].startswith("stream"):
                self._send_events(_gemini_stream(request))
            else:
                self._send_json(200, _gemini(request))
        elif path.endswith("/converse-stream"):
            events = _converse_stream(request)
            body = b"".join(_event_stream_message(kind, event) for kind, event in events)
            self._send(200, "application/vnd.amazon.eventstream", body)
        elif path.endswith("/converse"):
            self._send_json(200, _converse(request))
        elif bedrock := re.search(r"/model/([^/]+)/invoke$", path):
            self._send_json(200, _anthropic({**request, "model": bedrock[1]}))
        elif path.endswith("/count_tokens"):
            self._send_json(200, {"input_tokens": 1_200})
        elif path.endswith("/embeddings"):
            self._send_json(200, _embeddings(request))
        else:
            api, stream = _anthropic, _anthropic_stream
            if path.endswith("/chat/completions"):
                api, stream = _chat, _chat_stream
            elif path.endswith("/responses"):
                api, stream = _responses, _responses_stream
            if request.get("stream"):
                self._send_events(stream(request))
            else:
                self._send_json(200, api(request))

    def _send_events(self, events: Iterator[Body]) -> None:
        body = ""
        for event in events:
            body += f"event: {event['type']}\n" if "type" in event else ""
            body += f"data: {json.dumps(event)}\n\n"
        if self.path.endswith("/chat/completions"):
            body += "data: [DONE]\n\n"
        self._send(200, "text/event-stream", body.encode())

    def _send_json(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        if status != 200 and "/model/" in self.path:
            headers = {"x-amzn-errortype": "ValidationException"}
        self._send(status, "application/json", json.dumps(body).encode(), headers)

    def _send(
        self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
