"""Language models: a checkpoint becomes a decoder graph with its weights."""
