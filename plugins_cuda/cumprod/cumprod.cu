// CumProd on the device.
//
// Work: along the innermost axis one block per line, tiles of 1024 elements scanned with CUB and a carry between tiles;
//       along any other axis one thread per line (neighbouring threads own neighbouring lines, so accesses coalesce).
// Traffic: each element read once and written once; bound by memory once there are enough lines to fill the GPU.
// Deterministic: yes; the innermost axis multiplies in CUB's fixed tree, the others in order.
#include "cumprod.h"

#include "../common/kernel.cuh"

#include <cub/block/block_scan.cuh>

namespace trb
{

constexpr int kItems = 4; // per thread: 1024 elements per tile

struct Product
{
    template <class T>
    __device__ T operator()(T a, T b) const
    {
        return a * b;
    }
};

template <class T>
__global__ void __launch_bounds__(kThreads) scan_lines(CumProdParams p, T const* x, T* y)
{
    using Scan = cub::BlockScan<Wide<T>, kThreads>;
    __shared__ typename Scan::TempStorage storage;
    for (int64_t line = blockIdx.x; line < p.outer; line += gridDim.x)
    {
        Wide<T> carry = 1;
        for (int64_t tile = 0; tile < p.length; tile += kThreads * kItems)
        {
            Wide<T> values[kItems];
            int64_t const first = tile + int64_t(threadIdx.x) * kItems;
            for (int i = 0; i < kItems; ++i)
            {
                int64_t const at = line * p.length + (p.reverse ? p.length - 1 - (first + i) : first + i);
                values[i] = first + i < p.length ? widen(x[at]) : Wide<T>(1);
            }
            Wide<T> results[kItems], total;
            if (p.exclusive)
            {
                Scan(storage).ExclusiveScan(values, results, Wide<T>(1), Product{}, total);
            }
            else
            {
                Scan(storage).InclusiveScan(values, results, Product{}, total);
            }
            for (int i = 0; i < kItems; ++i)
            {
                int64_t const at = line * p.length + (p.reverse ? p.length - 1 - (first + i) : first + i);
                if (first + i < p.length)
                {
                    y[at] = narrow<T>(carry * results[i]);
                }
            }
            carry *= total;
            __syncthreads(); // the storage is used again
        }
    }
}

static cudaError_t innermost(CumProdParams const& p, DataType type, void const* x, void* y, cudaStream_t stream)
{
    int64_t const blocks = p.outer < kMaxBlocks ? p.outer : kMaxBlocks;
    bool const known = with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            scan_lines<T><<<unsigned(blocks), kThreads, 0, stream>>>(p, static_cast<T const*>(x), static_cast<T*>(y));
        });
    return known ? cudaGetLastError() : cudaErrorInvalidValue;
}

} // namespace trb

extern "C" cudaError_t trb_cumprod(
    trb::CumProdParams const* params, trb::DataType type, void const* x, void* y, cudaStream_t stream) noexcept
{
    if (params->inner == 1 && params->outer > 0 && params->length > 0)
    {
        return trb::innermost(*params, type, x, y, stream);
    }
    trb::DeviceRun run{stream};
    return trb::cumprod_lines(run, *params, type, x, y) ? run.status : cudaErrorInvalidValue;
}
