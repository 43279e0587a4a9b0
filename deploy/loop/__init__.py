"""From observations to a run, and from a run that is better to a release, in one command: `attar loop`."""
