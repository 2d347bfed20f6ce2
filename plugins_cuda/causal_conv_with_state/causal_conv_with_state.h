// CausalConvWithState on the device: plain CUDA, no TensorRT.
#pragma once

#include "causal_conv_with_state_math.h"

#include <cuda_runtime_api.h>

//! y and present = CausalConvWithState(x, weight, bias, past) on `stream`; dense device memory, layouts as in
//! CausalConvUnit; `bias` and `past` may be null. Does not allocate, synchronise or throw; returns the launch's error,
//! or cudaErrorInvalidValue for a wrong type.
extern "C" cudaError_t trb_causal_conv_with_state(trb::CausalConvParams const* params, trb::DataType type,
    void const* x, void const* weight, void const* bias, void const* past, void* y, void* present,
    cudaStream_t stream) noexcept;
