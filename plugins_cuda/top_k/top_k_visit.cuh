// Reading a line, or a sample of it, with many threads.
#pragma once

#include "../common/pack.cuh"

namespace trb
{

//! body(Pack, place of its first element, whether it exists) for a whole line, shared out among `threads` threads. The
//! threads of a warp stay together. Reads 16 bytes at a time, four times at once, where elements are neighbours.
template <class T, class Body>
__device__ void visit(T const* x, int64_t step, int32_t length, int64_t thread, int64_t threads, Body&& body)
{
    constexpr int kSize = 16 / int(sizeof(T)), kAtOnce = 4;
    int const lane = int(thread) & 31;
    auto const singly = [&](int64_t from, int64_t to)
    {
        for (int64_t i = from + thread; i - lane < to; i += threads)
        {
            Pack<T, 1> const one{{i < to ? x[i * step] : T{}}};
            body(one, int32_t(i), i < to);
        }
    };
    int64_t const unaligned = (16 - int64_t(reinterpret_cast<uintptr_t>(x) % 16)) % 16 / int64_t(sizeof(T));
    if (step != 1 || length < unaligned + kSize)
    {
        singly(0, length);
        return;
    }
    auto const* const packs = reinterpret_cast<Pack<T, kSize> const*>(x + unaligned);
    int64_t const count = (length - unaligned) / kSize;
    singly(0, unaligned);
    singly(unaligned + count * kSize, length);
    for (int64_t first = thread; first - lane < count; first += kAtOnce * threads)
    {
        Pack<T, kSize> some[kAtOnce] = {};
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            if (int64_t const at = first + i * threads; at < count)
            {
                some[i] = packs[at];
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            int64_t const at = first + i * threads;
            body(some[i], int32_t(unaligned + at * kSize), at < count);
        }
    }
}

//! As `visit`, for one pack or element of each `stride`: at a random place, since data often repeats itself.
template <class T, class Body>
__device__ void visit_sample(
    T const* x, int64_t step, int32_t length, int32_t stride, int64_t thread, int64_t threads, Body&& body)
{
    constexpr int kSize = 16 / int(sizeof(T));
    int32_t const unaligned = int32_t((16 - reinterpret_cast<uintptr_t>(x) % 16) % 16 / sizeof(T));
    int32_t const count = step == 1 ? (length - unaligned) / kSize : length;
    for (int64_t number = thread; number < count / stride; number += threads)
    {
        uint32_t hash = uint32_t(number) * 2654435761u;
        hash = (hash ^ hash >> 15) * 2246822519u;
        int32_t const at = int32_t(number) * stride + int32_t((hash ^ hash >> 13) % uint32_t(stride));
        if (step == 1)
        {
            body(reinterpret_cast<Pack<T, kSize> const*>(x + unaligned)[at], unaligned + at * kSize, true);
        }
        else
        {
            body(Pack<T, 1>{{x[at * step]}}, at, true);
        }
    }
}

} // namespace trb
