"""One pydantic model of a recipe: the notebooks, the runner and the trainer all read their settings through it.

Values may arrive as papermill's strings (``"5e-6"``, ``"false"``, ``"[le, lec]"``); they are read right or
refused with a sentence. Unknown keys are refused.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from laif_helpers import arms as _arms
from laif_helpers import benchmarks as _benchmarks
from laif_helpers.paths import IterationDir, RunDir, resolve


class Price(BaseModel):
    """What a model costs, in dollars per million tokens; 0 where a server of one's own is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Recipe(BaseModel):
    """Settings of a run. Keys are the notebooks' parameter names in lower case."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    # -- the target
    target: str = Field("data/nano", description="path or hub name | server:<model> | replay:<file or folder>")
    target_url: str = Field("", description="base URL of the OpenAI-compatible server of a server: target")
    serve: str = Field("", description="command with {model} and {port} that serves a checkpoint for stage 1")
    max_new_tokens: int = Field(256, ge=1, description="longest answer")
    # -- the questions
    benchmarks: list[str] = Field(["practice", "practice_plus"], min_length=1, description="benchmarks measured")
    in_domain: list[str] = Field(["practice"], description="benchmarks whose error_split supplies errors")
    error_split: str = Field("train", description="split that supplies errors")
    test_split: str = Field("test", description="split that is only ever measured")
    data_dir: str = Field("", description="folder of benchmark files; empty: LAIF_DATA, then the usual places")
    audit: bool = Field(True, description="a second grader reads too; errors are what both call wrong")
    limit: int = Field(0, ge=0, description="items per split, for trying out; 0: all")
    holdout_fraction: float = Field(0.2, ge=0, lt=1, description="share of error_split never instructed or trained on")
    measure_errors: bool = Field(True, description="the last iteration answers error_split too: what was repaired")
    # -- the arms
    arms: list[str] = Field(["fine_tuning", "auggpt", "le", "lec"], description="arms compared with vanilla")
    iterations: int = Field(2, ge=0, description="turns of the cycle")
    budget: int = Field(600, ge=1, description="training items per in-domain benchmark, for every arm alike")
    replay_fraction: float = Field(0.25, ge=0, lt=1, description="share of the budget: right-answered train items")
    k: int = Field(3, ge=1, description="right neighbours shown to the instructor (lec)")
    embedding: str = Field(
        "tfidf", description="tfidf | minilm (offline wheel) | bert-mean[:folder] | any sentence-transformers name"
    )
    embedded: Literal["question", "response", "both"] = Field("question", description="what the error map lays out")
    similarity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="cosine to a test question that quarantines a lesson; 0: 0.8, none with tfidf or bert-mean",
    )
    map_iterations: bool = Field(True, description="02 maps the errors of later iterations too, not only the target's")
    strict: bool = Field(False, description="stop when fewer lessons than the budget can be made")
    seed: int = Field(0, ge=0, description="of every random choice")
    # -- the instructor
    instructor: Literal["scripted", "symbolic", "llm"] = "scripted"
    instructor_model: str = Field("", description="model name asked for at the endpoint; also named in the quote")
    instructor_url: str = Field("", description="base URL of the endpoint; empty: OpenAI's")
    max_usd: float = Field(0.0, ge=0, description="hard cap on what the instructor may cost; 0: nothing is sent")
    prices: dict[str, Price] = Field({}, description="model: {input: …, output: …}, dollars per million tokens")
    probe: int = Field(5, ge=0, description="requests sent first, from which the rest is quoted (llm)")
    reply_format: Literal["auto", "json", "text"] = Field("auto", description="JSON schema, if the endpoint knows it")
    agreement: int = Field(0, ge=0, description="answers of the instructor that must confirm a choice lesson's letter")
    batch: bool = Field(False, description="OpenAI's Batch endpoint: half the price, answers within a day")
    quote_only: bool = Field(False, description="stop after the requests and the price quote; nothing is sent")
    lessons_only: bool = Field(False, description="stop after the first lessons; nothing is trained")
    # -- training
    deepspeed: Literal["none", "zero1", "zero2", "zero3", "zero3_offload"] = "none"
    num_processes: int = Field(1, ge=1, description="training processes (GPUs) on this node")
    learning_rate: float = Field(5e-4, gt=0)
    epochs: float = Field(5.0, gt=0)
    batch_size: int = Field(32, ge=1, description="per device")
    gradient_accumulation: int = Field(1, ge=1)
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    warmup_steps: int = Field(0, ge=0, description="in place of warmup_ratio, at most half of all steps; 0: the ratio")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped at this norm")
    gradient_checkpointing: bool = Field(True, description="on GPUs: less memory for a third more time")
    max_length: int = Field(512, ge=16, description="tokens; longer samples are counted and left out")
    packing: bool = Field(False, description="pack samples; pays only with variable-length attention kernels")
    curriculum: Literal["none", "confidence", "length"] = Field(
        "none", description="easy to hard, by the target's own confidence in the responses, or shortest first"
    )
    lora_rank: int = Field(0, ge=0, description="0: full fine-tuning")
    lora_alpha: int = Field(0, ge=0, description="the adapter's scale times its rank; 0: twice the rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    load_in_4bit: bool = Field(False, description="QLoRA: the frozen base in 4 bits (extra qlora: bitsandbytes)")
    merge_lora: bool = Field(False, description="the checkpoint is the whole model with the adapter in it")
    save_steps: int = Field(0, ge=0, description="steps between states to go on from; 0: a quarter of the training")
    report_to: str = Field("none", description="none | tensorboard | wandb | mlflow | others transformers knows")
    hostfile: str = Field("", description="DeepSpeed hostfile: train on several nodes that share the run folder")
    # -- the machine
    workers: int = Field(2, ge=1, description="stages run side by side")

    @field_validator("benchmarks", "in_domain", "arms", mode="before")
    @classmethod
    def _read_list(cls, value: Any) -> Any:
        """papermill's ``-p arms "[le, lec]"`` is a string; so is ``--set arms=le,lec``."""
        if not isinstance(value, str):
            return value
        inner = value.strip().removeprefix("[").removesuffix("]")
        return [part.strip().strip("'\"") for part in inner.split(",") if part.strip()]

    @field_validator("benchmarks", "in_domain")
    @classmethod
    def _known_benchmarks(cls, names: list[str]) -> list[str]:
        for name in names:
            _benchmarks.get(name)
        return list(dict.fromkeys(names))

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: list[str]) -> list[str]:
        for arm in arms:
            if arm not in _arms.ARMS:
                raise ValueError(f"unknown arm {arm!r}; known: {', '.join(_arms.ARMS)}")
        return [arm for arm in dict.fromkeys(arms) if arm != "vanilla"]

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        for name in self.in_domain:
            if name not in self.benchmarks:
                raise ValueError(f"in_domain names {name!r}, which benchmarks lacks; add it to benchmarks")
            splits = _benchmarks.get(name).splits
            if self.error_split not in splits:
                raise ValueError(
                    f"error_split {self.error_split!r}: benchmark {name!r} has the splits {', '.join(splits)}"
                )
        switches = [arm for arm in (*self.arms, getattr(self, "arm", "")) if "+" in arm]
        if switches and self.iterations < 2 and not self.quote_only:
            raise ValueError(
                f"arm {switches[0]!r} changes its strategy in the last iteration, so it needs iterations: 2 or more "
                f"(given: {self.iterations}); for one iteration take {' or '.join(switches[0].split('+'))}"
            )
        if self.target.startswith("server:") and not self.target_url:
            raise ValueError(f"target {self.target!r} needs target_url, the server's base URL (http://…/v1)")
        # A notebook on the untouched target only asks and analyses; it need not declare how far the run goes.
        trains = self.iterations and not self.stops_early and getattr(self, "iteration", 1) > 0
        if self.target.startswith(("replay:", "server:")) and trains:
            raise ValueError(
                f"target {self.target!r} cannot be trained: set quote_only: true (requests and price only), "
                "lessons_only: true (lessons too) or iterations: 0 (evaluation and error analysis only)"
            )
        if not self.lora_rank and (self.load_in_4bit or self.merge_lora or self.lora_alpha or self.lora_dropout):
            raise ValueError(
                "load_in_4bit, merge_lora, lora_alpha and lora_dropout are for adapters, and lora_rank is 0; "
                "set lora_rank, for instance to 16"
            )
        if self.agreement and self.instructor != "llm":
            raise ValueError(f"agreement {self.agreement} asks a language model again; set instructor: llm, or 0")
        if self.hostfile and self.deepspeed == "none":
            raise ValueError(f"hostfile {self.hostfile!r} needs DeepSpeed's launcher; set deepspeed: zero2")
        if self.lessons_only and not self.iterations:
            raise ValueError("lessons_only with iterations: 0 makes no lessons; set iterations: 1")
        if self.quote_only and self.instructor == "llm" and not self.instructor_model:
            raise ValueError("quote_only with instructor: llm needs instructor_model, the model to quote for")
        return self

    @property
    def stops_early(self) -> bool:
        """Whether the run ends with the first iteration's requests or lessons: no training, no comparison."""
        return self.quote_only or self.lessons_only

    @property
    def all_arms(self) -> list[str]:
        return ["vanilla", *self.arms]


