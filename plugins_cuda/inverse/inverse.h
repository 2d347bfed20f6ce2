// Inverse on the device: plain CUDA, no TensorRT.
#pragma once

#include "inverse_math.h"

#include <cuda_runtime_api.h>

//! y = Inverse(x) on `stream` for `matrices` matrices of `order` x `order`, dense in device memory.
//! Does not allocate, synchronise or throw; the launch's error, or cudaErrorInvalidValue for a wrong type or order.
extern "C" cudaError_t trb_inverse(
    int64_t matrices, int64_t order, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept;
