"""Qualcomm's systems on a chip that have an NPU (HTP), by the names that Android and Qualcomm give them.

The numbers are those of the QNN SDK: `soc_model` and `htp_arch` of ONNX Runtime's QNN execution provider, and
`QcomChipset` and `HtpArch` of ExecuTorch (backends/qualcomm/serialization/qc_schema.py). On a phone,
`adb shell getprop ro.soc.model` prints the name. Chips before version 69 are not here: they have no half precision,
which the softmax is computed in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Soc:
    """A chip.

    Attributes:
        title: what it is sold as.
        model: its number in the QNN SDK.
        arch: the version of its NPU (HTP).
    """

    title: str
    model: int
    arch: int


SOCS = {
    "sm8450": Soc("Snapdragon 8 Gen 1", 36, 69),
    "sm8550": Soc("Snapdragon 8 Gen 2", 43, 73),
    "sc8380xp": Soc("Snapdragon X Elite", 60, 73),
    "qcs9100": Soc("Qualcomm QCS9100", 77, 73),
    "sm8650": Soc("Snapdragon 8 Gen 3", 57, 75),
    "sm8750": Soc("Snapdragon 8 Elite", 69, 79),
    "sm8845": Soc("Snapdragon 8 Gen 5", 97, 81),
    "sm8850": Soc("Snapdragon 8 Elite Gen 5", 87, 81),
}
"""Name -> chip, by the version of the NPU."""

DEFAULT = "sm8750"