class StageParameters(Recipe):
    """A recipe and where in the run a notebook stands: what each notebook's second cell builds."""

    run: str = Field("explore", min_length=1, description="name of the run folder, or an absolute path")
    arm: str = Field("vanilla", description="the arm whose turn it is")
    iteration: int = Field(0, ge=0, description="0: the untouched target")
    more: dict[str, Any] = Field({}, description="recipe keys that this notebook does not declare one by one")

    @field_validator("arm")
    @classmethod
    def _known_arm(cls, arm: str) -> str:
        if arm not in _arms.ARMS:
            raise ValueError(f"unknown arm {arm!r}; known: {', '.join(_arms.ARMS)}")
        return arm

    @model_validator(mode="after")
    def _iteration_fits_arm(self) -> "StageParameters":
        if (self.arm == "vanilla") != (self.iteration == 0):
            raise ValueError(
                f"arm {self.arm!r} with iteration {self.iteration}: iteration 0 is the untouched target, "
                "arm 'vanilla'; every other arm starts at iteration 1"
            )
        return self

    @property
    def strategy(self) -> str:
        """How this arm makes its lessons in this iteration: the arm, or one half of a switch such as ``le+lec``."""
        return _arms.strategy(self.arm, self.iteration, self.iterations)

    @property
    def folder(self) -> IterationDir:
        """Where this notebook writes."""
        return RunDir.named(self.run).iteration(self.arm, self.iteration)

    @property
    def previous(self) -> IterationDir:
        """The iteration before this one: its responses hold the errors to instruct on."""
        return RunDir.named(self.run).iteration(self.arm, self.iteration - 1)

    @property
    def vectors(self) -> Path:
        """Where the run keeps its texts' vectors: 02 and 04 embed the same questions."""
        return RunDir.named(self.run).path / "embeddings"

    @property
    def model(self) -> str:
        """The model to evaluate: the target as given, or this iteration's checkpoint."""
        return local_target(self.target) if self.iteration == 0 else str(self.folder.checkpoint)

    @property
    def base_model(self) -> str:
        """The model that training starts from: the target, or the previous iteration's checkpoint."""
        return local_target(self.target) if self.iteration <= 1 else str(self.previous.checkpoint)


