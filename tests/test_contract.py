"""What the project promises about itself; nothing is executed but imports."""

import ast
import importlib
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from laif_helpers import recipe
from laif_helpers.benchmarks import Benchmark
from laif_helpers.cli import commands
from laif_helpers.paths import NOTEBOOKS, ROOT
from laif_helpers.recipe import StageParameters
from laif_helpers.records import write_jsonl
from laif_helpers.runner import notebook, plan
from laif_helpers.sections import READS, keys_of
from laif_helpers.train import settings as train_settings

SIX = ["01_evaluate", "02_error_analysis", "03_instruct_LE", "04_instruct_LEC", "05_train_deepspeed", "06_compare"]
SIX += ["07_tripost", "08_repair", "09_self_training", "10_distil", "01_part"]
STAGES = {
    "01_evaluate": "evaluate",
    "02_error_analysis": "error_analysis",
    "03_instruct_LE": "instruct",
    "04_instruct_LEC": "instruct",
    "05_train_deepspeed": "train",
    "06_compare": "compare",
    "07_tripost": "tripost",
    "08_repair": "tripost",
    "09_self_training": "self_training",
    "10_distil": "distil",
    "01_part": "evaluate",
}
SHARED = {"records", "paths", "recipe", "benchmarks", "models", "sandbox", "embeddings", "stats", "lessons", "figures"}
PACKAGE = ROOT / "laif_helpers"
MODULES = sorted(PACKAGE.rglob("*.py"))
RECIPES = sorted((ROOT / "papermill_runs").glob("*.yaml"))
HEAVY = ("torch", "transformers", "trl", "peft", "deepspeed", "umap", "sklearn", "plotly", "sentence_transformers")


def notebook_json(name: str) -> dict[str, Any]:
    return notebook.read(NOTEBOOKS / f"{name}.ipynb")


def code(name: str) -> list[str]:
    return [notebook.source(cell) for cell in notebook_json(name)["cells"] if cell["cell_type"] == "code"]


# -- notebooks


@pytest.mark.parametrize("name", SIX)
def test_parameters_cell(name: str) -> None:
    names = notebook.check(NOTEBOOKS / f"{name}.ipynb", StageParameters.model_fields, plan._required(name))
    defaults = {key.lower(): value for key, value in notebook.declared(NOTEBOOKS / f"{name}.ipynb").items()}
    recipe.build(StageParameters, defaults)
    assert len(names) == len(set(names))
    cells = notebook_json(name)["cells"]
    index = notebook.parameters_index(notebook_json(name), name)
    following = next(cell for cell in cells[index + 1 :] if cell["cell_type"] == "code")
    assert "recipe.from_notebook(globals())" in notebook.source(following)


def test_the_notebooks_defaults_fit_together() -> None:
    """One after the other, by hand: each finds what the one before it left. Self-repair has tasks of its own."""
    defaults = {name: notebook.declared(NOTEBOOKS / f"{name}.ipynb") for name in (*SIX[:6], *SIX[8:])}
    for key in ("RUN", "TARGET", "BENCHMARKS", "IN_DOMAIN", "ERROR_SPLIT", "DATA_DIR", "LIMIT", "SEED"):
        values = {name: declared.get(key) for name, declared in defaults.items()}
        assert len(set(map(str, values.values()))) == 1, f"{key}: {values}"
    repairing, measuring = (notebook.declared(NOTEBOOKS / f"{name}.ipynb") for name in SIX[6:8])
    shared = (repairing.keys() & measuring.keys()) - {"ARM", "ITERATION"}
    assert {key: repairing[key] for key in shared} == {key: measuring[key] for key in shared}


@pytest.mark.parametrize("name", SIX)
def test_nothing_before_the_parameters_looks_like_one(name: str) -> None:
    cells = notebook_json(name)["cells"][: notebook.parameters_index(notebook_json(name), name)]
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        for node in ast.walk(ast.parse(notebook.source(cell))):
            bound = [a.asname or a.name for a in getattr(node, "names", [])] if isinstance(node, ast.ImportFrom) else []
            assert not [bad for bad in bound if bad.isupper()], "from_notebook would take it for a parameter"


@pytest.mark.parametrize("name", SIX)
def test_notebooks_carry_no_results(name: str) -> None:
    how = f"strip it with `.venv/bin/nbstripout notebooks/{name}.ipynb`, and work on copies: `make lab` opens lab/"
    for cell in notebook_json(name)["cells"]:
        assert not cell.get("outputs"), f"notebooks/{name}.ipynb holds outputs; {how}"
        assert cell.get("execution_count") is None, f"notebooks/{name}.ipynb holds execution counts; {how}"
    assert set(notebook_json(name)["metadata"]) <= {"kernelspec", "language_info"}
    assert notebook_json(name)["metadata"]["kernelspec"]["name"] == "python3"
    assert (notebook_json(name)["nbformat"], notebook_json(name)["nbformat_minor"]) == (4, 5)


