"""Whether the phone app computes in real browsers what Python computes."""
