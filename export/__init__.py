"""Files for devices: targets, converters, the Core ML reference evaluator, verification, the manifest."""

from export.export import export
from export.isolate import Limits
from export.manifest import Manifest, read_manifest
from export.targets import TARGETS, Target, choose_targets, parse_targets, require_targets
from export.verify import verify

__all__ = [
    "TARGETS", "Limits", "Manifest", "Target", "choose_targets", "export", "parse_targets", "read_manifest",
    "require_targets", "verify",
]  # fmt: skip
