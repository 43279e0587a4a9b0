"""Photos: found on disk, checked by decoding, split, and made into views."""
