"""The recipe: one YAML file that tells a whole run, validated before anything starts.

    data:    {path: photos/}            or {source: elpv}; val_fraction, seed
    views:   {crop_area: [0.35, 1.0]}   attar.data.views.ViewPolicy
    teacher: {name: vit_small_patch16_224, pretrained: true, epochs: 10}   TeachSpec
    student: {name: mobilenetv4_conv_small, size: 224, epochs: 60}         DistillSpec
    targets: [litert:int8, coreml:fp16]
    seed: 0

Every key has a default, unknown keys are errors, and what was resolved is stored with the results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attar import yaml_text
from attar.data.photos import DataSpec
from attar.data.views import ViewPolicy
from attar.errors import InputError
from attar.files import digest_of
from attar.spellings import meant

MOST_PROBLEMS = 10
"""Wrong keys that one message names."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataPart(_Strict):
    """Where the photos are: a path, or a source that comes with a package; and photos without labels, if any."""

    path: str | None = Field(None, description="a folder, a CSV, tar shards or tables: docs/data.md")
    source: str | None = Field(None, description="photos that come with a package instead: digits, elpv")
    unlabelled: str | None = Field(None, description="photos for a student that reads no labels, laid out likewise")
    val_fraction: float = Field(0.25, gt=0, lt=1, description="share held out, where the photos have no split")
    seed: int = Field(0, ge=0, lt=1 << 63, description="of that split")
    classes: Literal["outer", "inner"] = Field("outer", description="inner: the folder that a photo lies in names it")
    allow_duplicates: bool = Field(False, description="leave copies in both splits, and photos of two labels")

    @model_validator(mode="after")
    def _one(self) -> DataPart:
        if self.path and self.source:
            raise ValueError("give either path or source, not both")
        return self

    def spec(self, path: Path | str) -> DataSpec:
        """What `attar.data.photos.read_photos` takes, for the photos at `path`."""
        return DataSpec(str(path), self.val_fraction, self.seed, self.unlabelled, self.classes, self.allow_duplicates)


class TrainSpec(_Strict):
    """How to train: `attar.train.loop`."""

    epochs: int = Field(30, ge=1, le=1_000_000, description="at least; see min_steps")
    min_steps: int = Field(
        1000,
        ge=0,
        le=1_000_000_000,
        description="with few photos, more epochs until there are so many steps; 0 where epochs is given",
    )
    batch_size: int = Field(32, ge=2, le=1 << 20, description="photos per step, of all ranks and parts together")
    lr: float = Field(1e-3, gt=0, le=100, description="peak learning rate")
    weight_decay: float = Field(0.02, ge=0, description="of AdamW; biases and norms have none")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights; 0 switches averaging off")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 switches clipping off")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of every label that goes to all classes alike")
    balance: Literal["none", "class_balanced", "logit_adjusted"] = Field(
        "none", description="how the labels' loss makes up for rare classes: attar.train.balance"
    )
    tau: float = Field(1.0, gt=0, description="of logit_adjusted: strength; 1 is consistent with balanced accuracy")
    beta: float = Field(0.9999, ge=0, lt=1, description="of class_balanced: 0 weighs all alike, near 1 by count")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that has it")
    accumulate: int = Field(1, ge=1, le=1 << 16, description="parts in which a rank works through its share of a batch")
    shard: bool = Field(False, description="spread the model over the ranks (FSDP), for teachers too large for one")
    select: Literal["last", "best"] = Field("last", description="best: the epoch best on the validation photos")
    checkpoint_seconds: float = Field(20.0, ge=0, description="least time between two training checkpoints")
    keep: int = Field(2, ge=1, le=1000, description="training checkpoints that are kept while training")
    log: Literal["tensorboard", "mlflow", "wandb"] | None = Field(None, description="where to draw curves")

    @model_validator(mode="before")
    @classmethod
    def _epochs_as_given(cls, values: Any) -> Any:
        """Who names a number of epochs gets that number."""
        if isinstance(values, Mapping) and "epochs" in values and "min_steps" not in values:
            return {**values, "min_steps": 0}
        return values


