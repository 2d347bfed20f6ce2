// MaxUnpool on the device: plain CUDA, no TensorRT.
#pragma once

#include "max_unpool_math.h"

#include <cuda_runtime_api.h>

//! y = MaxUnpool(x, indices) on `stream`: zeros, and the values of x where `indices` (64-bit) say; dense device memory.
//! Does not allocate, synchronise or throw; returns the launch's error, or cudaErrorInvalidValue for a wrong type.
extern "C" cudaError_t trb_max_unpool(trb::MaxUnpoolParams const* params, trb::DataType type, void const* x,
    void const* indices, void* y, cudaStream_t stream) noexcept;
