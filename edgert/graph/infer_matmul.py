"""Shape functions of this family."""
