"""Defines the keys of a recipe, in sections: each key is written once, with its type, default, limits and meaning.

A recipe holds all sections (``recipe.Recipe``); a notebook is given those that it reads (``READS``); the trainer's
settings are the section about training and a few values more. So a new key is one line here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from laif_helpers import arms as _arms
from laif_helpers import benchmarks as _benchmarks
from laif_helpers.key_types import Price, RequestOptions, read_list, read_mapping

Listed, Mapped = BeforeValidator(read_list), BeforeValidator(read_mapping)
Names = Annotated[list[str], Listed]


class Section(BaseModel):
    """Unknown keys are refused; a number is taken if a name is wanted (``instructor_model: 7``)."""

    # a class is finished when it is first used: importing eight of them would take a third of the import's time
    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False, defer_build=True
    )


class TargetSection(Section):
    """The model that answers, and how it is asked."""

    target: str = Field(
        "data/nano", min_length=1, description="path, .gguf file or hub name | server:<model> | replay:<file>"
    )
    target_url: str = Field("", description="base URL of the OpenAI-compatible server of a server: target")
    serve: str = Field("", description="command with {model} and {port} that serves a checkpoint for stage 1")
    max_new_tokens: int = Field(256, ge=1, description="longest answer")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of a local target's products; auto: bfloat16 if the processor has it and the model is large",
    )
    samples: int = Field(1, ge=1, description="answers to each question; more than one needs a temperature")
    temperature: float = Field(0.0, ge=0, le=2, description="of the target's answers; 0: greedy")
    request_options: Annotated[RequestOptions, Mapped] = Field(
        default_factory=RequestOptions,
        description="{target: {add: {}, rename: {}, leave_out: []}, instructor: …} for servers",
    )

    @model_validator(mode="after")
    def _answers_differ(self) -> "TargetSection":
        if self.samples > 1 and not self.temperature:
            raise ValueError(
                f"samples {self.samples} with temperature 0 gives the same answer {self.samples} times; "
                "set temperature, for instance to 0.7, or samples: 1"
            )
        return self


class QuestionSection(Section):
    """What is asked and graded."""

    benchmarks: Names = Field(["practice", "practice_plus"], min_length=1, description="benchmarks measured")
    in_domain: Names = Field(["practice"], description="benchmarks whose error_split supplies errors")
    error_split: str = Field("train", description="split that supplies errors")
    test_split: str = Field(
        "test", description="split that is only ever measured; test_seen: a step by step task's, without unseen buckets"
    )
    data_dir: str = Field("", description="folder of benchmark files; empty: LAIF_DATA, then the usual places")
    audit: bool = Field(True, description="a second grader reads too; errors are what both call wrong")
    limit: int = Field(0, ge=0, description="items per split, for trying out; 0: all")

    @field_validator("benchmarks", "in_domain")
    @classmethod
    def _known_benchmarks(cls, names: list[str]) -> list[str]:
        for name in names:
            _benchmarks.get(name)
        return list(dict.fromkeys(names))

    @model_validator(mode="after")
    def _errors_can_be_had(self) -> "QuestionSection":
        for name in self.in_domain:
            if name not in self.benchmarks:
                raise ValueError(
                    f"in_domain names {name!r}, which benchmarks lacks; add it to benchmarks, or name in in_domain "
                    "what is taught ([]: nothing)"
                )
            splits = _benchmarks.get(name).splits
            if self.error_split not in splits:
                raise ValueError(
                    f"error_split {self.error_split!r}: benchmark {name!r} has the splits {', '.join(splits)}; name "
                    "one, or set in_domain: [] and arms: [] to measure alone"
                )
        for name in self.benchmarks:
            splits = _benchmarks.get(name).splits
            if self.test_split not in splits and name not in self.in_domain:
                raise ValueError(
                    f"test_split {self.test_split!r}: benchmark {name!r} has the splits {', '.join(splits)}"
                )
        return self


def known_arm(arm: str) -> str:
    """The arm's name. Raises ValueError for one that is not there."""
    if arm not in _arms.ARMS:
        raise ValueError(f"unknown arm {arm!r}; known: {', '.join(_arms.ARMS)}")
    return arm


class ArmSection(Section):
    """How far the run goes. The plan reads these; the stages of one iteration do not depend on them."""

    arms: Names = Field(["fine_tuning", "auggpt", "le", "lec"], description="arms compared with vanilla")
    iterations: int = Field(2, ge=0, le=100, description="turns of the cycle")
    map_iterations: bool = Field(True, description="02 maps the errors of later iterations too, not only the target's")
    measure_errors: bool = Field(True, description="the last iteration answers error_split too: what was repaired")

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: list[str]) -> list[str]:
        return [arm for arm in dict.fromkeys(map(known_arm, arms)) if arm != "vanilla"]


