"""Part of attar."""
