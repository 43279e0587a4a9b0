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
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    model_serializer,
    model_validator,
)

from attar import spellings, yaml_text
from attar.data.photos import DataSpec
from attar.data.views import ViewPolicy
from attar.errors import InputError
from attar.files import digest_of

MOST_PROBLEMS = 10
"""Wrong keys that one message names."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataPart(_Strict):
    """Where the photos are: a path, or a source that comes with a package; and photos without labels, if any."""

    path: str | None = Field(None, description="a folder, a CSV, tar shards or tables: docs/data.md")
    source: str | None = Field(None, description="photos that come with a package instead: digits, elpv, han")
    options: dict[str, int | bool] | None = Field(None, description="of source han: docs/han.md")
    unlabelled: str | None = Field(None, description="photos for a student that reads no labels, laid out likewise")
    added: str | None = Field(None, description="further labelled photos, for training unless their list has a split")
    added_unlabelled: str | None = Field(None, description="further photos without labels, as unlabelled")
    val_fraction: float = Field(0.25, gt=0, lt=1, description="share held out, where the photos have no split")
    seed: int = Field(0, ge=0, lt=1 << 63, description="of that split")
    classes: Literal["outer", "inner"] = Field("outer", description="inner: the folder that a photo lies in names it")
    allow_duplicates: bool = Field(False, description="leave copies in both splits, and photos of two labels")
    check: bool = Field(True, description="decode and hash every photo first; false: damaged ones stop the training")

    @model_validator(mode="after")
    def _one(self) -> DataPart:
        if self.path and self.source:
            raise ValueError("give either path or source, not both")
        if self.options is not None and self.source != "han":
            raise ValueError("options are those of source han")
        return self

    @model_serializer(mode="wrap")
    def _without_no_options(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A recipe without options or added photos is the one it was before there were any; so is one that checks."""
        values: dict[str, Any] = serialize(self)
        later = {"options": None, "added": None, "added_unlabelled": None, "check": True}
        return {key: value for key, value in values.items() if key not in later or value is not later[key]}

    def spec(self, path: Path | str) -> DataSpec:
        """What `attar.data.photos.read_photos` takes, for the photos at `path`."""
        return DataSpec(
            str(path),
            self.val_fraction,
            self.seed,
            self.unlabelled,
            self.classes,
            self.allow_duplicates,
            added=self.added,
            added_unlabelled=self.added_unlabelled,
            check=self.check,
        )


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


class TeacherPart(TrainSpec):
    """What every method of fitting a teacher has; the methods that do not train read no key of training.

    `TeachSpec` is the union of the methods' own models, chosen by `method`.
    """

    name: str = Field("vit_small_patch16_224", description="a timm model, or hybrid_vit; attar teachers lists families")
    pretrained: bool = Field(True, description="start from timm's weights, unless a checkpoint is given")
    checkpoint: str | None = Field(None, description="start from a local file, or package://<package>/<file>")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the architecture")
    crop: float | None = Field(None, gt=0, le=1, description="share of the resized side that evaluation keeps")
    fit: Literal["crop", "squash", "pad"] | None = Field(
        None,
        description="how evaluation makes a photo square; by default as its weights were trained (timm's crop_mode)",
    )
    epochs: int = Field(10, ge=1, le=1_000_000, description="at least; see min_steps")
    min_steps: int = Field(200, ge=0, le=1_000_000_000, description="as for the student: with few photos, more epochs")
    lr: float = Field(3e-4, gt=0, le=100, description="peak learning rate")

    @model_validator(mode="before")
    @classmethod
    def _keys_of_its_method(cls, values: Any) -> Any:
        """Refuse another method's key, unless all of them are there at their defaults: attar 0.1 wrote recipes so."""
        if not isinstance(values, Mapping):
            return values
        foreign = {key: method for key, method in _METHOD_OF.items() if key not in cls.model_fields}
        given = [key for key in foreign if key in values]
        meant = [key for key in given if values[key] != _default(key)]
        if meant or 0 < len(given) < len(foreign):
            key = (meant or given)[0]
            raise ValueError(
                f"{key} belongs to method {foreign[key]}, and the method here is {cls.model_fields['method'].default}. "
                f"Leave {key} out, or set method: {foreign[key]}"
            )
        return {key: value for key, value in values.items() if key not in foreign}


class FinetuneSpec(TeacherPart):
    """All weights are trained: `teachers.finetune`."""

    method: Literal["finetune"] = "finetune"
    layer_decay: float = Field(0.75, gt=0, le=1, description="learning rate of each layer over that of the next")


class LoraSpec(TeacherPart):
    """Low-rank adapters are trained, and merged (arXiv 2106.09685)."""

    method: Literal["lora"] = "lora"
    lora_rank: int = Field(8, ge=1, le=4096, description="rank of what is added to each matrix")
    lora_alpha: float = Field(16.0, gt=0, description="what is added is scaled by alpha / rank")
    lora_mlp: bool = Field(False, description="adapt the MLPs' matrices too, not only the attention's")


class ProbeSpec(TeacherPart):
    """A linear classifier of the features that the network has: `teachers.linear_probe`."""

    method: Literal["probe"] = "probe"


class ZeroShotSpec(TeacherPart):
    """Photos are compared with embeddings of the classes' names: `teachers.zero_shot`."""

    method: Literal["zero_shot"] = "zero_shot"
    text_embeddings: str = Field(min_length=1, description="a file of one or more embeddings per class")
    logit_scale: float = Field(100.0, gt=0, description="what cosines are multiplied by")
    logit_bias: float = Field(0.0, description="what is added to them (SigLIP)")


