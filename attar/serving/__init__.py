"""What the servers of `attar lab`, `attar collect` and `attar review` share.

- `addresses`: where one listens, and how a phone gets there
- `connections`: how many there may be, and for how long
- `guard`: who may ask at all
- `http`: uvicorn within those bounds
"""
