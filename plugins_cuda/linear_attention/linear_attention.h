// LinearAttention on the device: plain CUDA, no TensorRT.
#pragma once

#include "linear_attention_math.h"

#include <cuda_runtime_api.h>

//! output and present = LinearAttention(inputs) on `stream`. `inputs`: query, key, value, past, decay, beta (null: left
//! out) in dense device memory, layouts as in LinearAttentionTensors; the array itself is read before the call returns.
//! `state`: type of past and present, that of the others or FP32. Does not allocate, synchronise or throw; returns the
//! launch's error, or cudaErrorInvalidValue for wrong types or a key size above 256.
extern "C" cudaError_t trb_linear_attention(trb::LinearAttentionParams const* params, trb::DataType type,
    trb::DataType state, void const* const* inputs, void* output, void* present, cudaStream_t stream) noexcept;