def local_target(target: str) -> str:
    """A target that is a folder of this machine as an absolute path; hub names and servers as they are."""
    return str(resolve(target)) if resolve(target).is_dir() else target


def build(model: type[Recipe], values: Mapping[str, Any]) -> Any:
    """``model(**values)``, with every problem told in one sentence each. Raises ValueError."""
    values = _with_more(values) if "more" in model.model_fields else values
    unknown = [key for key in values if key not in model.model_fields]
    if unknown:
        close = difflib.get_close_matches(unknown[0], model.model_fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(model.model_fields)}"
        raise ValueError(f"unknown recipe key {unknown[0]!r}{hint}")
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(problem) for problem in error.errors())) from None


def _with_more(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys inside ``more`` beside the others. papermill's ``-p MORE "{lora_rank: 8}"`` is a string."""
    more = values.get("more") or {}
    more = yaml.safe_load(more) if isinstance(more, str) else more
    if not isinstance(more, Mapping):
        raise ValueError(f"more: {more!r} is no mapping; write MORE = {{'lora_rank': 8}}")
    if twice := sorted(set(more) & set(values)):
        raise ValueError(f"more repeats {twice[0]!r}, which the notebook declares by itself; set it there")
    return {**{key: value for key, value in values.items() if key != "more"}, **more}


def _sentence(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message} (given: {problem['input']!r})" if where else message


def from_notebook(namespace: Mapping[str, Any]) -> StageParameters:
    """The parameters of a notebook, read from its ``globals()`` right after the parameters cell.

    Every UPPER_CASE name is taken for a parameter, so that a misspelt one, which papermill would inject with
    no more than a warning, is refused here. Raises ValueError with a sentence.
    """
    values = {name.lower(): value for name, value in namespace.items() if name.isupper() and name[0] != "_"}
    return build(StageParameters, values)


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of a recipe file and of ``--set`` overrides, unvalidated, and where each value came from.

    Returns ``(values, origins)``; origins map a key to ``recipe`` or ``--set``. Raises ValueError.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a recipe is a mapping of keys to values, not a {type(values).__name__}")
    origins = dict.fromkeys(values, "recipe")
    for key, value in (overrides or {}).items():
        values[key] = value
        origins[key] = "--set"
    return values, origins
