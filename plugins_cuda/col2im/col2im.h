// Col2Im on the device: plain CUDA, no TensorRT.
#pragma once

#include "col2im_math.h"

#include <cuda_runtime_api.h>

//! image = Col2Im(columns) on `stream`; both dense in device memory, layouts as in Col2ImUnit. `rank`: image axes.
//! Does not allocate, synchronise or throw; returns the launch's error, or cudaErrorInvalidValue for a wrong type or
//! rank.
extern "C" cudaError_t trb_col2im(trb::Col2ImParams const* params, int32_t rank, trb::DataType type,
    void const* columns, void* image, cudaStream_t stream) noexcept;
