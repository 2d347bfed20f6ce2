// CumProd on the device: plain CUDA, no TensorRT.
#pragma once

#include "cumprod_math.h"

#include <cuda_runtime_api.h>

//! y = CumProd(x) on `stream`; both dense in device memory, seen as [outer, length, inner]. y may be x. `workspace`:
//! trb_cumprod_workspace bytes, aligned to 256. Does not allocate, synchronise or throw; returns the first error, or
//! cudaErrorInvalidValue for a wrong type.
extern "C" cudaError_t trb_cumprod(trb::CumProdParams const* params, trb::DataType type, void const* x, void* y,
    void* workspace, cudaStream_t stream) noexcept;

//! Bytes of workspace that suffice for this shape and every smaller one.
extern "C" int64_t trb_cumprod_workspace(trb::CumProdParams const* params) noexcept;
