"""CUDA plugins: what operators there are, how they are compiled, tested and made known to TensorRT.

Below `spec` and `build` in the order of imports: it uses only errors and the leaf modules. Nothing here imports what
lies in `plugins_cuda/`; references are read by path, kernels are compiled.
"""
