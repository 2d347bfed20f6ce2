// MaxUnpool on the device.
//
// Work: the output is zeroed (a memset on the stream), then one thread per pooled value writes it to its place.
// Traffic: the output once for the zeros, X and I once, one write per value: scattered, but a pooling window's maximum
// lies
//       close to its neighbours', so most sectors are shared. Bound by memory.
// Deterministic: yes, if equal indices carry equal values, as those of a MaxPool do.
#include "max_unpool.h"

#include "../common/kernel.cuh"

extern "C" cudaError_t trb_max_unpool(trb::MaxUnpoolParams const* params, trb::DataType type, void const* x,
    void const* indices, void* y, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    return trb::max_unpool(run, *params, type, x, indices, y) ? run.status : cudaErrorInvalidValue;
}
