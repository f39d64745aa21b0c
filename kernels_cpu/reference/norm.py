"""Reference operators of this family."""
