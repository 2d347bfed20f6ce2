// Putting few elements into order by counting, for each, those that come before it.
#pragma once

#include "top_k_select.cuh"

namespace trb
{

constexpr int kRankThreads = 256;
constexpr int kRankLanes = 8; // threads that count for one element
constexpr int kRankTile = 1024;

//! Elements as they are in the input: a line no longer than needs selecting.
template <class T>
struct WholeLine
{
    Lines<T> lines;

    __device__ Order<T> operator()(int64_t line, int32_t element) const
    {
        return lines.order(lines.line(line)[element * lines.p.inner], element);
    }
};

//! Elements that were collected.
template <class T>
struct Collected
{
    Order<T> const* orders;
    int64_t count;

    __device__ Order<T> operator()(int64_t line, int32_t element) const
    {
        return orders[line * count + element];
    }
};

//! Writes values and indices of the first k of each line's `count` elements, which need not be sorted.
template <class T, class Source>
__global__ void __launch_bounds__(kRankThreads)
    rank_lines(Lines<T> lines, Source source, int32_t count, T* values, int64_t* indices)
{
    __shared__ Order<T> tile[kRankTile];
    int const element = int(blockIdx.x) * (kRankThreads / kRankLanes) + int(threadIdx.x) / kRankLanes;
    int const lane = int(threadIdx.x) % kRankLanes;
    TopKParams const& p = lines.p;
    for (int64_t line = blockIdx.y; line < p.lines(); line += gridDim.y)
    {
        Order<T> const own = element < count ? source(line, element) : 0;
        int32_t before = 0;
        for (int32_t base = 0; base < count; base += kRankTile)
        {
            __syncthreads();
            for (int i = int(threadIdx.x); i < kRankTile; i += kRankThreads)
            {
                tile[i] = base + i < count ? source(line, base + i) : ~Order<T>(0);
            }
            __syncthreads();
#pragma unroll 16
            for (int i = 0; i < kRankTile / kRankLanes; ++i)
            {
                before += tile[i * kRankLanes + lane] < own;
            }
        }
        for (int distance = kRankLanes / 2; distance > 0; distance /= 2)
        {
            before += __shfl_xor_sync(kWarp, before, distance);
        }
        if (lane == 0 && element < count && before < p.k)
        {
            int32_t const place = lines.place(own);
            int64_t const target = p.offset(line, before, p.k);
            values[target] = lines.line(line)[place * p.inner]; // from the input: the bits of NaN and -0 are its own
            indices[target] = place;
        }
    }
}

} // namespace trb
