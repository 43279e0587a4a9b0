"""Files for devices: targets, converters, the Core ML reference evaluator, verification, the manifest.

Nothing is imported here: what runs a file (`attar.export.runners`) needs no torch, and a process that times one must
not load it.
"""
