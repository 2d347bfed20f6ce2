// Numbers and shapes that the same arithmetic uses on the host (any C++17 compiler) and on the device (nvcc).
// Needs neither CUDA's nor TensorRT's headers: the tests compile it with the plain host compiler.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__
#define TRB_HD __host__ __device__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#define TRB_HD
#endif

// Templates that run on either side call what they are given: a launch on the host, a loop in a kernel. nvcc would warn
// of the side that is never taken.
#ifdef __CUDACC__
#pragma nv_diag_suppress 20011, 20013, 20014, 20015
#endif

#ifdef __CUDA_ARCH__
#define TRB_UNROLL _Pragma("unroll")
#else
#define TRB_UNROLL // host compilers know no such pragma, and need none
#endif

namespace trb
{

enum class DataType : int32_t
{
    kF32 = 0,
    kF16 = 1,
    kBF16 = 2,
    kI32 = 3,
    kI64 = 4,
};

//! IEEE binary16 as stored; arithmetic happens in float.
struct Half
{
    uint16_t bits;
};

//! bfloat16 as stored; arithmetic happens in float.
struct BFloat16
{
    uint16_t bits;
};

TRB_HD constexpr int64_t size_of(DataType type)
{
    return type == DataType::kI64 ? 8 : (type == DataType::kF16 || type == DataType::kBF16) ? 2 : 4;
}

template <class To, class From>
TRB_HD inline To bit_cast(From from)
{
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

// --- Half and BFloat16 -> float ---------------------------------------------------------------------------------

TRB_HD inline float widen(Half value)
{
#ifdef __CUDA_ARCH__
    return __half2float(__ushort_as_half(value.bits));
#else
    uint32_t const sign = uint32_t(value.bits & 0x8000u) << 16;
    uint32_t const magnitude = value.bits & 0x7fffu;
    if (magnitude >= 0x7c00u) // infinity and NaN
    {
        return bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    }
    if (magnitude < 0x0400u) // zero and subnormals: magnitude * 2^-24 is exact in float
    {
        float const small = float(magnitude) * 5.9604644775390625e-8f;
        return sign ? -small : small;
    }
    return bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
#endif
}

TRB_HD inline float widen(BFloat16 value)
{
    return bit_cast<float>(uint32_t(value.bits) << 16);
}

TRB_HD inline float widen(float value)
{
    return value;
}

TRB_HD inline int32_t widen(int32_t value)
{
    return value;
}

TRB_HD inline int64_t widen(int64_t value)
{
    return value;
}

//! The type in which sums and products of T are formed: float for the floating types, T itself for integers.
template <class T>
using Wide = decltype(widen(T{}));

// --- float -> Half and BFloat16, to nearest even ------------------------------------------------------------------

TRB_HD inline uint16_t bfloat16_bits(float value)
{
#ifdef __CUDA_ARCH__
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    uint32_t const bits = bit_cast<uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) // NaN stays NaN
    {
        return uint16_t(bits >> 16 | 0x40u);
    }
    return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
}

TRB_HD inline uint16_t half_bits(float value)
{
#ifdef __CUDA_ARCH__
    return __half_as_ushort(__float2half_rn(value));
#else
    uint32_t const bits = bit_cast<uint32_t>(value);
    uint32_t const sign = bits >> 16 & 0x8000u;
    uint32_t const magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
    {
        return uint16_t(sign | 0x7e00u);
    }
    if (magnitude >= 0x47800000u - 0x1000u) // 65520 and above round to infinity
    {
        return uint16_t(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) // subnormal result: adding 0.5 aligns the mantissa and rounds
    {
        float const aligned = bit_cast<float>(magnitude) + 0.5f;
        return uint16_t(sign | (bit_cast<uint32_t>(aligned) - 0x3f000000u));
    }
    return uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13));
#endif
}

template <class T>
TRB_HD inline T narrow(Wide<T> value)
{
    if constexpr (std::is_same_v<T, Half>)
    {
        return Half{half_bits(value)};
    }
    else if constexpr (std::is_same_v<T, BFloat16>)
    {
        return BFloat16{bfloat16_bits(value)};
    }
    else
    {
        return value;
    }
}

// --- shapes ---------------------------------------------------------------------------------------------------------

constexpr int kMaxRank = 8; // TensorRT's own limit

struct Shape
{
    int32_t rank;
    int64_t dims[kMaxRank];

    //! Product of the sizes of axes [from, to).
    TRB_HD int64_t count(int from, int to) const
    {
        int64_t product = 1;
        for (int axis = from; axis < to; ++axis)
        {
            product *= dims[axis];
        }
        return product;
    }

    TRB_HD int64_t count() const
    {
        return count(0, rank);
    }
};

//! A short list of integers: an ONNX attribute of type INTS.
struct IntList
{
    int32_t size;
    int64_t values[2 * kMaxRank];
};

struct Division
{
    int64_t quotient;
    int64_t remainder;
};

//! Division of non-negative numbers; takes the much cheaper 32-bit path when both fit.
TRB_HD inline Division divide(int64_t value, int64_t by)
{
    if ((uint64_t(value) | uint64_t(by)) >> 32 == 0)
    {
        uint32_t const quotient = uint32_t(value) / uint32_t(by);
        return {int64_t(quotient), int64_t(uint32_t(value) - quotient * uint32_t(by))};
    }
    return {value / by, value % by};
}

// --- choosing a type at run time --------------------------------------------------------------------------------

//! Calls body(T{}) with the floating type that `type` names; false if it names none.
template <class Body>
TRB_HD bool with_float(DataType type, Body&& body)
{
    switch (type)
    {
    case DataType::kF32: body(float{}); return true;
    case DataType::kF16: body(Half{}); return true;
    case DataType::kBF16: body(BFloat16{}); return true;
    default: return false;
    }
}

//! Calls body(T{}) with the type that `type` names, integers included; false if it names none.
template <class Body>
TRB_HD bool with_number(DataType type, Body&& body)
{
    switch (type)
    {
    case DataType::kI32: body(int32_t{}); return true;
    case DataType::kI64: body(int64_t{}); return true;
    default: return with_float(type, body);
    }
}

//! Runs each unit of an operator's arithmetic on the host, one after the other: what the CPU tests use.
struct HostRun
{
    template <class Unit>
    void operator()(Unit const& unit, int64_t units)
    {
        for (int64_t index = 0; index < units; ++index)
        {
            unit(index);
        }
    }

    void copy(void* to, void const* from, int64_t bytes)
    {
        if (bytes > 0)
        {
            memcpy(to, from, size_t(bytes));
        }
    }

    void zero(void* to, int64_t bytes)
    {
        if (bytes > 0)
        {
            memset(to, 0, size_t(bytes));
        }
    }
};

} // namespace trb
