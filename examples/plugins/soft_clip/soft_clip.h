// SoftClip on the device: plain CUDA, no TensorRT.
#pragma once

#include "soft_clip_math.h"

#include <cuda_runtime_api.h>

//! Does not allocate, synchronise or throw; returns the launch's error, or cudaErrorInvalidValue for a wrong type.
extern "C" cudaError_t trb_soft_clip(
    trb::SoftClipParams const* params, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept;
