// Inverse on the device.
//
// Work: one thread per matrix, every element in a register (see matrix.h). Gauss-Jordan elimination with partial
// pivoting. Traffic: each matrix read once, the inverse written once, by way of shared memory in neighbouring 16-byte
// accesses (see
//       matrix_tile.cuh). Bound by latency for small batches, by memory for large ones.
// Deterministic: yes.
#include "inverse.h"

#include "../common/matrix_tile.cuh"

namespace trb
{

template <int N, class T>
__global__ void __launch_bounds__(kMatrixThreads) inverse_tiles(T const* x, T* y, bool wide, int64_t matrices)
{
    using Tile = MatrixTile<N, T>;
    __shared__ typename Tile::Storage storage;
    int64_t const first = int64_t(blockIdx.x) * kMatrixThreads + threadIdx.x / kWarp * kWarp;
    if (first >= matrices)
    {
        return;
    }
    Tile tile(storage, first, matrices, wide);
    Rows<N, N> m = tile.load(x + first * N * N);
    invert(m);
    tile.store(y + first * N * N, m);
}

//! What inverse_of_order() runs on: each unit of the definition becomes a matrix of the kernel.
struct TiledRun
{
    cudaStream_t stream;
    cudaError_t status = cudaSuccess;

    template <int N, class T>
    void operator()(InverseUnit<N, T> const& unit, int64_t matrices)
    {
        bool const wide = aligned(unit.x) && aligned(unit.y);
        status = launch_per_matrix(inverse_tiles<N, T>, matrices, stream, unit.x, unit.y, wide);
    }
};

} // namespace trb

extern "C" cudaError_t trb_inverse(
    int64_t matrices, int64_t order, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept
{
    trb::TiledRun run{stream};
    return trb::inverse(run, matrices, order, type, x, y) ? run.status : cudaErrorInvalidValue;
}
