"""What was gained and what was given up: latency, accuracy, and the report that shows both.

Nothing is imported here: a process that times one file starts in a moment and holds little else.
"""
