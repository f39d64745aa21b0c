"""OpenCL: devices, their memory and programs, and the twins of CPU kernels that run on them.

pyopencl is imported only when a device is asked for. docs/kernels_gpu.md says how a twin is written.
"""
