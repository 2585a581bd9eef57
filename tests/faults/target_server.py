"""A target behind a server, for the fault matrix: the same answer to the same question, right or wrong.

    python target_server.py PORT LOG SECONDS

Each request that is answered is a line of LOG, which outlives the process: what was asked twice can be counted.
"""

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from laif_helpers import benchmarks

PORT, LOG, SECONDS = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])


def known_answers() -> dict[str, str]:
    """The last message of each question, and its answer: the gold one, or for one in three a wrong one."""
    bench, found = benchmarks.get("practice"), {}
    for split in ("train", "test"):
        for example in bench.load(split):
            wrong = hashlib.sha256(example.id.encode()).digest()[0] % 3 == 0
            text = f"I add the numbers.\n#### {int(example.gold) + 1}" if wrong else str(bench.gold_response(example))
            found[bench.messages(example)[-1]["content"]] = text
    return found


ANSWERS = known_answers()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "toy"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][-1]["content"]
        time.sleep(SECONDS)
        message = {"role": "assistant", "content": ANSWERS[question]}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": len(question) // 4, "completion_tokens": 20, "total_tokens": 20 + len(question) // 4}
        with LOG.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(question) + "\n")
        self._send(
            {"id": "c", "object": "chat.completion", "created": 0, "model": "toy", "choices": [choice], "usage": usage}
        )

    def _send(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size, daemon_threads = 256, True


if __name__ == "__main__":
    with Server(("127.0.0.1", PORT), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()
