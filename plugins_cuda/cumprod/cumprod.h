// CumProd on the device: plain CUDA, no TensorRT.
#pragma once

#include "cumprod_math.h"

#include <cuda_runtime_api.h>

//! y = CumProd(x) on `stream`; both dense in device memory, seen as [outer, length, inner]. y may be x.
//! Does not allocate, synchronise or throw; returns the launch's error, or cudaErrorInvalidValue for a wrong type.
extern "C" cudaError_t trb_cumprod(
    trb::CumProdParams const* params, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept;
