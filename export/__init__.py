"""Files for devices: targets, converters, the Core ML reference evaluator, verification, the manifest."""

from attar.export.export import export_student
from attar.export.limits import Limits
from attar.export.manifest import Manifest, read_manifest
from attar.export.targets import Target, choose_targets, every_target, parse_targets, require_targets
from attar.export.verify import verify

__all__ = [
    "Limits", "Manifest", "Target", "choose_targets", "every_target", "export_student", "parse_targets",
    "read_manifest", "require_targets", "verify",
]  # fmt: skip
