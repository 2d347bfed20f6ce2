// Putting few elements into order: by counting, for each, those that come before it.
#pragma once

#include "top_k_select.cuh"

#include <cub/block/block_merge_sort.cuh>

namespace trb
{

constexpr int kRankThreads = 256;

//! Writes one winner. The value is that of the input: so are the bits of NaN and -0.
template <class T>
__device__ void write_winner(
    Lines<T> const& lines, int64_t line, Order<T> order, int32_t before, T* values, int64_t* indices)
{
    int32_t const place = lines.place(order);
    int64_t const target = lines.p.offset(line, before, lines.p.k);
    values[target] = lines.line(line)[place * lines.p.inner];
    indices[target] = place;
}

// --- short lines: each element is compared with every other ---

constexpr int kRankLanes = 8; // threads that count for one element
constexpr int kRankTile = 1024;

//! Writes values and indices of the first k of each line.
template <class T>
__global__ void __launch_bounds__(kRankThreads) rank_lines(Lines<T> lines, T* values, int64_t* indices)
{
    __shared__ Order<T> tile[kRankTile];
    int const element = int(blockIdx.x) * (kRankThreads / kRankLanes) + int(threadIdx.x) / kRankLanes;
    int const lane = int(threadIdx.x) % kRankLanes, count = int(lines.p.length);
    TopKParams const& p = lines.p;
    for (int64_t line = blockIdx.y; line < p.lines(); line += gridDim.y)
    {
        T const* const x = lines.line(line);
        Order<T> const own = element < count ? lines.order(x[element * p.inner], element) : 0;
        int32_t before = 0;
        for (int base = 0; base < count; base += kRankTile)
        {
            int const here = count - base < kRankTile ? count - base : kRankTile;
            __syncthreads();
            for (int i = int(threadIdx.x); i < here; i += kRankThreads)
            {
                tile[i] = lines.order(x[(base + i) * p.inner], base + i);
            }
            __syncthreads();
#pragma unroll 8
            for (int i = lane; i < here; i += kRankLanes)
            {
                before += tile[i] < own;
            }
        }
        for (int distance = kRankLanes / 2; distance > 0; distance /= 2)
        {
            before += __shfl_xor_sync(kWarp, before, distance);
        }
        if (lane == 0 && element < count && before < p.k)
        {
            write_winner(lines, line, own, before, values, indices);
        }
    }
}

// --- candidates: sorted pieces, then each element seeks its place in every other piece ---

constexpr int kPieceOwn = 4;
constexpr int kPieceSize = kRankThreads * kPieceOwn;

//! Exactly k candidates per line, one line after the other.
template <class T>
struct Winners
{
    Order<T>* orders;

    __device__ int32_t count(Lines<T> const& lines, int64_t) const
    {
        return int32_t(lines.p.k);
    }

    __device__ Order<T>* line(Lines<T> const& lines, int64_t line) const
    {
        return orders + line * lines.p.k;
    }
};

//! The candidates that a search has found.
template <class T>
struct Found
{
    SearchPlan<T> plan;

    __device__ int32_t count(Lines<T> const& lines, int64_t line) const
    {
        return plan.count(lines, line);
    }

    __device__ Order<T>* line(Lines<T> const&, int64_t line) const
    {
        return plan.candidates + line * plan.capacity;
    }
};

//! Sorts each piece of kPieceSize candidates.
template <class T, class Source>
__global__ void __launch_bounds__(kRankThreads) sort_pieces(Lines<T> lines, Source source)
{
    using Sort = cub::BlockMergeSort<Order<T>, kRankThreads, kPieceOwn>;
    __shared__ typename Sort::TempStorage storage;
    for (int64_t line = blockIdx.y; line < lines.p.lines(); line += gridDim.y)
    {
        int32_t const first = int32_t(blockIdx.x) * kPieceSize + int32_t(threadIdx.x) * kPieceOwn;
        int32_t const count = source.count(lines, line);
        if (int32_t(blockIdx.x) * kPieceSize >= count)
        {
            continue;
        }
        Order<T>* const candidates = source.line(lines, line);
        Order<T> own[kPieceOwn];
        TRB_UNROLL
        for (int i = 0; i < kPieceOwn; ++i)
        {
            own[i] = first + i < count ? candidates[first + i] : ~Order<T>(0);
        }
        __syncthreads(); // the storage of the line before
        Sort(storage).Sort(own, [](Order<T> a, Order<T> b) { return a < b; });
        TRB_UNROLL
        for (int i = 0; i < kPieceOwn; ++i)
        {
            if (first + i < count)
            {
                candidates[first + i] = own[i];
            }
        }
    }
}

//! Writes the first k of the candidates, whose pieces are sorted.
template <class T, class Source>
__global__ void __launch_bounds__(kRankThreads) merge_pieces(Lines<T> lines, Source source, T* values, int64_t* indices)
{
    int32_t const element = int32_t(blockIdx.x) * kRankThreads + int32_t(threadIdx.x);
    for (int64_t line = blockIdx.y; line < lines.p.lines(); line += gridDim.y)
    {
        int32_t const count = source.count(lines, line);
        if (element >= count)
        {
            continue;
        }
        Order<T> const* const candidates = source.line(lines, line);
        Order<T> const own = candidates[element];
        int32_t before = 0;
#pragma unroll 4
        for (int32_t piece = 0; piece < count; piece += kPieceSize)
        {
            int32_t const size = count - piece < kPieceSize ? count - piece : kPieceSize;
            int32_t low = 0; // elements of the piece that are known to come before
            for (int32_t step = kPieceSize; step > 0; step /= 2)
            {
                int32_t const at = low + step;
                low = at <= size && candidates[piece + at - 1] < own ? at : low;
            }
            before += low;
        }
        if (before < lines.p.k)
        {
            write_winner(lines, line, own, before, values, indices);
        }
    }
}

} // namespace trb
