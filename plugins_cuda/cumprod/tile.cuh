// What the kernels of both directions share: tiles wait in shared memory, not in registers, where there is room for
// more of them; a thread has up to kMostLoads packs of a tile.
#pragma once

#include "cumprod_math.h"

#include "../common/access.cuh"

#include <cuda_pipeline.h>

namespace trb
{

constexpr int kTeam = 4; // warps of a block
constexpr int kScanThreads = kTeam * kWarp;
constexpr int kScanBlocks = 6;   // per multiprocessor: as many as find room in 228 KB of shared memory
constexpr int kMostLoads = 16;   // with what else it needs, a block stays within 48 KB
constexpr int64_t kEnough = 768; // blocks that fill a GPU

TRB_HD inline int64_t ceil_divide(int64_t value, int64_t by)
{
    return (value + by - 1) / by;
}

template <class T, int V>
__device__ Pack<T, V>* tile_memory()
{
    extern __shared__ uint4 memory[];
    return reinterpret_cast<Pack<T, V>*>(memory);
}

//! Begins to copy a pack to shared memory, or writes ones if there is none.
template <class T, int V>
__device__ void fetch(Pack<T, V>* to, T const* from, bool there)
{
    if (!there)
    {
        Wide<T> ones[V];
        TRB_UNROLL
        for (Wide<T>& number : ones)
        {
            number = 1;
        }
        to->set(ones);
    }
    else if constexpr (sizeof(T) * V >= 4)
    {
        __pipeline_memcpy_async(to, from, sizeof(T) * V);
    }
    else // shorter than what can be copied asynchronously
    {
        *to = Pack<T, V>::load(from);
    }
}

__device__ inline void await_fetched()
{
    __pipeline_commit();
    __pipeline_wait_prior(0);
}

//! The smallest power of two that is not below `value`, but `most` at most.
inline int power_of_two_from(int64_t value, int most)
{
    int power = 1;
    while (power < most && power < value)
    {
        power *= 2;
    }
    return power;
}

} // namespace trb
