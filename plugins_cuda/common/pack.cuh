// Sixteen bytes of neighbours, read, written and combined at once.
#pragma once

#include "atomic.h"

namespace trb
{

template <class T, int N>
struct alignas(sizeof(T) * N) Pack
{
    static constexpr int kSize = N;
    T values[N];
};

//! What will not be read again: it should not push from the caches what will be.
template <class P>
__device__ inline P read_once(P const* from)
{
    using Word = std::conditional_t<sizeof(P) == 16, uint4,
        std::conditional_t<sizeof(P) == 8, unsigned long long,
            std::conditional_t<sizeof(P) == 4, unsigned int, unsigned short>>>;
    return bit_cast<P>(__ldcs(reinterpret_cast<Word const*>(from)));
}

//! Two 16-bit numbers added to memory aligned to 4 bytes, each rounded on its own; true if this GPU can.
template <class T>
__device__ inline bool add_two(T* where, uint32_t both)
{
    if constexpr (std::is_same_v<T, Half>)
    {
        asm volatile("red.relaxed.gpu.global.add.noftz.f16x2 [%0], %1;" ::"l"(where), "r"(both) : "memory");
        return true;
    }
    else
    {
#if __CUDA_ARCH__ >= 900
        asm volatile("red.relaxed.gpu.global.add.noftz.bf16x2 [%0], %1;" ::"l"(where), "r"(both) : "memory");
        return true;
#else
        return false;
#endif
    }
}

//! *where += value for one of the `total` elements at `first`. A 16-bit number is added together with its neighbour, to
//! which -0 is added: that leaves every number as it is.
template <class T>
__device__ inline void add_one(T* first, int64_t at, int64_t total, T value)
{
    if constexpr (sizeof(T) == 2)
    {
        bool const upper = reinterpret_cast<uintptr_t>(first + at) % 4 != 0;
        int64_t const partner = upper ? at - 1 : at + 1;
        constexpr uint32_t kMinusZero = 0x8000u;
        uint32_t const both = upper ? uint32_t(value.bits) << 16 | kMinusZero : kMinusZero << 16 | value.bits;
        if (partner >= 0 && partner < total && add_two(first + (upper ? partner : at), both))
        {
            return;
        }
    }
    combine_into<Reduction::kAdd>(first + at, value);
}

//! Adds a whole pack with as few instructions as this GPU needs; false if it has none for this type.
template <class T, int N>
__device__ inline bool add_pack(Pack<T, N>* where, Pack<T, N> const& pack)
{
    if constexpr (sizeof(pack) == 16 && std::is_same_v<T, float>)
    {
#if __CUDA_ARCH__ >= 900
        asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(where), "f"(pack.values[0]),
            "f"(pack.values[1]), "f"(pack.values[2]), "f"(pack.values[3])
            : "memory");
        return true;
#endif
    }
    if constexpr (sizeof(pack) == 16 && sizeof(T) == 2)
    {
        uint4 const words = bit_cast<uint4>(pack);
#if __CUDA_ARCH__ >= 900
        if constexpr (std::is_same_v<T, Half>)
        {
            asm volatile("red.relaxed.gpu.global.add.noftz.v4.f16x2 [%0], {%1, %2, %3, %4};" ::"l"(where), "r"(words.x),
                "r"(words.y), "r"(words.z), "r"(words.w)
                : "memory");
        }
        else
        {
            asm volatile("red.relaxed.gpu.global.add.noftz.v4.bf16x2 [%0], {%1, %2, %3, %4};" ::"l"(where),
                "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
                : "memory");
        }
        return true;
#else
        T* const values = where->values;
        return add_two(values, words.x) && add_two(values + 2, words.y) && add_two(values + 4, words.z)
               && add_two(values + 6, words.w); // all or, on this GPU, none
#endif
    }
    return false;
}

//! Each element of *where combined with one of `pack`; safe against other threads.
template <Reduction How, class T, int N>
__device__ inline void combine_pack(Pack<T, N>* where, Pack<T, N> const& pack)
{
    if constexpr (How == Reduction::kNone)
    {
        *where = pack;
    }
    else
    {
        if (How == Reduction::kAdd && add_pack(where, pack))
        {
            return;
        }
        TRB_UNROLL
        for (int i = 0; i < N; ++i)
        {
            combine_into<How>(where->values + i, pack.values[i]);
        }
    }
}

} // namespace trb
