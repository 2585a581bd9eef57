"""Defines the ``laif`` command: run, status, params, figures, export, archive, restore, compare, doctor, data."""

import importlib.metadata
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from laif_helpers.paths import INSTALLED_ALONE, RunDir, runs_dir
from laif_helpers.terminal import plain

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(no_args_is_help=True, help="Benchmark data: what is here, and fetching it.")
commands.add_typer(data_app, name="data")

RecipePath = Annotated[Path, typer.Argument(help="papermill_runs/<recipe>.yaml", show_default=False)]
Name = Annotated[str, typer.Option(help="name of the run folder; default: the recipe's name")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="override a recipe key; repeatable")]


def _print_version(asked: bool) -> None:
    if asked:
        print(importlib.metadata.version("laif-helpers"))
        raise typer.Exit


@commands.callback()
def options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and end")
    ] = False,
) -> None:
    """Language models that learn from their own mistakes, notebook by notebook."""
    if INSTALLED_ALONE and ctx.invoked_subcommand != "compare":
        raise ValueError(
            "this laif was installed without its checkout, and notebooks and recipes lie there; clone the repository "
            "and call pip install -e . in it (laif compare works without)"
        )


@commands.command()
def run(
    recipe: RecipePath,
    name: Name = "",
    settings: Overrides = [],  # noqa: B006  typer reads the default, nobody changes it
    executor: Annotated[str, typer.Option(help="local | ray | slurm")] = "local",
    workers: Annotated[int, typer.Option(min=0, help="stages side by side; 0: as the recipe says")] = 0,
    redo: Annotated[list[str], typer.Option(help="run these notebooks again, e.g. 05; repeatable")] = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, show the stages, run none")] = False,
) -> None:
    """Run a recipe, or continue a run that was stopped."""
    from laif_helpers.runner import forecast, loop, plan
    from laif_helpers.runner import report as report_run

    run_plan = plan.make(recipe, name, overrides(settings))
    if dry_run:
        from laif_helpers.train import preflight

        loop.known_notebooks(run_plan, tuple(redo))
        loop.engine(executor, run_plan.settings.slurm)
        missing = forecast.target_missing(run_plan)
        print(report_run.dry_run(run_plan))
        checks = [*filter(None, [missing]), *preflight.ask(run_plan.settings)]
        print(*checks, *forecast.warnings(run_plan.stages), sep="\n")
        return
    raise typer.Exit(loop.run(run_plan, executor=executor, workers=workers, redo=tuple(redo)))


@commands.command()
def status(
    run: Annotated[str, typer.Argument(help="name of the run", show_default=False)],
    watch: Annotated[bool, typer.Option("--watch", help="redraw until the run ends: place, progress, speed")] = False,
) -> None:
    """Every stage of a run: done, failed, running, to do."""
    from laif_helpers.runner import plan, run_lock
    from laif_helpers.runner import report as report_run

    folder = RunDir.named(run)
    if not folder.recipe.is_file():
        by_hand = " (notebooks that are run by hand write none)" * folder.path.is_dir()
        raise FileNotFoundError(
            f"no run {run!r}: {folder.path} holds no recipe.yaml{by_hand}; start one with `laif run`"
        )
    run_plan = plan.make(folder.recipe, folder.path.name)
    if watch:
        from laif_helpers.runner import watch as watcher

        watcher.watch(run_plan)
        return
    at_work = run_lock.lock_holder(folder)
    print(report_run.status_table(run_plan, at_work.get("running", [])))
    if at_work:
        print(f"running now, process {at_work['pid']}; log: {folder.path / 'run.log'}")


@commands.command()
def params(
    recipe: RecipePath,
    name: Name = "",
    settings: Overrides = [],  # noqa: B006
    notebook: Annotated[str, typer.Option(help="only what this notebook reads, e.g. 05; default: every key")] = "",
) -> None:
    """Print a recipe as papermill parameters: papermill notebooks/0N_….ipynb out.ipynb -f params.yaml."""
    from laif_helpers.runner import manifest, plan

    run_plan = plan.make(recipe, name, overrides(settings))
    if run_plan.swept:
        swept = "; ".join(f"{key}: {run_plan.values[key]}" for key in run_plan.axes)
        raise ValueError(f"{recipe.name} is a sweep ({swept}): choose one point with --set KEY=VALUE for each list")
    values = {key.upper(): value for key, value in run_plan.settings.model_dump().items()}
    if notebook:
        stage = next((stage for stage in run_plan.stages if stage.notebook.startswith(notebook)), None)
        if not stage:
            raise ValueError(f"--notebook {notebook!r}: the run has {', '.join(run_plan.parameters)}")
        values = plan.parameters(stage, run_plan.parameters[stage.notebook])
    print(manifest.parameters_text({"RUN": plan.run_name(run_plan.run)} | values), end="")


@commands.command()
def figures(
    run: Annotated[str, typer.Argument(help="name of a run; without one, the published numbers alone")] = "",
    out: Annotated[Path | None, typer.Option(help="folder to write into")] = None,
) -> None:
    """The paper's tables and figures, a run's own numbers beside the published ones."""
    from laif_helpers.compare import published

    folder = RunDir.named(run) if run else None
    where = out or (folder.compare / "paper" if folder else runs_dir() / "published")
    for path in published.draw(where, folder, always=True):
        print(path)


