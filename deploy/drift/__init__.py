"""What the field does to a model, from observations alone: its answers by version and week, and an alarm."""
