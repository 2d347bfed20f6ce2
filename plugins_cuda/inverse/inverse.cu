// Inverse on the device.
//
// Work: one thread per matrix, every element in a register (see matrix.h). Gauss elimination with partial pivoting.
// Traffic: each matrix read once, the result written once; neighbouring threads read neighbouring matrices, so for
//       orders up to 4 (camera geometry) every fetched sector is used within a few loads. Bound by latency for small
//       batches, by memory for large ones up to order 4, by registers above.
// Deterministic: yes.
#include "inverse.h"

#include "../common/kernel.cuh"

extern "C" cudaError_t trb_inverse(
    int64_t matrices, int64_t order, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    return trb::inverse(run, matrices, order, type, x, y) ? run.status : cudaErrorInvalidValue;
}
