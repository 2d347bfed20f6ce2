// Det on the device: plain CUDA, no TensorRT.
#pragma once

#include "det_math.h"

#include <cuda_runtime_api.h>

//! y = Det(x) on `stream` for `matrices` matrices of `order` x `order`, dense in device memory.
//! Does not allocate, synchronise or throw; the launch's error, or cudaErrorInvalidValue for a wrong type or order.
extern "C" cudaError_t trb_det(
    int64_t matrices, int64_t order, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept;