@pytest.mark.parametrize("name", SIX)
def test_notebooks_stay_readable(name: str) -> None:
    cells = notebook_json(name)["cells"]
    title = rf"# {int(name[:2])}\. [^\n:]+: [^\n]+\?$"
    assert re.match(title, notebook.source(cells[0]), re.M), "# number. name: question?"
    lengths = [len(text.splitlines()) for text in code(name)]
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= 6
    assert len(lengths) <= 15
    assert len(cells) - len(lengths) >= len(lengths), "at least as many text cells as code cells"
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert not [bad for bad in ids if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", bad)], "ids are words, not hashes"


@pytest.mark.parametrize("name", SIX)
def test_notebooks_hold_no_logic(name: str) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for text in code(name):
        tree = ast.parse("\n".join(line for line in text.splitlines() if not line.startswith(("%", "!"))))
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("name", SIX)
def test_the_answer_stands_on_the_first_screen(name: str) -> None:
    cells = code(name)
    assert cells[0].endswith(
        'answer = show.display(show.Markdown("*The answer stands here after a run.*"), display_id=True)'
    )
    assert sum("answer.update(" in cell for cell in cells[1:]) == 1


@pytest.mark.parametrize("name", SIX)
def test_last_cell_writes_the_metrics(name: str) -> None:
    assert name in code(name)[-1] or "metrics" in code(name)[-1]


@pytest.mark.parametrize("name", SIX)
def test_every_setting_that_a_stage_reads_is_a_parameter_of_its_notebook(name: str) -> None:
    """Else a run would use the default in silence: ``p.budget`` without ``BUDGET`` in the parameters cell."""
    declared = {key.lower() for key in notebook.declared(NOTEBOOKS / f"{name}.ipynb")} | keys_of(READS[name])
    read = set[str]().union(*map(settings_read, [*map(_text, files_of(STAGES[name])), *code(name)]))
    if name == plan.TRAIN:
        read |= train_settings.Settings.model_fields.keys()
    # 06 belongs to no arm
    exempt = {"arm", "iteration"} if name == plan.COMPARE else set()
    assert read & StageParameters.model_fields.keys() - exempt <= declared


def settings_read(text: str) -> set[str]:
    """``x`` of each ``p.x`` in a module: ``p`` is what a stage is given its settings as."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "p"}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# -- the package


def floors() -> dict[str, int]:
    """Each part's floor, from the table in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {part: int(n) for n, parts in re.findall(r"^\| (\d+) \| ([\w ]+) \|", text, re.M) for part in parts.split()}


FLOORS = floors()
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}


def imports(node: ast.AST, name: str, inside_functions: bool = True) -> Iterator[str]:
    """Modules of the package that a module imports; what is imported for the type checker alone does not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("laif_helpers"):
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                yield full if full in NAMES else str(child.module)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.startswith("laif_helpers"))
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, name, inside_functions)


def imported(name: str, inside_functions: bool = True) -> set[str]:
    tree = ast.parse(NAMES[name].read_text(encoding="utf-8"))
    return {other for other in imports(tree, name, inside_functions) if other != name}


def room(name: str) -> str:
    """The package's module, or folder of modules, that a module belongs to."""
    return name.split(".")[1] if "." in name else ""


def files_of(part: str) -> list[Path]:
    return [path for name, path in NAMES.items() if room(name) == part]


def test_every_part_has_a_floor() -> None:
    assert set(FLOORS) - {"tripost"} == {room(name) for name in NAMES} - {"", "tripost"}


@pytest.mark.slow
@pytest.mark.parametrize("part", sorted(FLOORS))
def test_imports_go_down(part: str) -> None:
    for name in (name for name in NAMES if room(name) == part):
        for other in map(room, imported(name)):
            assert other in ("", part) or FLOORS[other] < FLOORS[part], f"{name} imports {other}, which is not below it"


def test_importing_a_module_never_leads_back_to_it() -> None:
    reach = {name: imported(name, inside_functions=False) for name in NAMES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way, name))
        if name not in done:
            for other in reach.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in NAMES:
        visit(name, ())


