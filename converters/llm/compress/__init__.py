"""Compression of language models when they are converted: rounding with a search, AWQ, GPTQ, and what it cost."""
