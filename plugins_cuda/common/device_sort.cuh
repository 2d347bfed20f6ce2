// Sorting pairs of 64-bit keys and rows on the device with CUB, in a workspace that the caller gives.
#pragma once

#include "kernel.cuh"

#include <cub/device/device_radix_sort.cuh>

namespace trb
{

inline int64_t aligned(int64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

//! Bytes that sorting `count` pairs needs: two arrays of keys, two of rows, and CUB's own; -1 if CUDA cannot say.
inline int64_t sort_workspace(int64_t count)
{
    size_t temporary = 0;
    int64_t* const none = nullptr;
    cudaError_t const status = cub::DeviceRadixSort::SortPairs(nullptr, temporary, none, none, none, none, count);
    return status == cudaSuccess ? 4 * aligned(count * 8) + aligned(int64_t(temporary)) : -1;
}

struct SortingDeviceRun : DeviceRun
{
    void* workspace = nullptr;

    template <class Fill>
    void sorted(int64_t count, Fill&& fill, int64_t*& sorted_keys, int64_t*& sorted_rows)
    {
        char* next = static_cast<char*>(workspace);
        auto take = [&](int64_t bytes)
        {
            char* const taken = next;
            next += aligned(bytes);
            return reinterpret_cast<int64_t*>(taken);
        };
        int64_t *const keys = take(count * 8), *const rows = take(count * 8);
        sorted_keys = take(count * 8);
        sorted_rows = take(count * 8);
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
                next, temporary, keys, sorted_keys, rows, sorted_rows, count, 0, 64, stream);
        }
    }
};

} // namespace trb
