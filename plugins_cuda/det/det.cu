// Det on the device.
//
// Work: one thread per matrix, every element in a register (see matrix.h). Gauss elimination with partial pivoting.
// Traffic: each matrix read once, the result written once, by way of shared memory in neighbouring 16-byte accesses
// (see
//       matrix_tile.cuh). Bound by latency for small batches, by memory for large ones.
// Deterministic: yes.
#include "det.h"

#include "../common/matrix_tile.cuh"

namespace trb
{

template <int N, class T>
__global__ void __launch_bounds__(kMatrixThreads) det_tiles(T const* x, T* y, bool wide, int64_t matrices)
{
    using Tile = MatrixTile<N, T>;
    __shared__ typename Tile::Storage storage;
    int64_t const first = int64_t(blockIdx.x) * kMatrixThreads + threadIdx.x / kWarp * kWarp;
    if (first >= matrices)
    {
        return;
    }
    Tile tile(storage, first, matrices, wide);
    Rows<N, N> const m = tile.load(x + first * N * N);
    if (tile.has_matrix())
    {
        y[first + threadIdx.x % kWarp] = narrow<T>(determinant(m));
    }
}

//! What det_of_order() runs on: each unit of the definition becomes a matrix of the kernel.
struct TiledRun
{
    cudaStream_t stream;
    cudaError_t status = cudaSuccess;

    template <int N, class T>
    void operator()(DetUnit<N, T> const& unit, int64_t matrices)
    {
        bool const wide = aligned(unit.x);
        status = launch_per_matrix(det_tiles<N, T>, matrices, stream, unit.x, unit.y, wide);
    }
};

} // namespace trb

extern "C" cudaError_t trb_det(
    int64_t matrices, int64_t order, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept
{
    trb::TiledRun run{stream};
    return trb::det(run, matrices, order, type, x, y) ? run.status : cudaErrorInvalidValue;
}
