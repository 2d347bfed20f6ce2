// TopK on the device: plain CUDA, no TensorRT.
#pragma once

#include "top_k_math.h"

#include <cuda_runtime_api.h>

//! values and indices (64-bit) = TopK(x) on `stream`; dense device memory. `workspace`: trb_top_k_workspace bytes,
//! aligned to 256. Does not allocate, synchronise or throw; returns the first error, or cudaErrorInvalidValue for a
//! wrong type.
extern "C" cudaError_t trb_top_k(trb::TopKParams const* params, trb::DataType type, void const* x, void* values,
    void* indices, void* workspace, cudaStream_t stream) noexcept;

//! Bytes of workspace; -1 if CUDA cannot say.
extern "C" int64_t trb_top_k_workspace(trb::TopKParams const* params, trb::DataType type) noexcept;
