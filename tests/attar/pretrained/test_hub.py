"""Pretrained weights from the hub: what a user is told when they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from attar import students, teachers
from attar.errors import InputError
from attar.pretrained.hub import create_pretrained

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "make",
    [
        "teachers.create_teacher('vit_tiny_patch16_224', 3, pretrained=True)",
        "teachers.create_teacher('hybrid_vit', 3, pretrained=True)",
        "students.create_student('mobilenetv3_small_100', 3, pretrained=True)",
    ],
)
def test_weights_that_cannot_be_fetched_are_one_clear_error(make: str, tmp_path: Path) -> None:
    # The client reads its settings when it is imported: hence a process, with an empty cache and no network.
    code = f"from attar import students, teachers\nfrom attar.errors import InputError\ntry:\n    {make}\n"
    code += "except InputError as error:\n    print(error)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout for part in ("could not be fetched", "`checkpoint`", "`pretrained: false`"))
    assert len(done.stdout.splitlines()) == 1 and "Traceback" not in done.stderr and "Retrying" not in done.stderr


def test_weights_that_do_not_exist_are_named() -> None:
    with pytest.raises(InputError, match=r"no pretrained weights.*pretrained: false"):
        students.create_student("mobilenetv4_conv_small_035", 3, pretrained=True)
    with pytest.raises(InputError, match="no pretrained weights"):
        teachers.create_teacher("vit_tiny_patch16_384.none", 3, pretrained=True)


def test_weights_that_are_here_are_taken(tmp_path: Path) -> None:
    source = timm.create_model("mobilenetv3_small_050", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth")}
    model = create_pretrained("student", "mobilenetv3_small_050", num_classes=5, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.conv_stem.weight, source.conv_stem.weight)
    assert model.classifier.out_features == 5


def test_options_of_another_architecture_are_refused() -> None:
    with pytest.raises(InputError, match=r"does not work with the options \{wings: 2\}"):
        teachers.create_teacher("vit_tiny_patch16_224", 3, options={"wings": 2})


def test_a_hub_that_does_not_answer_is_given_up_within_seconds(tmp_path: Path) -> None:
    code = (
        "import time\nimport huggingface_hub\n"
        "from attar import teachers\nfrom attar.errors import InputError\nstart = time.monotonic()\ntry:\n"
        "    teachers.create_teacher('vit_tiny_patch16_224', 3, pretrained=True)\n"
        "except InputError as error:\n    print(time.monotonic() - start, error)"
    )
    # An address of the block that is set aside for documentation: nobody is there (RFC 5737).
    unset = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment = {**unset, "HF_ENDPOINT": "https://192.0.2.1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds, _, message = done.stdout.partition(" ")
    assert "did not answer" in message and float(seconds) < 60, done.stdout + done.stderr
