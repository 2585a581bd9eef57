"""Requests per second through the server path, against a stub of this machine that takes 200 ms for each.

    python bench/server.py [REQUESTS]

The stub is another process. Ideal: 64 requests open all the time. The openai client alone, with 64 workers and nothing
else, stands beside it. Each way runs three times, the fastest counts: a pause of the machine is nobody's speed.
"""

import asyncio
import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from laif_helpers import models
from laif_helpers.models import server

LATENCY_S, CONNECTIONS = 0.2, 64
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}
REPLY = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [CHOICE], "usage": USAGE}


def stub(parent: Connection) -> None:
    """Answers every request with the same words, 200 ms after its last byte."""
    body = json.dumps(REPLY).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(asked.split(b"content-length:")[1].split(b"\r\n")[0]))
                await asyncio.sleep(LATENCY_S)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        parent.send(listening.sockets[0].getsockname()[1])
        await listening.serve_forever()

    asyncio.run(main())


def bare_client(conversations: list[Any], url: str) -> None:
    async def main() -> None:
        waiting = iter(conversations)
        async with server.connect(url, "target") as client:

            async def worker() -> None:
                for turns in waiting:
                    await client.chat.completions.create(model="m", messages=turns, max_tokens=8)

            await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))

    asyncio.run(main())


def main(count: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=stub, args=(theirs,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    conversations = [[{"role": "user", "content": f"question {number}"}] for number in range(count)]
    ideal = -(-count // CONNECTIONS) * LATENCY_S
    bare_client(conversations[:64], url)  # imports are nobody's speed
    print(f"{count} requests of {LATENCY_S:g} s, {CONNECTIONS} connections: ideal {ideal:.2f} s")
    for name, way in (
        ("laif_helpers.models.generate", lambda: models.generate("server:m", conversations, url=url, progress=False)),
        ("openai client, 64 workers", lambda: bare_client(conversations, url)),
    ):
        runs = []
        for _ in range(3):
            start, busy = time.perf_counter(), time.process_time()
            way()
            runs.append((time.perf_counter() - start, time.process_time() - busy))
        took, computed = min(runs)
        print(f"{name:<30} {took:6.2f} s   {took / ideal:.2f} x ideal   {computed:.2f} s of computing")
    process.terminate()
    process.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
