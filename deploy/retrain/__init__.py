"""What a model may learn from people's observations, and how: `attar retrain`."""
