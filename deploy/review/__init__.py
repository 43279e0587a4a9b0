"""`attar review`: people look at what was collected, and decide.

- `opinions`: a teacher's answers about the photos
- `queue`: what waits, the most disputed first
- `server`: HTTP for the page
- `serve`: the verb
- `page/`: what the browser loads
"""