@commands.command()
def export(
    run: Annotated[str, typer.Argument(help="name of the run", show_default=False)],
    arm: Annotated[str, typer.Option(help="whose lessons; of inspect: whose answers, default all")] = "",
    format: Annotated[str, typer.Option(help="messages | alpaca | sharegpt | inspect")] = "messages",
    iteration: Annotated[int, typer.Option(min=0, help="0: the latest with lessons; of inspect: all")] = 0,
    out: Annotated[str, typer.Option(help="folder to write; default: export/ of the run")] = "",
) -> None:
    """Write an arm's kept lessons as a dataset for TRL, axolotl, LLaMA-Factory; or answers as Inspect's logs."""
    if format == "inspect":
        from laif_helpers.answers import inspect_export

        print(*inspect_export.export(run, arm=arm, iteration=iteration, out=out), sep="\n")
        return
    from laif_helpers.lessons import export as exporter

    if not arm:
        raise ValueError("--arm: name the arm whose lessons are exported, e.g. --arm lec")
    print(exporter.export(run, arm, format=format, iteration=iteration, out=out))


@commands.command()
def archive(
    run: Annotated[str, typer.Argument(help="name of a finished run", show_default=False)],
    url: Annotated[str, typer.Argument(help="a folder, s3://bucket/runs, whatever fsspec opens", show_default=False)],
) -> None:
    """Copy a finished run to another place; only what has changed is sent again."""
    from laif_helpers.runner import archive as archives

    held, sent = archives.put(RunDir.named(run), url)
    print(f"{url.rstrip('/')}/{RunDir.named(run).path.name}: {held:,} files, {sent:,} sent")


@commands.command()
def restore(
    url: Annotated[str, typer.Argument(help="an archived run, e.g. s3://bucket/runs/quickstart", show_default=False)],
    name: Annotated[str, typer.Option(help="name of the run folder; default: as archived")] = "",
) -> None:
    """Fetch an archived run; every command then reads it, and `laif run` goes on from it."""
    from laif_helpers.runner import archive as archives
    from laif_helpers.runner import plan

    folder = RunDir(plan.run_path(name or url.rstrip("/").rpartition("/")[2]))
    held, fetched = archives.get(url, folder)
    print(f"{folder.path}: {held:,} files, {fetched:,} fetched")


@commands.command()
def compare(
    a: Annotated[str, typer.Argument(help="a run, a file of responses, or another tool's log", show_default=False)],
    b: Annotated[str, typer.Argument(help="the other one, with answers to the same items", show_default=False)],
    regrade: Annotated[bool, typer.Option("--regrade", help="by our graders instead of the logs' labels")] = False,
    fail_if_worse: Annotated[bool, typer.Option("--fail-if-worse", help="exit 1 if B is significantly worse")] = False,
    out: Annotated[str, typer.Option(help="folder for compare.json, .csv, .md and .html")] = "",
) -> None:
    """Are two logs really different? Paired, with intervals, exact tests and what was fixed and broken."""
    from laif_helpers.compare import verdicts

    text, worse = verdicts.compare(a, b, regrade=regrade, out=out)
    print(plain(text))
    raise typer.Exit(int(worse and fail_if_worse))


@commands.command()
def doctor(
    recipe: Annotated[Path | None, typer.Option("--recipe", "-R", help="would this recipe start?")] = None,
) -> None:
    """What this machine has: hardware, versions, cage, data."""
    from laif_helpers.runner import doctor as checks

    for line in checks.lines(recipe):
        print(line, flush=True)


@data_app.command("list")
def data_list(data_dir: Annotated[str, typer.Option(help="look in this folder alone")] = "") -> None:
    """Benchmarks: splits, rows, sizes, checksums, licences, and where they were found."""
    from laif_helpers.runner import doctor as checks

    for line in checks.data_listing(data_dir and _absolute(data_dir)):
        print(line, flush=True)


@data_app.command("get")
def data_get(
    names: Annotated[list[str], typer.Argument(help="benchmarks, e.g. gsm8k mmlu", show_default=False)],
) -> None:
    """Fetch benchmarks from the hub, at pinned revisions, into data/downloads/."""
    from laif_helpers.benchmarks import download

    for name in names:
        for held in download.get(name):
            print(
                f"{name:<14} {held.split:<11} {held.size / 1e6:8.1f} MB  sha256 {held.sha256[:16]}  {held.path}",
                flush=True,
            )


def overrides(settings: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as values; VALUE is YAML, so numbers, true/false and [lists] are read as such."""
    from laif_helpers.key_types import NO_YAML, read_yaml

    values = {}
    for word in settings:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"--set {word!r}: write KEY=VALUE, for instance --set budget=300")
        try:
            values[key.strip()] = read_yaml(value) if value else ""
        except NO_YAML:
            values[key.strip()] = value
    return values


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def app() -> None:
    """The command; a problem of the user's is one sentence, with exit status 2."""
    for name in filter(os.environ.get, ("LAIF_RUNS", "LAIF_DATA")):  # stages run in another folder
        os.environ[name] = _absolute(os.environ[name])
    # a service may have closed them: what is opened next must not take their places
    while os.open(os.devnull, os.O_RDWR) <= 2:
        pass
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of another encoding has no arrows
    try:
        commands()
    except (ValueError, FileNotFoundError, ConnectionError) as error:
        _end(str(error))
    except (FileExistsError, NotADirectoryError) as error:
        _end(
            f"{error.filename}: a folder is needed there, and a file stands in its way; move it, or name another place"
        )
    except OSError as error:  # a full disk, a right that was taken away: what is on the disk is whole
        _end(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}; the same command goes on")


def _end(sentence: str) -> NoReturn:
    print(f"laif: {plain(sentence)}", file=sys.stderr)
    raise SystemExit(2) from None


if __name__ == "__main__":
    app()
