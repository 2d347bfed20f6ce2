// GridSample on the device: plain CUDA, no TensorRT.
#pragma once

#include "grid_sample_math.h"

#include <cuda_runtime_api.h>

//! Y = GridSample(X, grid) on `stream`. X: [batch, channels, size...], grid: [batch, positions..., rank], Y: [batch,
//! channels, positions...], all dense in row-major order in device memory. Does not allocate, synchronise or throw;
//! returns the launch's error, or cudaErrorInvalidValue for types that are not supported.
extern "C" cudaError_t trb_grid_sample(trb::GridSampleParams const* params, trb::DataType type, trb::DataType grid_type,
    void const* x, void const* grid, void* y, cudaStream_t stream) noexcept;
