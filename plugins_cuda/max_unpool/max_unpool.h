// MaxUnpool on the device: plain CUDA, no TensorRT.
#pragma once

#include "max_unpool_math.h"

#include <cuda_runtime_api.h>

//! Bytes of device memory that trb_max_unpool needs as its workspace, for X of this size or less.
extern "C" int64_t trb_max_unpool_workspace(trb::MaxUnpoolParams const* params) noexcept;

//! y = MaxUnpool(x, indices) on `stream`: zeros, and the values of x where `indices` (64-bit) say; dense device memory.
//! Does not allocate, synchronise or throw; returns the launch's error, or cudaErrorInvalidValue for a wrong type.
extern "C" cudaError_t trb_max_unpool(trb::MaxUnpoolParams const* params, trb::DataType type, void const* x,
    void const* indices, void* y, void* workspace, cudaStream_t stream) noexcept;
