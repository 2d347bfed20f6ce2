// What the fast kernels share: 16 bytes moved by one instruction, division without dividing, launches of one thread per
// piece of work.
#pragma once

#include "kernel.cuh"

namespace trb
{

//! N neighbouring elements, read and written by one instruction for each 16 bytes.
template <class T, int N>
struct alignas((N & (N - 1)) != 0 ? sizeof(T) : (sizeof(T) * N < 16 ? sizeof(T) * N : 16)) Pack
{
    T at[N];
};

//! Elements of 16 bytes: the widest access of a thread.
template <class T>
constexpr int kPack = 16 / int(sizeof(T));

//! What one instruction moves of so many bytes. The compiler splits accesses to structs, but not to these.
template <int Bytes>
using Word = std::conditional_t<Bytes >= 16, uint4,
    std::conditional_t<Bytes == 8, uint2, std::conditional_t<Bytes == 4, uint32_t, uint16_t>>>;

template <int N, class T>
__device__ Pack<T, N> load(T const* from)
{
    using W = Word<sizeof(Pack<T, N>)>;
    constexpr int kWords = sizeof(Pack<T, N>) / sizeof(W);
    W words[kWords];
    TRB_UNROLL
    for (int i = 0; i < kWords; ++i)
    {
        words[i] = reinterpret_cast<W const*>(from)[i];
    }
    Pack<T, N> made;
    memcpy(&made, words, sizeof(made));
    return made;
}

template <class T, int N>
__device__ void store(T* to, Pack<T, N> const& value)
{
    using W = Word<sizeof(Pack<T, N>)>;
    constexpr int kWords = sizeof(Pack<T, N>) / sizeof(W);
    W words[kWords];
    memcpy(words, &value, sizeof(value));
    TRB_UNROLL
    for (int i = 0; i < kWords; ++i)
    {
        reinterpret_cast<W*>(to)[i] = words[i];
    }
}

//! Whether all of these addresses are multiples of 16 bytes, as packs need them; null is.
template <class... Pointers>
bool aligned(Pointers... pointers)
{
    return ((reinterpret_cast<uintptr_t>(pointers) | ... | 0) & 15) == 0;
}

//! Division by a number that only the host knows: a multiplication on the device.
//! With m = ceil(2^64 / by), value * m / 2^64 exceeds value / by by less than value * by / 2^64 / by, so its integer
//! part is the quotient while value * by < 2^64 (Granlund and Montgomery 1994).
class Divisor
{
public:
    struct Small
    {
        uint32_t quotient, remainder;
    };

    //! Whether the quotients of all numbers from 0 to `largest` are exact.
    static bool exact(int64_t largest, int64_t by)
    {
        return by > 0 && largest <= INT64_MAX / by;
    }

    explicit Divisor(int64_t by) : mBy(by), mFactor(UINT64_MAX / uint64_t(by) + 1)
    {
    }

    __device__ Division operator()(int64_t value) const
    {
        int64_t const quotient = mBy == 1 ? value : int64_t(__umul64hi(uint64_t(value), mFactor));
        return {quotient, value - quotient * mBy};
    }

    //! The same, a fifth of the instructions. `by` below 2^32.
    __device__ Small operator()(uint32_t value) const
    {
        uint64_t const low = uint64_t(value) * uint32_t(mFactor) >> 32;
        uint32_t const product = uint32_t((uint64_t(value) * uint32_t(mFactor >> 32) + low) >> 32);
        uint32_t const quotient = mBy == 1 ? value : product;
        return {quotient, value - quotient * uint32_t(mBy)};
    }

private:
    int64_t mBy;
    uint64_t mFactor; // 0 for 1, which therefore is a case of its own
};

constexpr int64_t kMaxGrid = 0x7fffffff; // blocks along x

//! Blocks of `threads` for `count` pieces of work.
constexpr int64_t blocks_for(int64_t count, int threads = kThreads)
{
    return (count + threads - 1) / threads;
}

} // namespace trb
