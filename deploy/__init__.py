"""After the file: what people send back from the phone."""
