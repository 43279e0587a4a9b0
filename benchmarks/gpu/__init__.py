"""Measurements that want a GPU, and run on a CPU, smaller, too."""
