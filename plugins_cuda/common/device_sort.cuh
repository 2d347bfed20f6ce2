// Sorting pairs of keys and rows on the device with CUB, in a workspace that the caller gives.
#pragma once

#include "kernel.cuh"

#include <cub/device/device_radix_sort.cuh>

namespace trb
{

inline int64_t aligned(int64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

//! Bits of the largest key.
inline int bits_of(uint64_t largest)
{
    int bits = 1;
    while (bits < 64 && largest >> bits != 0)
    {
        ++bits;
    }
    return bits;
}

//! Bytes that sorting `count` pairs needs: two arrays of keys, two of rows, and CUB's own; -1 if CUDA cannot say.
template <class Key, class Row>
int64_t sort_workspace(int64_t count)
{
    size_t temporary = 0;
    Key* const keys = nullptr;
    Row* const rows = nullptr;
    cudaError_t const status = cub::DeviceRadixSort::SortPairs(nullptr, temporary, keys, keys, rows, rows, count);
    int64_t const arrays = 2 * aligned(count * int64_t(sizeof(Key))) + 2 * aligned(count * int64_t(sizeof(Row)));
    return status == cudaSuccess ? arrays + aligned(int64_t(temporary)) : -1;
}

struct SortingDeviceRun : DeviceRun
{
    void* workspace = nullptr;

    //! fill(keys, rows), a stable sort of the pairs, use(keys, rows); no key is above `largest`.
    template <class Key, class Row, class Fill, class Use>
    void sorted(int64_t count, Key largest, Fill&& fill, Use&& use)
    {
        char* next = static_cast<char*>(workspace);
        auto take = [&](int64_t bytes)
        {
            char* const taken = next;
            next += aligned(bytes);
            return taken;
        };
        Key* const keys = reinterpret_cast<Key*>(take(count * int64_t(sizeof(Key))));
        Key* const sorted_keys = reinterpret_cast<Key*>(take(count * int64_t(sizeof(Key))));
        Row* const rows = reinterpret_cast<Row*>(take(count * int64_t(sizeof(Row))));
        Row* const sorted_rows = reinterpret_cast<Row*>(take(count * int64_t(sizeof(Row))));
        if (count == 0 || status != cudaSuccess)
        {
            return;
        }
        if (workspace == nullptr)
        {
            status = cudaErrorInvalidValue;
            return;
        }
        fill(keys, rows);
        size_t temporary = 0;
        if (status == cudaSuccess)
        {
            status = cub::DeviceRadixSort::SortPairs(nullptr, temporary, keys, sorted_keys, rows, sorted_rows, count);
        }
        if (status == cudaSuccess)
        {
            status = cub::DeviceRadixSort::SortPairs(
                next, temporary, keys, sorted_keys, rows, sorted_rows, count, 0, bits_of(uint64_t(largest)), stream);
        }
        use(sorted_keys, sorted_rows);
    }
};

} // namespace trb
