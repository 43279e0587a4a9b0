"""Recipes: validated, with near matches, overridable, and round-tripping."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from attar.errors import InputError
from attar.recipe import TEACHERS, Recipe, read_recipe, validate, write_recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "recipes").glob("*.yaml")), ROOT / "attar" / "cli" / "quickstart.yaml"]
)
def test_our_own_recipes_are_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.teacher is not None and (recipe.data.source or path.stem == "few-photos")


def test_what_is_resolved_reads_back_the_same(tmp_path: Path) -> None:
    recipe = read_recipe(None, ["student.epochs=3", "views.count=4", "data.path=photos", "teacher=null"])
    (tmp_path / "r.yaml").write_text(write_recipe(recipe))
    again = read_recipe(tmp_path / "r.yaml")
    assert again == recipe and again.fingerprint == recipe.fingerprint
    assert (again.student.epochs, again.views.count, again.teacher) == (3, 4, None)
    assert recipe.fingerprint != Recipe().fingerprint


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.epoch=3", "student.epoch: unknown key. Did you mean 'epochs'"),
        ("views.crop_aria=[0.1,1]", "views.crop_aria: unknown key. Did you mean 'crop_area'"),
        ("techer.name=x", "techer: unknown key. Did you mean 'teacher'"),
        ("student.img_size=96", "Did you mean 'size'"),
        ("student.image_size=96", "Did you mean 'size'"),
        ("student.options={img_size: 96}", "its image size is student.size"),
        ("teacher.size=96", "Did you mean teacher.options: {img_size: ...}"),
        ("teacher.image_size=96", "Did you mean teacher.options: {img_size: ...}"),
        ("img_size=96", "Did you mean student.size or teacher.options: {img_size: ...}"),
        ("epochs=3", "Did you mean teacher.epochs or student.epochs"),
        ("student.learning_rate=0.1", "Did you mean 'lr'"),
        ("data.folder=x", "Did you mean 'path'"),
        ("student.epochs=many", "student.epochs: .*'many'"),
        ("student.epochs=0", "student.epochs: .*greater than or equal to 1"),
        ("student", "write it as key=value"),
        ("seed.x.y=1", "seed has no keys below it"),
        ("student.losses=[{weight: 1}]", "student.losses.0.name: is missing"),
        ("student.losses=[{name: kd, weight: -1}]", "student.losses.0.weight: .*greater than or equal to 0"),
        ("student.loses=[{name: kd}]", "student.loses: unknown key. Did you mean 'losses'"),
        ("student={losses: [{name: kd}], temperature: 2}", "student: give either losses or temperature"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 0\n")
    with pytest.raises(InputError, match=message):
        read_recipe(path, [override])


def test_several_losses_on_the_command_line_read_back_the_same(tmp_path: Path) -> None:
    recipe = read_recipe(None, ["student.losses=[{name: dkd, weight: 0.7, alpha: 1, beta: 8}, {name: feature}]"])
    parts = [(part.name, part.weight, part.options) for part in recipe.student.losses]
    assert parts == [("dkd", 0.7, {"alpha": 1, "beta": 8}), ("feature", 1.0, {})]
    (tmp_path / "r.yaml").write_text(write_recipe(recipe))
    again = read_recipe(tmp_path / "r.yaml")
    assert again == recipe and again.fingerprint == recipe.fingerprint


def test_every_wrong_key_is_named_at_once_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("student: {epoch: 3}\nteacher: {lr: fast}\n")
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert all(text in str(caught.value) for text in ("mine.yaml", "student.epoch", "teacher.lr", "'fast'"))


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "\x00"])
def test_a_file_that_is_no_recipe(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        read_recipe(path)


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_recipe(tmp_path / "none.yaml")


def test_path_and_source_exclude_each_other() -> None:
    with pytest.raises(InputError, match="either path or source"):
        validate({"data": {"path": "a", "source": "digits"}}, "x")


def test_yaml_never_runs_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"seed: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(InputError, match=r"evil\.yaml"):
        read_recipe(path)
    assert not (tmp_path / "made").exists()
    assert yaml.safe_load("a: 1") == {"a": 1}


def test_keys_of_another_method_are_refused() -> None:
    for given, message in (
        ("{method: probe, lora_rank: 4}", "lora_rank belongs to method lora, and the method here is probe"),
        ("{lora_rank: 8}", "lora_rank belongs to method lora, and the method here is finetune"),
        ("{method: lora, logit_scale: 1}", "logit_scale belongs to method zero_shot"),
        ("{method: zero_shot, text_embeddings: x, weights: [1]}", "weights belongs to method ensemble"),
    ):
        with pytest.raises(InputError, match=message):
            read_recipe(None, [f"teacher={given}"])
    assert read_recipe(None, ["teacher={method: lora, lora_rank: 4}"]).teacher.lora_rank == 4  # type: ignore[union-attr]


def test_a_written_recipe_is_read_again_with_every_key(tmp_path: Path) -> None:
    needed = {"zero_shot": ["teacher.text_embeddings=text.npy"], "ensemble": ["teacher.members=[a, b]"]}
    for method, spec in TEACHERS.items():
        recipe = read_recipe(None, [f"teacher.method={method}", *needed.get(method, [])])
        assert type(recipe.teacher) is spec
        (tmp_path / "recipe.yaml").write_text(write_recipe(recipe))
        assert read_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("method", ["finetune", "lora", "probe"])
def test_a_recipe_that_attar_0_1_wrote_with_every_methods_keys_is_read(method: str) -> None:
    own = {
        "layer_decay": 0.75,
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "lora_mlp": False,
        "text_embeddings": None,
        "logit_scale": 100.0,
        "logit_bias": 0.0,
        "members": [],
        "weights": [],
    }
    assert validate({"teacher": {"method": method, **own}}, "recipe").teacher == TEACHERS[method]()
    other = "lora_rank" if method != "lora" else "logit_bias"
    with pytest.raises(InputError, match=f"{other} belongs to method"):
        validate({"teacher": {"method": method, **own, other: 3}}, "recipe")
