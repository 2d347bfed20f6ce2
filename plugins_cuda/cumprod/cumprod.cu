// CumProd on the device.
//
// Work: a block brings a tile to shared memory with asynchronous copies and multiplies it up there; see lines.cuh for
// the
//       innermost axis and columns.cuh for the others. Few long lines are shared by many blocks: along the innermost
//       axis in two launches, along others in one whose blocks hand products on (lookback.cuh).
// Traffic: each element read once (in two launches: twice) and written once, in neighbouring 16-byte accesses where
//       alignment and sizes allow; bound by memory.
// Deterministic: yes; products are formed in a fixed tree that follows from the shape.
#include "columns.cuh"
#include "cumprod.h"
#include "lines.cuh"

#include "../common/kernel.cuh"

constexpr int64_t kSmall = 1 << 12; // elements that are not worth more than the simplest kernel

extern "C" int64_t trb_cumprod_workspace(trb::CumProdParams const* params) noexcept
{
    // An upper bound that grows with every dimension, since TensorRT asks for the largest shape only: a slot per column
    // (their number rounded up) of each tile, which has 128 rows or elements of a line or more, and of each group of
    // tiles.
    using namespace trb;
    constexpr int64_t kMostColumns = kEnough * kMostLanes * kAccess / 2;
    int64_t const padded = 2 * params->outer * params->inner;
    int64_t const columns = padded < kMostColumns ? padded : kMostColumns;
    int64_t const tiles = params->length / kScanThreads + 1, groups = tiles / kGroup + 1;
    return ScanState::kHead + columns * (tiles + groups) * int64_t(sizeof(Slot<int64_t>));
}

extern "C" cudaError_t trb_cumprod(trb::CumProdParams const* params, trb::DataType type, void const* x, void* y,
    void* workspace, cudaStream_t stream) noexcept
{
    trb::CumProdParams const& p = *params;
    if (p.outer == 0 || p.length == 0 || p.inner == 0)
    {
        return cudaSuccess; // an empty grid is an error in CUDA, but an empty tensor is none
    }
    bool const small = p.outer * p.length * p.inner <= kSmall && p.length <= trb::kFewTiles;
    if (small || (p.inner > 1 && p.inner < trb::kWarp && p.length < trb::kWarp))
    {
        trb::DeviceRun run{stream}; // of short lines a thread does all, with its neighbours whole cache lines
        return trb::cumprod_lines(run, p, type, x, y) ? run.status : cudaErrorInvalidValue;
    }
    cudaError_t status = cudaErrorInvalidValue;
    trb::with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            constexpr int kVector = trb::kAccess / int(sizeof(T));
            bool const wide = (p.inner == 1 ? p.length : p.inner) % kVector == 0 && trb::aligned(x) && trb::aligned(y);
            auto const lines = wide ? trb::launch_lines<T, kVector> : trb::launch_lines<T, 1>;
            auto const columns = wide ? trb::launch_columns<T, kVector> : trb::launch_columns<T, 1>;
            auto const launch = p.inner == 1 ? lines : columns;
            status = launch(p, static_cast<T const*>(x), static_cast<T*>(y), workspace, stream);
        });
    return status;
}
