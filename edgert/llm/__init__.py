"""Language models on the device: tokens in, tokens out. The class that people use is `edgert.LLM`.

The network itself is an ordinary graph, planned and run like every other: see decoder.py.
"""
