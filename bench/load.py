"""Send requests to the service from a separate process and print the latency of each.

    python -m bench.load PORT CONNECTIONS REQUESTS

Each connection is kept open and sends its next request when the previous one is answered. Prints
one line of JSON.
"""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPResponse

_BODY = json.dumps({"prompt": "Write a function that greets somebody by name. " * 4}).encode()
_REQUEST = (
    b"POST /api/sessions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def _ask(port: int, requests: int) -> list[float]:
    took = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            began = time.perf_counter()
            connection.sendall(_REQUEST)
            response = HTTPResponse(connection)
            response.begin()
            response.read()
            took.append(time.perf_counter() - began)
            if response.status != HTTPStatus.CREATED:
                raise SystemExit(f"The service responded with {response.status}.")
    return took


def main() -> None:
    port, connections, requests = map(int, sys.argv[1:])
    with ThreadPoolExecutor(connections) as pool:
        asked = [pool.submit(_ask, port, requests // connections) for _ in range(connections)]
        seconds = [took for one in asked for took in one.result()]
        print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