class LessonSection(Section):
    """Which items an arm learns from, and how many."""

    budget: int = Field(600, ge=1, description="training items per in-domain benchmark, for every arm alike")
    replay_fraction: float = Field(0.25, ge=0, lt=1, description="share of the budget: right-answered train items")
    replay_from: Literal["gold", "own"] = Field("gold", description="replayed: gold answers or the target's own")
    match: Literal["items", "tokens"] = Field("items", description="what budget equals in every arm")
    holdout_fraction: float = Field(0.2, ge=0, lt=1, description="share of error_split never instructed or trained on")
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
    max_length: int = Field(512, ge=16, description="tokens; longer samples are counted and left out")
    strict: bool = Field(False, description="stop when fewer lessons than the budget can be made")
    teacher: str = Field("", description="model whose answers or probabilities are learned from, as target is written")
    seed: int = Field(0, ge=0, lt=2**32, description="of every random choice")


class RepairSection(Section):
    """How attempts are sampled; how TriPosT edits and mixes them, and how a model repairs itself at test time."""

    attempts: int = Field(4, ge=1, description="sampled attempts at each train question, in every iteration")
    attempt_temperature: float = Field(1.0, ge=0, le=2, description="of those attempts")
    updates: int = Field(2, ge=1, description="edits of an attempt, and own updates at test time, at most")
    mix: Annotated[list[float], Listed] = Field(
        [1.5, 1.0, 1.0], description="repairs : right at once : gold, in the training set"
    )
    feedback: Literal["verdict", "worked"] = Field(
        "verdict", description="on an attempt: the verdict alone, or what checks each step before it"
    )
    feedback_weight: float = Field(1.5, gt=0, description="weight in the loss, from the feedback on")
    learn_attempts: bool = Field(False, description="the wrong attempt of a repair carries loss too")
    wrong_steps: Literal["repair", "leave_out"] = Field(
        "repair", description="attempts with the right answer through a wrong step"
    )
    false_alarms: bool = Field(True, description="right attempts that the model blames are trained on first")

    @field_validator("mix")
    @classmethod
    def _three_shares(cls, mix: list[float]) -> list[float]:
        if len(mix) != 3 or min(mix) < 0 or not mix[0]:
            raise ValueError("mix takes three shares, repairs first and above 0, such as [1.5, 1, 1]")
        return mix


def _instructor(given: dict[str, Any]) -> Literal["scripted", "symbolic"]:
    """The free instructor that can teach: ``scripted`` knows the worlds that this project makes, and no others."""
    named = map(_benchmarks.get, given.get("in_domain", ()))
    return "symbolic" if any(bench.own_files or bench.sources or bench.origin for bench in named) else "scripted"


class InstructorSection(Section):
    """Who writes the lessons, what it may cost, how it is asked."""

    instructor: Literal["scripted", "symbolic", "llm"] = Field(
        default_factory=_instructor, description="scripted for this project's worlds, symbolic for others; llm: paid"
    )
    instructor_model: str = Field("", description="model name asked for at the endpoint; also named in the quote")
    instructor_url: str = Field("", description="base URL of the endpoint; empty: OpenAI's")
    max_usd: float = Field(0.0, ge=0, description="hard cap on what the instructor may cost; 0: nothing is sent")
    prices: Annotated[dict[str, Price], Mapped] = Field(
        {}, description="model: {input: …, output: …}, dollars per million tokens"
    )
    probe: int = Field(5, ge=0, description="requests sent first, from which the rest is quoted (llm)")
    reply_format: Literal["auto", "json", "text"] = Field("auto", description="JSON schema, if the endpoint knows it")
    agreement: int = Field(0, ge=0, description="answers of the instructor that must confirm a choice lesson's letter")
    per: Literal["error", "cluster"] = Field("error", description="what one request is about")
    batch: bool = Field(False, description="OpenAI's Batch endpoint: half the price, answers within a day")
    quote_only: bool = Field(False, description="stop after the requests and the price quote; nothing is sent")
    lessons_only: bool = Field(False, description="stop after the first lessons; nothing is trained")

    @model_validator(mode="after")
    def _can_be_asked(self) -> "InstructorSection":
        if self.agreement and self.instructor != "llm":
            raise ValueError(f"agreement {self.agreement} asks a language model again; set instructor: llm, or 0")
        if self.quote_only and self.instructor == "llm" and not self.instructor_model:
            raise ValueError("quote_only with instructor: llm needs instructor_model, the model to quote for")
        return self


def _average(given: dict[str, Any]) -> float | Literal["auto"]:
    """Held-out items choose, if there are any: LE and LEC forget less then (docs/LOG.md, five seeds)."""
    return "auto" if given.get("holdout_fraction") else 1.0


