"""Qualcomm's NPU (HTP): which chips there are, and compiling and running files for them without a phone."""
