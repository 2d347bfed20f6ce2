// Several neighbouring numbers as one access of up to 16 bytes.
#pragma once

#include "types.h"

#include <cuda_runtime_api.h>

namespace trb
{

constexpr int kWarp = 32;
constexpr int kAccess = 16; // bytes of the widest load and store of a thread

template <int Bytes>
struct Access;

template <>
struct Access<16>
{
    using Type = uint4;
};

template <>
struct Access<8>
{
    using Type = uint2;
};

template <>
struct Access<4>
{
    using Type = uint32_t;
};

template <>
struct Access<2>
{
    using Type = uint16_t;
};

//! N numbers that are loaded and stored at once; their address must be a multiple of their size. They stay as packed as
//! they came until they are used: 16-bit numbers take half a register each.
template <class T, int N>
struct Pack
{
    using Raw = typename Access<sizeof(T) * N>::Type;

    Raw raw;

    static __device__ Pack load(T const* from)
    {
        return {*reinterpret_cast<Raw const*>(from)};
    }

    __device__ void store(T* to) const
    {
        *reinterpret_cast<Raw*>(to) = raw;
    }

    __device__ void get(Wide<T> (&numbers)[N]) const
    {
        T items[N];
        memcpy(items, &raw, sizeof(raw));
        TRB_UNROLL
        for (int i = 0; i < N; ++i)
        {
            numbers[i] = widen(items[i]);
        }
    }

    __device__ void set(Wide<T> const (&numbers)[N])
    {
        T items[N];
        TRB_UNROLL
        for (int i = 0; i < N; ++i)
        {
            items[i] = narrow<T>(numbers[i]);
        }
        memcpy(&raw, items, sizeof(raw));
    }
};

inline bool aligned(void const* pointer)
{
    return reinterpret_cast<uintptr_t>(pointer) % kAccess == 0;
}

} // namespace trb
