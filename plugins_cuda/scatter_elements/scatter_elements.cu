// ScatterElements on the device.
//
// Work: the data is copied (a copy on the stream), then one thread per updated element combines it with an atomic.
//       Deterministic form: updates are sorted by target with CUB (stable), then the thread at the head of each run of
//       equal targets combines the run in order: exact, but a target that gets very many updates is slow.
// Traffic: data once in and once out, indices and updates once, one read-modify-write per update; bound by memory, or
// by
//       atomics where many updates meet. The sort adds about 8 passes over 16 bytes per row.
// Deterministic: integers, min and max always; float sums and products, and plain writes to one place, only with the
// attribute.
#include "scatter_elements.h"

#include "../common/device_sort.cuh"

extern "C" int64_t trb_scatter_elements_workspace(trb::ScatterParams const* params) noexcept
{
    return params->in_order && params->rows > 0 ? trb::sort_workspace(params->rows) : 0;
}

extern "C" cudaError_t trb_scatter_elements(trb::ScatterParams const* params, trb::ScatterElementsTarget const* target,
    trb::DataType type, void const* data, void const* updates, void* y, void* workspace, cudaStream_t stream) noexcept
{
    trb::SortingDeviceRun run{{stream}, workspace};
    return trb::scatter(run, *params, *target, type, data, updates, y) ? run.status : cudaErrorInvalidValue;
}