def test_scripts_import_what_the_package_has() -> None:
    """The scripts beside the package, which no other test runs."""
    gone = []
    for path in (path for folder in ("data", "docs", "bench") for path in sorted((ROOT / folder).glob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("laif_helpers"):
                for name in node.names:
                    try:
                        whole = f"{node.module}.{name.name}"
                        hasattr(importlib.import_module(node.module or ""), name.name) or importlib.import_module(whole)
                    except ModuleNotFoundError as error:
                        gone.append(f"{path.name}: {error}")
    assert not gone


@pytest.mark.slow
def test_importing_the_package_is_fast_and_light() -> None:
    program = (
        "import sys, time; t = time.process_time(); import laif_helpers, laif_helpers.recipe, laif_helpers.records\n"
        "print(time.process_time() - t); print(*(m for m in sys.modules if '.' not in m))"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "123"]
    # processor time, and the best of three; 0.2 s on an idle core, half as much again beside a busy one
    assert min(float(run.stdout.split()[0]) for run in runs) <= 0.5
    assert not set(HEAVY) & set(runs[0].stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("stage", sorted(set(STAGES.values()) | SHARED))
def test_importing_a_module_loads_nothing_heavy(stage: str) -> None:
    program = f"import sys, laif_helpers.{stage}; print(*(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


MANY_PARAMETERS = {
    "cli.run": "each parameter is an option of the command line",
    "models.generate": "the fixed interface to every model: sampling settings are named one by one",
}
"""Functions that may take more than six parameters, each with its reason."""


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, path in NAMES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name.removeprefix('laif_helpers.')}.{node.name}", node


@pytest.mark.slow
def test_modules_and_functions_stay_small() -> None:
    for path in (*MODULES, *ROOT.glob("bench/**/*.py"), *ROOT.glob("data/*.py"), *ROOT.glob("docs/*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path.name
    sizes = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert statistics.median(sizes.values()) <= 12
    assert not {name for name, size in sizes.items() if size > 40}


@pytest.mark.slow
def test_functions_take_few_parameters() -> None:
    def count(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return len([argument for argument in given if argument.arg not in ("self", "cls")])

    assert {name for name, node in functions() if count(node) > 6} == set(MANY_PARAMETERS)


@pytest.mark.slow
def test_public_functions_are_described() -> None:
    bare = []
    for path in (path for path in MODULES if not path.stem.startswith("_")):
        # what a benchmark's functions do is said once, in the Benchmark class
        declared = set(Benchmark.__annotations__) if path.parent.name == "benchmarks" else set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and node.name not in declared | {"main"} and len(ast.unparse(node).splitlines()) > 4:
                bare += [] if ast.get_docstring(node) else [f"{path.name}: {node.name}"]
    assert not bare


def test_no_path_of_this_machine_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".ipynb", ".json", ".csv", ""}:
            assert str(ROOT) not in path.read_text(encoding="utf-8", errors="ignore"), name


# -- recipes and words


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_fit_model_and_notebooks(path: Path) -> None:
    made_plan = plan.make(path)
    assert made_plan.stages
    assert made_plan.run.path.name == path.stem


def test_there_are_the_recipes_that_the_commands_name() -> None:
    assert {"quickstart", "smoke", "practice_seeds", "recorded_mistral", "recorded_gpt3_gsm8k"} <= {
        path.stem for path in RECIPES
    }


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/results.md"])
def test_commands_on_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {"run", "test", "lab", "bench", "lint"} <= targets
    blocks = "\n".join(re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text))
    assert set(re.findall(r"^\s*(?:\$ )?make ([a-z0-9-]+)", blocks, re.M)) <= targets
    known = {c.name or c.callback.__name__ for c in commands.registered_commands if c.callback}
    known |= {group.name for group in commands.registered_groups if isinstance(group.name, str)}
    assert set(re.findall(r"\blaif ([a-z]+)", blocks)) <= known
    for path in re.findall(r"\b((?:papermill_runs|notebooks|docs|tests|data|figures)/[\w./-]+\.\w+)", blocks):
        made_by_a_run = len(Path(path).parts) > 2 and path.startswith("papermill_runs/")
        assert made_by_a_run or (ROOT / path).exists(), path


@pytest.mark.slow
def test_the_page_of_keys_is_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pages = importlib.import_module("recipe_page")
    assert pages.PAGE.read_text("utf-8") == pages.page(), "a key has changed: python docs/recipe_page.py"
    assert all(f"| `{key}` |" in pages.page() for key in recipe.Recipe.model_fields)


def test_the_readmes_recipe_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a target that is here, because no test asks the hub, and with a key for the instructor."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\ntarget: ")[2].partition("\n```")[0]
    own = tmp_path / "mydata.jsonl"
    write_jsonl(own, [{"question": "What is 6 times 7?", "answer": "42"}])
    recipe_file = tmp_path / "mine.yaml"
    recipe_file.write_text(f"target: data/nano #{text}".replace("mydata.jsonl]", f"{own}]"), "utf-8")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    made_plan = plan.make(recipe_file)
    assert {stage.arm for stage in made_plan.stages} >= {"vanilla", "fine_tuning", "auggpt", "le", "lec"}


def test_lines_ignored_are_anchored() -> None:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert "/papermill_runs/*/" in lines
    assert not [line for line in lines if re.fullmatch(r"\*\.(csv|png|json|jsonl|ipynb)", line)]


def test_nano_is_small() -> None:
    folder = ROOT / "data" / "nano"
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert total <= 5 * 2**20
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


def test_a_recipe_may_name_every_instructor() -> None:
    from typing import get_args

    from laif_helpers import instructors, sections

    named = sections.InstructorSection.model_fields["instructor"].annotation
    assert get_args(named) == tuple(instructors.INSTRUCTORS)
