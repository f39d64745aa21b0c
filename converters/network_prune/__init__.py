"""Pruning of networks at conversion: which convolutions, how much of each, and what is done about the loss."""
