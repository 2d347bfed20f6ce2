// Products that blocks hand on, so that one line is multiplied up by many blocks in a single pass over memory.
//
// A line is cut into tiles, and `kTiles` tiles make a group. A block publishes the product of its tile as soon as it
// has it. The product of all tiles before it is that of the groups before its own, published by the last block of the
// group before, times those of the tiles before it in its group. Which products are multiplied, and in which order,
// follows from the tile's position alone, so the result does not depend on how blocks are scheduled.
//
// Blocks draw tickets: one that waits only waits for blocks that have already started. A value and the mark that it is
// there share one 64-bit word, so no fence is needed; the words must be zeroed before the launch.
#pragma once

#include "../common/types.h"

#include <cuda_runtime_api.h>

namespace trb
{

//! A number of 4 or 8 bytes: in each word 32 bits of it, and above them the mark.
template <class W>
struct Slot
{
    static constexpr int kWords = sizeof(W) / 4;
    uint64_t words[kWords];
};

template <class W>
__device__ void publish(Slot<W>* slot, W value)
{
    uint32_t parts[Slot<W>::kWords];
    memcpy(parts, &value, sizeof(W));
    for (int i = 0; i < Slot<W>::kWords; ++i)
    {
        static_cast<uint64_t volatile&>(slot->words[i]) = uint64_t(1) << 32 | parts[i];
    }
}

//! False if the value is not there yet.
template <class W>
__device__ bool look(Slot<W> const* slot, W& value)
{
    uint32_t parts[Slot<W>::kWords];
    bool there = true;
    for (int i = 0; i < Slot<W>::kWords; ++i)
    {
        uint64_t const word = static_cast<uint64_t const volatile&>(slot->words[i]);
        parts[i] = uint32_t(word);
        there = there & (word >> 32 != 0);
    }
    memcpy(&value, parts, sizeof(W));
    return there;
}

//! A pause between two looks: hundreds of waiting blocks would otherwise take the cache's bandwidth from those that
//! work.
__device__ inline void nap()
{
    __nanosleep(100);
}

template <class W>
__device__ W await(Slot<W> const* slot)
{
    W value;
    while (!look(slot, value))
    {
        nap();
    }
    return value;
}

//! The product of `count` slots (at most Most) that lie `stride` apart; each round asks for all of them at once. The
//! first slot must exist even if none counts.
template <int Most, class W>
__device__ W product_of(Slot<W> const* slots, int64_t stride, int count)
{
    W values[Most], product = 1;
    for (bool there = false; !there;)
    {
        there = true;
        TRB_UNROLL
        for (int i = 0; i < Most; ++i) // no load depends on a branch, so that all are under way at once
        {
            bool const read = look(slots + (i < count ? i : 0) * stride, values[i]);
            there = there & (read | (i >= count));
        }
        if (!there)
        {
            nap();
        }
    }
    TRB_UNROLL
    for (int i = 0; i < Most; ++i)
    {
        product *= i < count ? values[i] : W(1);
    }
    return product;
}

//! This block's ticket: 0 for the first block that asks, and so on. All threads must call it.
__device__ inline int64_t draw_ticket(unsigned long long* counter)
{
    __shared__ unsigned long long ticket;
    if (threadIdx.x == 0)
    {
        ticket = atomicAdd(counter, 1ull);
    }
    __syncthreads();
    return int64_t(ticket);
}

//! The workspace of a scan: the counter of tickets, then the slots.
struct ScanState
{
    unsigned long long* counter; // null: every block walks along its lines on its own
    void* slots;

    static constexpr int64_t kHead = 256;

    TRB_HD explicit operator bool() const
    {
        return counter != nullptr;
    }
};

} // namespace trb
