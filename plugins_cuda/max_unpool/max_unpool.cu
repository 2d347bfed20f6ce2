// MaxUnpool on the device.
//
// Work: - outputs of at most 2^12 elements: one block zeroes them and then places the values, in one launch.
//       - windows of 2 or 2 x 2 that do not overlap: each value belongs into the cell of 2 or 4 outputs that its window
//         covers, and no two cells overlap. A thread makes the whole cells of neighbouring values: zeros, and the value
//         where its index points to. Indices that point out of their own cell (no MaxPool gives such) are placed
//         by a second launch, which finds the blocks that had any in the workspace; mostly there are none.
//       - else: a memset, then one thread per value.
// Traffic: cells: X, I and Y once. Bound by memory. Zeros first would write Y twice and read it once: writes that fill
//       no sector of 32 bytes are merged in memory.
// Deterministic: yes, if equal indices carry equal values, as those of a MaxPool do.
#include "max_unpool.h"

#include "../common/vector.cuh"

namespace trb
{

constexpr int64_t kOneBlock = 1 << 12; // outputs up to which one block is faster than two launches
constexpr int kLargeBlock = 1024;
constexpr int kLanes = 32;

template <class T>
__global__ void __launch_bounds__(kLargeBlock) unpool_in_one_block(MaxUnpoolUnit<T> const unit, int32_t outputs)
{
    for (int32_t index = threadIdx.x; index < outputs; index += kLargeBlock)
    {
        unit.y[index] = narrow<T>(0);
    }
    __syncthreads();
    for (int32_t index = threadIdx.x; index < unit.p.values; index += kLargeBlock)
    {
        unit(index);
    }
}

//! Cells of `Rows` x 2 outputs. Thread i makes those of values [i * N, i * N + N), which lie in one row of X.
template <int Rows, int N, class T>
__global__ void __launch_bounds__(kThreads)
    fill_cells(MaxUnpoolUnit<T> const unit, int64_t packs, int64_t width, Divisor by_row, int32_t* strays)
{
    int64_t const pack = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    bool stray = false;
    if (pack < packs)
    {
        Pack<T, N> const value = load<N>(unit.x + pack * N);
        Pack<int64_t, N> const place = load<N>(unit.indices + pack * N);
        Division const at = by_row(pack);
        int64_t const corner = at.quotient * Rows * width + at.remainder * (2 * N);
        bool home[N] = {};
        TRB_UNROLL
        for (int row = 0; row < Rows; ++row)
        {
            Pack<T, 2 * N> made;
            TRB_UNROLL
            for (int i = 0; i < 2 * N; ++i)
            {
                bool const here = place.at[i / 2] == corner + row * width + i;
                made.at[i] = here ? value.at[i / 2] : narrow<T>(0);
                home[i / 2] = home[i / 2] || here;
            }
            store(unit.y + corner + row * width, made);
        }
        TRB_UNROLL
        for (int i = 0; i < N; ++i)
        {
            stray = stray || (!home[i] && unit.inside(place.at[i]));
        }
    }
    int const any = __syncthreads_or(stray);
    if (threadIdx.x == 0)
    {
        strays[blockIdx.x] = any;
    }
}

//! Places the values of those `blocks` of fill_cells, `values` each, that had strays.
template <class T>
__global__ void __launch_bounds__(kThreads)
    place_strays(MaxUnpoolUnit<T> const unit, int32_t const* strays, int64_t blocks, int32_t values)
{
    int32_t const lane = threadIdx.x % kLanes;
    int64_t const first = int64_t(blockIdx.x) * kThreads + threadIdx.x - lane;
    unsigned left = __ballot_sync(~0u, first + lane < blocks && strays[first + lane] != 0);
    for (; left != 0; left &= left - 1)
    {
        int64_t const begin = (first + __ffs(int(left)) - 1) * values;
        int64_t const end = begin + values < unit.p.values ? begin + values : unit.p.values;
        for (int64_t index = begin + lane; index < end; index += kLanes)
        {
            unit(index);
        }
    }
}

//! Rows of a cell if X and output are made of cells of 1 x 2 or 2 x 2, else 0.
static int cell_rows(MaxUnpoolParams const& p)
{
    int const last = p.output.rank - 1;
    bool const cells =
        p.same_shape && p.values > 0 && p.output.count() > kOneBlock && p.output.dims[last] == 2 * p.x.dims[last];
    if (!cells || last > 3)
    {
        return 0;
    }
    bool const flat = last == 2;
    return flat ? 1 : (p.output.dims[2] == 2 * p.x.dims[2] ? 2 : 0);
}

//! Values of one thread: as many as make 16 bytes of a row of outputs, if rows allow it.
static int cells_per_thread(MaxUnpoolParams const& p, DataType type)
{
    int const pack = int(8 / size_of(type));
    return p.x.dims[p.x.rank - 1] % pack == 0 ? pack : 1;
}

static int64_t cell_blocks(MaxUnpoolParams const& p, DataType type)
{
    return cell_rows(p) ? blocks_for(p.values / cells_per_thread(p, type)) : 0;
}

template <int Rows, int N, class T>
static void fill(DeviceRun& run, MaxUnpoolUnit<T> const& unit, int64_t blocks, int32_t* strays)
{
    int64_t const width = unit.p.x.dims[unit.p.x.rank - 1];
    fill_cells<Rows, N>
        <<<unsigned(blocks), kThreads, 0, run.stream>>>(unit, unit.p.values / N, 2 * width, Divisor(width / N), strays);
    place_strays<<<unsigned(blocks_for(blocks)), kThreads, 0, run.stream>>>(unit, strays, blocks, kThreads * N);
    run.status = cudaGetLastError();
}

//! Starts fast kernels; false where none applies.
static bool unpool(DeviceRun& run, MaxUnpoolParams const& p, DataType type, void const* x, void const* indices, void* y,
    int32_t* strays)
{
    int64_t const blocks = cell_blocks(p, type), outputs = p.output.count();
    bool const small = outputs <= kOneBlock && p.values <= kOneBlock;
    bool const cells =
        blocks > 0 && blocks <= kMaxGrid && aligned(x, indices, y) && Divisor::exact(p.values, p.x.dims[p.x.rank - 1]);
    if (outputs == 0 || !(small || cells))
    {
        return false;
    }
    return with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            MaxUnpoolUnit<T> const unit = max_unpool_unit<T>(p, x, indices, y);
            constexpr int N = kPack<T> / 2;
            bool const packed = cells_per_thread(p, type) == N;
            if (small)
            {
                unpool_in_one_block<<<1, kLargeBlock, 0, run.stream>>>(unit, int32_t(outputs));
                run.status = cudaGetLastError();
            }
            else if (cell_rows(p) == 1)
            {
                packed ? fill<1, N>(run, unit, blocks, strays) : fill<1, 1>(run, unit, blocks, strays);
            }
            else
            {
                packed ? fill<2, N>(run, unit, blocks, strays) : fill<2, 1>(run, unit, blocks, strays);
            }
        });
}

} // namespace trb

extern "C" int64_t trb_max_unpool_workspace(trb::MaxUnpoolParams const* params) noexcept
{
    // Enough for every smaller X too, however wide: TensorRT asks once, for the largest.
    return trb::blocks_for(params->values) * int64_t(sizeof(int32_t));
}

extern "C" cudaError_t trb_max_unpool(trb::MaxUnpoolParams const* params, trb::DataType type, void const* x,
    void const* indices, void* y, void* workspace, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    bool const known = trb::unpool(run, *params, type, x, indices, y, static_cast<int32_t*>(workspace))
                       || trb::max_unpool(run, *params, type, x, indices, y);
    return known ? run.status : cudaErrorInvalidValue;
}
