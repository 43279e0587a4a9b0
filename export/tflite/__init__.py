"""Editing a .tflite file: its input (`graph`) and what it says of itself (`metadata`)."""
