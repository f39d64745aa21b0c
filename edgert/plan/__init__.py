"""Planning: kernels chosen with reasons, an arena whose peak is known in advance, a budget that is kept.

Running a plan is edgert/runtime's.
"""