class TeachSpec(TrainSpec):
    """Which teacher, and how to fit it: `teachers.teach`."""

    name: str = Field("vit_small_patch16_224", description="a timm model, or hybrid_vit; attar teachers lists families")
    pretrained: bool = Field(True, description="start from timm's weights, unless a checkpoint is given")
    checkpoint: str | None = Field(None, description="start from a local file, or package://<package>/<file>")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the architecture")
    crop: float | None = Field(None, gt=0, le=1, description="share of the resized side that evaluation keeps")
    fit: Literal["crop", "squash", "pad"] | None = Field(
        None,
        description="how evaluation makes a photo square; by default as its weights were trained (timm's crop_mode)",
    )
    method: Literal["finetune", "lora", "probe", "zero_shot", "ensemble"] = Field(
        "finetune", description="how it comes to know the classes; keys of one method are errors beside another"
    )
    layer_decay: float = Field(0.75, gt=0, le=1, description="learning rate of each layer over that of the next")
    epochs: int = Field(10, ge=1, le=1_000_000, description="at least; see min_steps")
    min_steps: int = Field(200, ge=0, le=1_000_000_000, description="as for the student: with few photos, more epochs")
    lr: float = Field(3e-4, gt=0, le=100, description="peak learning rate")
    lora_rank: int = Field(8, ge=1, le=4096, description="lora: rank of what is added to each matrix")
    lora_alpha: float = Field(16.0, gt=0, description="lora: what is added is scaled by alpha / rank")
    lora_mlp: bool = Field(False, description="lora: adapt the MLPs' matrices too, not only the attention's")
    text_embeddings: str | None = Field(None, description="zero_shot: a file of one or more embeddings per class")
    logit_scale: float = Field(100.0, gt=0, description="zero_shot: what cosines are multiplied by")
    logit_bias: float = Field(0.0, description="zero_shot: what is added to them (SigLIP)")
    members: tuple[str, ...] = Field((), description="ensemble: folders of teacher bundles")
    weights: tuple[float, ...] = Field((), description="ensemble: of its members; by default all alike")

    @model_validator(mode="before")
    @classmethod
    def _keys_of_its_method(cls, values: Any) -> Any:
        """A key of another method is an error, unless every such key is there at its default: attar wrote that."""
        if not isinstance(values, Mapping):
            return values
        method = values.get("method", "finetune")
        others = [key for key, owner in _METHOD_OF.items() if owner != method]
        given = [key for key in others if key in values]
        if given and (len(given) < len(others) or any(values[key] != _default(cls, key) for key in given)):
            raise ValueError(
                f"{given[0]} belongs to method {_METHOD_OF[given[0]]}, and the method here is {method}. "
                f"Leave {given[0]} out, or set method: {_METHOD_OF[given[0]]}"
            )
        return values

    @model_validator(mode="after")
    def _fits_its_method(self) -> TeachSpec:
        for key, method in (("text_embeddings", "zero_shot"), ("members", "ensemble")):
            if bool(getattr(self, key)) != (self.method == method):
                raise ValueError(f"method {method} and {key} go together")
        if self.weights and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members")
        if any(weight <= 0 for weight in self.weights):
            raise ValueError("the weights of an ensemble are positive")
        return self


_METHOD_OF = {
    **dict.fromkeys(("lora_rank", "lora_alpha", "lora_mlp"), "lora"),
    **dict.fromkeys(("text_embeddings", "logit_scale", "logit_bias"), "zero_shot"),
    **dict.fromkeys(("members", "weights"), "ensemble"),
}
"""Keys of a teacher that one method alone reads -> the method."""


def _default(spec: type[BaseModel], key: str) -> Any:
    """As plain data, which a written recipe has."""
    value = spec.model_fields[key].default
    return list(value) if isinstance(value, tuple) else value


class LossPart(BaseModel):
    """One of several losses. Keys other than these are the loss's own options: see docs/methods.md.

    They are checked where the losses are known, in `attar.distill.losses`, before anything starts.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str = Field(description="one of docs/methods.md, or of another package")
    weight: float = Field(1.0, ge=0, description="in the sum")

    @property
    def options(self) -> dict[str, Any]:
        """The loss's own options."""
        return dict(self.model_extra or {})


class DistillSpec(TrainSpec):
    """Which student, and how to fit it: `attar.distill.distill`.

    Either one loss, `weight · loss + (1 - weight) · labels`, or several, `label_weight · labels + sum of
    weight · loss`:

        losses: [{name: dkd, weight: 0.7, beta: 8}, {name: feature, weight: 0.5}]
    """

    name: str = Field("mobilenetv4_conv_small", description="a timm model; attar students lists families")
    pretrained: bool = Field(True, description="start from timm's weights, unless a checkpoint is given")
    checkpoint: str | None = Field(None, description="start from a local file, or package://<package>/<file>")
    head: str = Field("dwsconv", description="stock: timm's own; or one of attar.students.heads")
    head_width: int = Field(512, ge=1, le=1 << 16, description="channels of a head that is not timm's own")
    drop_rate: float = Field(0.1, ge=0, lt=1, description="dropout before the classifier")
    activation: Literal["stock", "relu"] = Field("stock", description="relu: another function, but faster in int8")
    size: int = Field(224, ge=32, le=4096, description="side of the image the student takes, pixels")
    crop: float = Field(0.875, gt=0, le=1, description="share of the resized side that evaluation keeps")
    fit: Literal["crop", "squash", "pad"] = Field(
        "crop", description="how a photo becomes square: its centre, all of it distorted, or all of it between borders"
    )
    loss: str = Field("kd", description="distillation loss")
    temperature: float | None = Field(None, gt=0, description="of that loss; by default its own, 3 for kd")
    weight: float = Field(0.7, ge=0, le=1, description="weight of the teacher against the labels")
    check_teacher: bool = Field(True, description="refuse a teacher whose answers have little to do with the labels")
    compile_teacher: bool = Field(False, description="torch.compile for the teacher's passes, where it works")
    losses: tuple[LossPart, ...] = Field((), description="several losses instead of that one")
    label_weight: float | None = Field(None, ge=0, description="by default 1 - weight, or 1 beside several losses")

    @model_validator(mode="after")
    def _one_form(self) -> DistillSpec:
        for key in ("loss", "temperature", "weight"):
            if self.losses and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"give either losses or {key}, which belongs to a single loss; each of losses has its own"
                )
        return self


