// ScatterElements on the device: plain CUDA, no TensorRT.
#pragma once

#include "scatter_elements_math.h"

#include <cuda_runtime_api.h>

//! y = ScatterElements(data, indices, updates) on `stream`; dense device memory. `target` holds the indices. y may be
//! data. `workspace`: trb_scatter_elements_workspace bytes, aligned to 256; may be null if that is 0. Does not
//! allocate, synchronise or throw; returns the first error, or cudaErrorInvalidValue for a wrong type or a missing
//! workspace.
extern "C" cudaError_t trb_scatter_elements(trb::ScatterParams const* params, trb::ScatterElementsTarget const* target,
    trb::DataType type, void const* data, void const* updates, void* y, void* workspace, cudaStream_t stream) noexcept;

//! Bytes of workspace, often 0; -1 if CUDA cannot say.
extern "C" int64_t trb_scatter_elements_workspace(trb::ScatterParams const* params, trb::DataType type) noexcept;
