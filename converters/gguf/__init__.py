"""GGUF files of llama.cpp: `reader.py` the container, `blocks.py` its number formats, `checkpoint.py` both at once."""