class TrainingSection(Section):
    """What decides a training, and where it runs. The trainer's settings hold this section as it is."""

    deepspeed: Literal["none", "zero1", "zero2", "zero3", "zero3_offload"] = Field("none", description="stage of ZeRO")
    num_processes: int = Field(1, ge=1, description="training processes (GPUs) on this node")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="the highest, after the warm-up")
    epochs: float = Field(5.0, gt=0, description="passes over the training items")
    batch_size: int = Field(32, ge=1, description="items a process and step")
    gradient_accumulation: int = Field(1, ge=1, description="batches a step")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises")
    warmup_steps: int = Field(0, ge=0, description="in place of warmup_ratio, at most half of all steps; 0: the ratio")
    weight_decay: float = Field(0.0, ge=0, description="pull of the weights towards 0")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped at this norm")
    gradient_checkpointing: bool = Field(True, description="on GPUs: less memory for a third more time")
    packing: bool = Field(False, description="pack samples; pays only with variable-length attention kernels")
    kl_weight: float = Field(0.0, ge=0, description="weight of the distance to the model before training; 0: none")
    average: float | Literal["auto"] = Field(
        default_factory=_average,
        description="share of the way from the weights before to those after training; auto: by held-out items",
    )
    lora_rank: int = Field(0, ge=0, description="0: full fine-tuning")
    lora_alpha: int = Field(0, ge=0, description="the adapter's scale times its rank; 0: twice the rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs left out in training")
    load_in_4bit: bool = Field(False, description="QLoRA: the frozen base in 4 bits (extra qlora: bitsandbytes)")
    merge_lora: bool = Field(False, description="the checkpoint is the whole model with the adapter in it")
    save_steps: int = Field(0, ge=0, description="steps between states to go on from; 0: a quarter of the training")
    report_to: str = Field("none", description="none | tensorboard | wandb | mlflow | others transformers knows")
    hostfile: str = Field("", description="DeepSpeed hostfile: train on several nodes that share the run folder")

    @field_validator("average", mode="before")
    @classmethod
    def _read_average(cls, value: Any) -> Any:
        """``true`` and ``false`` are read too: by held-out items, and off."""
        words = {"true": "auto", "false": 1.0, "none": 1.0}
        return words.get(str(value).lower(), value)

    @field_validator("average")
    @classmethod
    def _is_a_share(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 < value <= 1:
            raise ValueError("average is a share of the way above 0 and up to 1 (1: the trained weights), or auto")
        return value

    @model_validator(mode="after")
    def _can_be_trained(self) -> "TrainingSection":
        if not self.lora_rank and (self.load_in_4bit or self.merge_lora or self.lora_alpha or self.lora_dropout):
            raise ValueError(
                "load_in_4bit, merge_lora, lora_alpha and lora_dropout are for adapters, and lora_rank is 0; "
                "set lora_rank, for instance to 16"
            )
        if self.hostfile and self.deepspeed == "none":
            raise ValueError(f"hostfile {self.hostfile!r} needs DeepSpeed's launcher; set deepspeed: zero2")
        return self


class MachineSection(Section):
    """The machine that the runner is on."""

    workers: int = Field(2, ge=1, description="stages run side by side")
    shards: int = Field(1, ge=1, description="stages that answer one evaluation's questions side by side")
    slurm: dict[str, str | int] = Field(
        {}, description="what a job asks of SLURM beside cores and GPUs: partition, account, mem, time (minutes) …"
    )


_ASKING = (TargetSection, QuestionSection, LessonSection, InstructorSection)
READS: dict[str, tuple[type[Section], ...]] = {
    "01_evaluate": (TargetSection, QuestionSection),
    "01_part": (TargetSection, QuestionSection),
    "02_error_analysis": (TargetSection, QuestionSection, InstructorSection),
    "03_instruct_LE": _ASKING,
    "04_instruct_LEC": _ASKING,
    "05_train_deepspeed": (TargetSection, QuestionSection, LessonSection, TrainingSection),
    "06_compare": (TargetSection, QuestionSection),
    "07_tripost": (*_ASKING, RepairSection),
    "08_repair": (*_ASKING, RepairSection),
    "09_self_training": (TargetSection, QuestionSection, LessonSection, RepairSection),
    "10_distil": (TargetSection, QuestionSection, LessonSection),
}
"""The sections that a notebook reads. The runner gives it each of their keys that is not at its default, and every key
that its parameters cell declares."""


def keys_of(sections: tuple[type[Section], ...]) -> frozenset[str]:
    return frozenset(key for section in sections for key in section.model_fields)
