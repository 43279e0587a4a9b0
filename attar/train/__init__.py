"""The training loop and its parts; teachers are fitted and students distilled by it."""