class EnsembleSpec(TeacherPart):
    """Several fitted teachers, averaged: `teachers.ensemble`."""

    method: Literal["ensemble"] = "ensemble"
    members: tuple[str, ...] = Field(min_length=1, description="folders of teacher bundles")
    weights: tuple[float, ...] = Field((), description="of its members; by default all alike")

    @model_validator(mode="after")
    def _weights_fit_members(self) -> EnsembleSpec:
        if self.weights and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members")
        if any(weight <= 0 for weight in self.weights):
            raise ValueError("the weights of an ensemble are positive")
        return self


TEACHERS: dict[str, type[TeacherPart]] = {
    "finetune": FinetuneSpec,
    "lora": LoraSpec,
    "probe": ProbeSpec,
    "zero_shot": ZeroShotSpec,
    "ensemble": EnsembleSpec,
}
"""`method` -> how a teacher is fitted so."""


def _method(values: Any) -> Any:
    return values.get("method", "finetune") if isinstance(values, Mapping) else getattr(values, "method", "finetune")


TeachSpec = Annotated[
    Annotated[FinetuneSpec, Tag("finetune")]
    | Annotated[LoraSpec, Tag("lora")]
    | Annotated[ProbeSpec, Tag("probe")]
    | Annotated[ZeroShotSpec, Tag("zero_shot")]
    | Annotated[EnsembleSpec, Tag("ensemble")],
    Discriminator(_method, custom_error_type="method", custom_error_message=f"method is one of {', '.join(TEACHERS)}"),
]
"""Which teacher, and how to fit it: `teachers.teach`. A key of one method is an error beside another."""

_METHOD_OF = {
    key: method
    for method, spec in TEACHERS.items()
    for key in spec.model_fields
    if key not in {"method", *TeacherPart.model_fields}
}
"""Keys of a teacher that one method alone reads -> the method."""


def _default(key: str) -> Any:
    """What attar 0.1 wrote where a key of another method was not given."""
    value = TEACHERS[_METHOD_OF[key]].model_fields[key].default
    return {"text_embeddings": None, "members": [], "weights": []}.get(key, value)


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


def _form_of_flips(value: Any) -> str:
    return "off" if value is None else "auto" if value == "auto" else "loss"


Flips = Annotated[
    Annotated[LossPart, Tag("loss")] | Annotated[Literal["auto"], Tag("auto")] | Annotated[None, Tag("off")],
    Discriminator(_form_of_flips),
]
"""A loss against negative flips, the default one, or none."""


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
    head_options: dict[str, Any] = Field(default_factory=dict, description="other arguments of it, such as kernel_size")
    drop_rate: float = Field(0.1, ge=0, lt=1, description="dropout before the classifier")
    familiarity: str | None = Field(
        None, description="default, or a score of attar.students.familiarity: files also say how familiar a photo is"
    )
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
    flips: Flips = Field(
        "auto", description="with --continue-from, a loss that keeps that student's right answers: docs/flips.md"
    )

    @model_serializer(mode="wrap")
    def _without_flips_by_default(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A recipe that says nothing of flips is the one it was before there was such a key."""
        values: dict[str, Any] = serialize(self)
        return {key: value for key, value in values.items() if key != "flips" or value != "auto"}

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
    teacher: TeachSpec | None = Field(FinetuneSpec(), description="null: fit the student by the labels alone")
    student: DistillSpec = DistillSpec()
    targets: tuple[str, ...] = Field(
        ("litert:fp32", "litert:int8", "coreml:fp16", "onnx:fp32"), description="files to write: format:precision"
    )
    max_drop: float = Field(1.0, ge=0, description="points of top-1 that a file may lose against its student")
    precision: float = Field(
        0.95, ge=0.5, lt=1, description="share of right answers among those that a file calls sure"
    )
    hierarchy: str | None = Field(
        None, description="groups of labels: a CSV of label,parent, or binomial for genera of species' names"
    )
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
    place = ".".join(_place(problem))
    return "--set " if any(f"{place}.".startswith(f"{key}.") for key in given) else ""


def _place(problem: Any) -> list[str]:
    """The keys that lead to what is wrong; pydantic names the teacher's method among them, which is no key."""
    keys = [str(key) for key in problem["loc"]]
    if keys[:2] == ["student", "flips"]:  # and the form of this key
        return [*keys[:2], *keys[3:]]
    return [*keys[:1], *(keys[2:] if keys[:1] == ["teacher"] and keys[1:2] and keys[1] in TEACHERS else keys[1:])]


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
    place = ".".join(_place(problem))
    if problem["type"] == "missing":
        method = f" of method {problem['loc'][1]}" if place.startswith("teacher.") else ""
        return f"{place}: is missing, and a recipe{method} needs it."
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parts, key = _place(problem)
        return f"{place}: unknown key.{spellings.meant(key, parts[0] if parts else None, _KEYS)}"
    value = repr(_method(problem["input"]) if problem["type"] == "method" else problem["input"])
    value = value if len(value) <= 80 else f"{value[:80]}..."
    return f"{place}: {problem['msg'].removeprefix('Value error, ')} (found {value})."


_PARTS: dict[str | None, Any] = {
    None: Recipe,
    "data": DataPart,
    "views": ViewPolicy,
    "student": DistillSpec,
    "bench": BenchPart,
}
_KEYS = {part: list(getattr(kind, "model_fields", None) or kind.__annotations__) for part, kind in _PARTS.items()}
_KEYS["teacher"] = ["method", *TeacherPart.model_fields, *_METHOD_OF]
"""The keys that are known in each part of the recipe."""
