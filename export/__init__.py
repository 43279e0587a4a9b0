"""Files for devices: targets, converters, the Core ML reference evaluator, verification, the manifest."""

from export.export import export
from export.manifest import Manifest, read_manifest
from export.targets import TARGETS, Target, parse_targets, require_targets
from export.verify import verify

__all__ = ["TARGETS", "Manifest", "Target", "export", "parse_targets", "read_manifest", "require_targets", "verify"]
