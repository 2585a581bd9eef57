"""llama.cpp's own server for a GGUF file, as the wheel ``xllamacpp`` brings it.

    python bench/llamacpp.py MODEL.gguf PORT

Ends on SIGTERM. In a recipe: ``target: server:MODEL`` with ``target_url: http://127.0.0.1:PORT/v1``.
"""

import signal
import sys

SLOTS = 8
"""Requests answered at once; the model's context is shared out among them, so that each is given all of it."""


def main(model: str, port: int) -> None:
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path, params.hostnames, params.port = model, ["127.0.0.1"], port
    params.n_parallel = SLOTS
    # Blocked before the server starts its threads, so that the signal comes here.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
