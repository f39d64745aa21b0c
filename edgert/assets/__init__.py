"""Pinned models and data sets that edgert fetches, checks and keeps in the user's cache.

`pull` is in `fetch.py`; what ships inside the package is in `edgert.models`.
"""
