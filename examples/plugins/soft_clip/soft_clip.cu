// SoftClip on the device.
//
// Work: one thread per element. Traffic: each element read once and written once; bound by memory. Deterministic: yes.
#include "soft_clip.h"

#include "common/kernel.cuh"

extern "C" cudaError_t trb_soft_clip(
    trb::SoftClipParams const* params, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    return trb::soft_clip(run, *params, type, x, y) ? run.status : cudaErrorInvalidValue;
}
