// Finding the winners of many lines: a block on each.
#pragma once

#include "top_k_select.cuh"

namespace trb
{

//! The bound that holds just the `wanted` best of what `each` gives to its body; found by one block.
template <int Threads, class Integer, class Each>
__device__ Bound<Integer> bound_in_block(Each&& each, int order_bits, int32_t wanted)
{
    __shared__ uint32_t histogram[kDigits];
    Bound<Integer> bound{0, order_bits};
    int32_t before = 0;
    while (bound.shift > 0)
    {
        int const bits = bound.shift < kDigitBits ? bound.shift : kDigitBits, shift = bound.shift - bits;
        for (int i = int(threadIdx.x); i < kDigits; i += Threads)
        {
            histogram[i] = 0;
        }
        __syncthreads();
        each(
            [&](Integer order)
            {
                if (order >> bound.shift == bound.prefix)
                {
                    atomicAdd(&histogram[uint32_t(order >> shift) & ((1u << bits) - 1)], 1u);
                }
            });
        __syncthreads();
        Digit const digit = digit_of<Threads>(histogram, wanted - before);
        bound = {bound.prefix << bits | Integer(uint32_t(digit.value)), shift};
        before += digit.before;
        if (before + digit.holding == wanted)
        {
            break;
        }
    }
    return bound;
}

//! The winners of each line, in the order of their places.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) select_lines(Lines<T> lines, Order<T>* winners)
{
    using Scan = cub::BlockScan<int32_t, kSelectThreads>;
    __shared__ typename Scan::TempStorage storage;
    constexpr int kOwn = 4;
    TopKParams const p = lines.p;
    for (int64_t line = blockIdx.x; line < p.lines(); line += gridDim.x)
    {
        T const* const x = lines.line(line);
        auto const each = [&](auto&& body)
        {
            visit(x, p.inner, int32_t(p.length), threadIdx.x, kSelectThreads,
                [&](auto const& taken, int32_t place, bool exists)
                {
                    TRB_UNROLL
                    for (int i = 0; i < taken.kSize && exists; ++i)
                    {
                        body(lines.order(taken.values[i], place + i));
                    }
                });
        };
        auto const bound = bound_in_block<kSelectThreads, Order<T>>(each, lines.order_bits(), int32_t(p.k));
        int64_t written = line * p.k;
        for (int64_t base = 0; base < p.length; base += kSelectThreads * kOwn)
        {
            Order<T> orders[kOwn];
            int32_t hits = 0, count = 0, before = 0, total = 0;
            TRB_UNROLL
            for (int i = 0; i < kOwn; ++i)
            {
                int64_t const place = base + int64_t(threadIdx.x) * kOwn + i;
                orders[i] = place < p.length ? lines.order(x[place * p.inner], int32_t(place)) : 0;
                int32_t const hit = place < p.length && bound.holds(orders[i]);
                hits |= hit << i;
                count += hit;
            }
            Scan(storage).ExclusiveSum(count, before, total);
            __syncthreads(); // before the storage is used again
            int64_t at = written + before;
            TRB_UNROLL
            for (int i = 0; i < kOwn; ++i)
            {
                if (hits >> i & 1)
                {
                    winners[at++] = orders[i];
                }
            }
            written += total;
        }
    }
}

} // namespace trb