class BenchPart(_Strict):
    """How to measure latency on this machine."""

    threads: int = Field(1, ge=1, le=1024, description="of each runtime")
    seconds: float = Field(10.0, gt=0, le=86_400, description="time for all files together, after warm-up")
    quick: bool = Field(False, description="load each file once, and do not look where its time goes")


class Recipe(_Strict):
    """A whole run. See the module's docstring."""

    data: DataPart = DataPart()
    views: ViewPolicy = ViewPolicy()
    teacher: TeachSpec | None = Field(TeachSpec(), description="null: fit the student by the labels alone")
    student: DistillSpec = DistillSpec()
    targets: tuple[str, ...] = Field(
        ("litert:fp32", "litert:int8", "coreml:fp16", "onnx:fp32"), description="files to write: format:precision"
    )
    max_drop: float = Field(1.0, ge=0, description="points of top-1 that a file may lose against its student")
    bench: BenchPart = BenchPart()
    author: str | None = Field(None, description="whose model it is: written into every file")
    license: str | None = Field(None, description="its licence, such as CC-BY-4.0: written into every file")
    seed: int = Field(0, ge=0, lt=1 << 63, description="of first weights, dropout and the order of photos")

    @model_validator(mode="before")
    @classmethod
    def _views_fit_the_student(cls, values: Any) -> Any:
        """A student that sees photos distorted or between borders is trained on such views."""
        if not isinstance(values, Mapping):
            return values
        student, views = values.get("student"), values.get("views", {})
        if isinstance(student, Mapping) and "fit" in student and isinstance(views, Mapping) and "fit" not in views:
            return {**values, "views": {**views, "fit": student["fit"]}}
        return values

    @property
    def fingerprint(self) -> str:
        """Identity of everything the recipe says but how it is measured, which changes no model and no file."""
        return digest_of({key: value for key, value in self.to_json().items() if key != "bench"})

    def to_json(self) -> dict[str, Any]:
        """As plain data, every default spelled out."""
        return self.model_dump(mode="json")


def read_recipe(
    path: Path | str | None, overrides: Sequence[str] = (), data: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe (none: the default one), set keys of its part `data`, apply `key.path=value` overrides, validate.

    Raises `InputError` naming the file, the key and near matches.
    """
    values: Any = {}
    if path is not None:
        values = yaml_text.read(Path(path)) or {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping of keys to values.")
    for key, value in (data or {}).items():
        _put(values, f"data.{key}", value, "--data")
    for override in overrides:
        _override(values, override)
    given = {override.partition("=")[0] for override in overrides}
    return validate(values, str(path or "recipe"), given)


def validate(values: Mapping[str, Any], where: str, given: Collection[str] = ()) -> Recipe:
    """Plain data -> recipe, or an `InputError` that names every wrong key; those `given` by --set as such."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        lines = "\n".join(f"  {_from(problem, given)}{_explained(problem)}" for problem in problems[:MOST_PROBLEMS])
        more = len(problems) - MOST_PROBLEMS
        raise InputError(f"{where}:\n{lines}" + (f"\n  and {more} more" if more > 0 else "")) from error


def _from(problem: Any, given: Collection[str]) -> str:
    """`--set ` where a wrong key is one of those given so, or is below one."""
    place = ".".join(str(part) for part in problem["loc"])
    return "--set " if any(f"{place}.".startswith(f"{key}.") for key in given) else ""


def write_recipe(recipe: Recipe, notes: Sequence[str] = ()) -> str:
    """The resolved recipe as YAML, below a comment for each note."""
    comments = "".join(f"# {note}\n" for note in notes)
    return comments + yaml.safe_dump(recipe.to_json(), sort_keys=False, allow_unicode=True)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override!r}: write it as key=value, for example --set student.epochs=20.")
    _put(values, key, yaml_text.parse(text, f"--set {override!r}"), f"--set {override!r}")


def _put(values: dict[str, Any], key: str, value: Any, option: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        below = values.setdefault(parent, {})
        if not isinstance(below, dict):
            raise InputError(f"{option}: {parent} has no keys below it.")
        values = below
    values[last] = value


def _explained(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parts, key = map(str, problem["loc"])
        return f"{place}: unknown key.{meant(key, parts[0] if parts else None, _KEYS)}"
    value = repr(problem["input"])
    value = value if len(value) <= 80 else f"{value[:80]}..."
    return f"{place}: {problem['msg'].removeprefix('Value error, ')} (found {value})."


_PARTS: dict[str | None, Any] = {
    None: Recipe, "data": DataPart, "views": ViewPolicy, "teacher": TeachSpec, "student": DistillSpec,
    "bench": BenchPart,
}  # fmt: skip
_KEYS = {part: list(getattr(kind, "model_fields", None) or kind.__annotations__) for part, kind in _PARTS.items()}
"""The keys that are known in each part of the recipe."""
