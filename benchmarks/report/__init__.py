"""Teacher, student and files on the same photos: tables, pictures, and the page."""
