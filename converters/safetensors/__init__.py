"""safetensors files and folders: `reader.py` the container, `checkpoint.py` a folder of them with its config."""
