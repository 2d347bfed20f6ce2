// Scattering by gathering: every row of the output looks up its updates and is written once.
#pragma once

#include "kernel.cuh"
#include "pack.cuh"

namespace trb
{

constexpr int kAtOnce = 4; // independent chains of loads of one thread

//! Positions [begin, end) in a list of updates.
struct Range
{
    int32_t begin, end;
};

//! At most one update per row: its number plus 1, or 0.
struct Claims
{
    int32_t const* claims;

    __device__ Range range(int64_t row) const
    {
        int32_t const claim = claims[row];
        return {claim - 1, claim - (claim == 0)};
    }

    __device__ int32_t update(int32_t position) const
    {
        return position;
    }
};

//! The updates of each row in a row, in order.
struct Runs
{
    Range const* ranges;
    int32_t const* rows;

    __device__ Range range(int64_t row) const
    {
        return ranges[row];
    }

    __device__ int32_t update(int32_t position) const
    {
        return rows[position];
    }
};

//! One update claims its target; the last one stays.
template <class Target>
struct ClaimUnit
{
    Target target;
    int32_t* claims;

    __device__ void operator()(int64_t row) const
    {
        if (int64_t const to = target(row); to >= 0)
        {
            atomicMax(claims + to, int32_t(row) + 1);
        }
    }
};

//! Notes where the run of each target begins and ends.
struct RangeUnit
{
    uint32_t const* keys; // sorted
    uint32_t nowhere;
    int64_t rows;
    Range* ranges;

    __device__ void operator()(int64_t position) const
    {
        uint32_t const key = keys[position];
        if (key == nowhere)
        {
            return;
        }
        if (position == 0 || keys[position - 1] != key)
        {
            ranges[key].begin = int32_t(position);
        }
        if (position == rows - 1 || keys[position + 1] != key)
        {
            ranges[key].end = int32_t(position) + 1;
        }
    }
};

template <Reduction How, class T, int N>
__device__ inline void combine_in_registers(Pack<T, N>& value, Pack<T, N> const& update)
{
    TRB_UNROLL
    for (int i = 0; i < N; ++i)
    {
        value.values[i] = narrow<T>(combined<How>(widen(value.values[i]), widen(update.values[i])));
    }
}

template <Reduction How, class T, int N, class List>
__global__ void __launch_bounds__(kThreads) gather_packs(
    List list, int64_t per_row, int64_t packs, Pack<T, N> const* data, Pack<T, N> const* updates, Pack<T, N>* y)
{
    int64_t const threads = int64_t(gridDim.x) * kThreads, first = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    for (int64_t base = first; base < packs; base += kAtOnce * threads)
    {
        Range range[kAtOnce];
        int64_t column[kAtOnce], update[kAtOnce];
        Pack<T, N> value[kAtOnce], other[kAtOnce];
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            int64_t const at = base + i * threads;
            range[i] = {0, 0};
            if (at < packs)
            {
                Division const by = divide(at, per_row);
                column[i] = by.remainder;
                range[i] = list.range(by.quotient);
                if (How != Reduction::kNone || range[i].begin >= range[i].end)
                {
                    value[i] = data[at];
                }
            }
        }
        for (bool more = true; more;) // one update of each chain per turn, so that their loads overlap
        {
            more = false;
            TRB_UNROLL
            for (int i = 0; i < kAtOnce; ++i)
            {
                update[i] = range[i].begin < range[i].end ? list.update(range[i].begin) : -1;
            }
            TRB_UNROLL
            for (int i = 0; i < kAtOnce; ++i)
            {
                if (update[i] >= 0)
                {
                    other[i] = updates[update[i] * per_row + column[i]];
                }
            }
            TRB_UNROLL
            for (int i = 0; i < kAtOnce; ++i)
            {
                if (update[i] >= 0)
                {
                    combine_in_registers<How>(value[i], other[i]);
                    more = ++range[i].begin < range[i].end || more;
                }
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            if (int64_t const at = base + i * threads; at < packs)
            {
                y[at] = value[i];
            }
        }
    }
}

} // namespace trb
