// Combining a value into memory that other threads combine into at the same time. On the host: the plain operation.
#pragma once

#include "types.h"

namespace trb
{

enum class Reduction : int32_t
{
    kNone = 0,
    kAdd = 1,
    kMul = 2,
    kMin = 3,
    kMax = 4,
};

//! Minimum and maximum carry a NaN on, as NumPy's do.
template <Reduction How, class W>
TRB_HD inline W combined(W old, W value)
{
    if constexpr (How == Reduction::kAdd)
    {
        return old + value;
    }
    else if constexpr (How == Reduction::kMul)
    {
        return old * value;
    }
    else if constexpr (How == Reduction::kMin)
    {
        return old != old ? old : (value < old || value != value ? value : old);
    }
    else if constexpr (How == Reduction::kMax)
    {
        return old != old ? old : (value > old || value != value ? value : old);
    }
    else
    {
        return value;
    }
}

#ifdef __CUDACC__
//! What CUDA's atomics call an integer of this size.
template <class T>
using CudaInteger = std::conditional_t<sizeof(T) == 8, long long, int>;

//! The unsigned integer that carries the bits of T in a compare-and-swap.
template <int Bytes>
struct Carrier;
template <>
struct Carrier<2>
{
    using type = unsigned short;
};
template <>
struct Carrier<4>
{
    using type = unsigned int;
};
template <>
struct Carrier<8>
{
    using type = unsigned long long;
};
#endif

//! *where = combined(*where, value), safe against other threads.
template <Reduction How, class T>
TRB_HD inline void combine_into(T* where, T value)
{
#ifdef __CUDA_ARCH__
    if constexpr (How == Reduction::kNone)
    {
        *where = value;
    }
    else if constexpr (How == Reduction::kAdd && (std::is_same_v<T, float> || std::is_same_v<T, int32_t>))
    {
        atomicAdd(where, value);
    }
    else if constexpr (How == Reduction::kAdd && std::is_same_v<T, int64_t>)
    {
        atomicAdd(reinterpret_cast<unsigned long long*>(where), static_cast<unsigned long long>(value));
    }
    else if constexpr (How == Reduction::kMin && std::is_integral_v<T>)
    {
        atomicMin(reinterpret_cast<CudaInteger<T>*>(where), CudaInteger<T>(value));
    }
    else if constexpr (How == Reduction::kMax && std::is_integral_v<T>)
    {
        atomicMax(reinterpret_cast<CudaInteger<T>*>(where), CudaInteger<T>(value));
    }
    else
    {
        using Bits = typename Carrier<sizeof(T)>::type;
        Bits* const bits = reinterpret_cast<Bits*>(where);
        Bits seen = *reinterpret_cast<Bits volatile*>(where), expected;
        do
        {
            expected = seen;
            Bits const next = bit_cast<Bits>(narrow<T>(combined<How>(widen(bit_cast<T>(expected)), widen(value))));
            if (next == expected)
            {
                return; // most minima and maxima change nothing
            }
            seen = atomicCAS(bits, expected, next);
        } while (seen != expected);
    }
#else
    *where = narrow<T>(combined<How>(widen(*where), widen(value)));
#endif
}

} // namespace trb
