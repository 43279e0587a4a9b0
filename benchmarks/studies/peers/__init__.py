"""attar beside other tools, on the same student, the same photos, the same machine, in one interleaved run."""
