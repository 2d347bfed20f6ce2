// ScatterND on the device: where an update goes is here, the ways of combining are in ../common/scatter_device.cuh.
//
// Traffic: data, indices and updates once in, the output once out. The way of atomics adds a copy of the data and a
// read and a write of each target's sector; a sort of rows moves 8 bytes per row in each of up to four passes.
// Deterministic: integers, min and max always; float sums and products, and plain writes to one place, only with the
// attribute: then the updates of a place are combined one after the other, so a place that gets very many is slow.
#include "scatter_nd.h"

#include "../common/scatter_device.cuh"

extern "C" int64_t trb_scatter_nd_workspace(trb::ScatterParams const* params, trb::DataType type) noexcept
{
    return trb::scatter_workspace(*params, type);
}

extern "C" cudaError_t trb_scatter_nd(trb::ScatterParams const* params, trb::ScatterNDTarget const* target,
    trb::DataType type, void const* data, void const* updates, void* y, void* workspace, cudaStream_t stream) noexcept
{
    return trb::scatter_on_device(*params, *target, *target, type, data, updates, y, workspace, stream);
}
