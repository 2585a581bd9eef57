"""Asks each node of a Ray cluster, before any work, whether it sees this machine's package, checkout, run and time."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from laif_helpers.paths import ROOT

PROBE_S = 120.0


def _question() -> Callable[[str, str, str], dict[str, Any]]:
    """A function that Ray sends to the nodes as it stands, because a node may lack this very package."""

    def ask(root: str, folder: str, name: str) -> dict[str, Any]:
        import hashlib
        import importlib.util
        import time
        from pathlib import Path

        spec, found = importlib.util.find_spec("laif_helpers"), hashlib.sha256()
        places = [Path(spec.origin).parent] if spec and spec.origin else []
        for path in sorted(path for place in places for path in place.rglob("*.py")):
            found.update(path.relative_to(places[0]).as_posix().encode() + path.read_bytes())
        sees = (Path(folder) / "asked").is_file()
        if sees:
            (Path(folder) / name).touch()
        package = found.hexdigest() if places else ""
        notebooks = (Path(root) / "notebooks").is_dir()
        return {"package": package, "checkout": notebooks, "sees": sees, "time": time.time()}

    return ask


def check(nodes: list[dict[str, Any]], run: Path) -> None:
    """Raise ValueError for a node on which no stage could run."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    folder = run / ".jobs" / f"asked-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "asked").touch()
    ask = _question()
    own = ask(str(ROOT), str(folder), "own")
    task = ray.remote(num_cpus=0, max_retries=0)(ask)
    asked = {}
    for node in nodes:
        on_node = task.options(scheduling_strategy=On(node["NodeID"], soft=False))
        asked[on_node.remote(str(ROOT), str(folder), node["NodeID"])] = node
    try:
        _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_S)
        if silent:
            raise ValueError(f"{_name(asked[silent[0]])} did not answer within {PROBE_S:.0f} s; is it overloaded?")
        for reference, node in asked.items():
            refuse(node, ray.get(reference), own, folder)
    except ray.exceptions.RayError as error:
        raise ValueError(f"a node of the Ray cluster could not be asked: {str(error).splitlines()[0]}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(node: dict[str, Any]) -> str:
    return f"node {node['NodeName']} ({node['NodeID'][:8]}) of the Ray cluster"


def refuse(node: dict[str, Any], answer: dict[str, Any], own: dict[str, Any], folder: Path) -> None:
    """Raise ValueError if a node's answer shows that it lacks something that this machine has."""
    name = _name(node)
    if not answer["package"]:
        raise ValueError(f"{name} has no laif_helpers; install the checkout there: pip install -e {ROOT}")
    if answer["package"] != own["package"]:
        raise ValueError(f"{name} has another version of laif_helpers than this machine; bring both to one commit")
    if not answer["checkout"]:
        raise ValueError(f"{name} has no checkout at {ROOT}; every node needs it at the same path")
    if not (answer["sees"] and (folder / node["NodeID"]).is_file()):
        raise ValueError(f"{name} does not see the run folder {folder.parents[1]}; set LAIF_RUNS to a shared folder")
    if abs(ahead := answer["time"] - own["time"]) > PROBE_S:  # it had so long to answer
        apart = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
        raise ValueError(f"the clock of {name} is {apart} this machine's; set it, as chrony does")
