"""Weights that others trained: from the hub, or from a file, never by running code."""
