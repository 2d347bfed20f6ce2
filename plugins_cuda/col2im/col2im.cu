// Col2Im on the device.
//
// Work: one thread per pixel; it visits the block elements and reads those that cover it (at most one per element).
// Traffic: every column element at most once, every pixel once. For stride 1 neighbouring threads read neighbouring
//       columns: coalesced. Bound by memory for blocks up to about 5 x 5, by index arithmetic above.
// Deterministic: yes: a gather in a fixed order, summed in float (integers in their own type).
#include "col2im.h"

#include "../common/kernel.cuh"

extern "C" cudaError_t trb_col2im(trb::Col2ImParams const* params, int32_t rank, trb::DataType type,
    void const* columns, void* image, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    return trb::col2im(run, rank, *params, type, columns, image) ? run.status : cudaErrorInvalidValue;
}
