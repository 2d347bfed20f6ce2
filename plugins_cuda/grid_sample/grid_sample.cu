// GridSample on the device.
//
// Work: one thread per output position and block of channels (all channels if the positions alone fill the GPU).
//       Threads of a warp handle neighbouring positions: grid reads and Y writes coalesce, X reads gather.
// Traffic: grid once, Y once, X at least once per touched sector (gathers hit L2 when the motion is smooth).
//       Bound by memory for linear and nearest; 3-D cubic reads 64 taps per element from L1/L2 and is bound there.
// Deterministic: yes, bit for bit; no atomics. Sums run in float, taps innermost axis last.
#include "grid_sample.h"

#include "../common/kernel.cuh"

extern "C" cudaError_t trb_grid_sample(trb::GridSampleParams const* params, trb::DataType type, trb::DataType grid_type,
    void const* x, void const* grid, void* y, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    return trb::grid_sample(run, *params, type, grid_type, x, grid, y) ? run.status : cudaErrorInvalidValue;
}
