"""The project's own experiments, behind the tables of docs/. Not part of the installed package."""
