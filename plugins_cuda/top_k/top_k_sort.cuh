// Sorting lines of keys and places with CUB, in a workspace that is laid out and measured by the same code.
#pragma once

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>
#include <cuda_runtime_api.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

namespace trb
{

constexpr int64_t kSortedAlone = 1 << 17; // lines from here on are sorted by the whole GPU, one after the other

//! Hands out parts of the workspace; without a workspace it only counts.
struct Scratch
{
    char* base;
    int64_t used = 0;

    template <class V>
    V* take(int64_t count)
    {
        V* const taken = reinterpret_cast<V*>(base + used);
        used += (count * int64_t(sizeof(V)) + 255) / 256 * 256;
        return taken;
    }
};

struct LineStart
{
    int64_t length;

    __host__ __device__ int64_t operator()(int64_t line) const
    {
        return line * length;
    }
};

//! Sorts lines of keys and places; with `temporary` null it only says how many bytes that needs.
template <class Key>
cudaError_t sort_lines(void* temporary, size_t& bytes, Key const* keys, Key* sorted_keys, int32_t const* places,
    int32_t* sorted_places, int64_t lines, int64_t length, cudaStream_t stream)
{
    // CUB counts the elements of a segmented sort in 32 bits, so more than 2^31 of them go in several calls.
    auto const starts = thrust::make_transform_iterator(thrust::make_counting_iterator(int64_t(0)), LineStart{length});
    bool const alone = lines == 1 || length >= kSortedAlone;
    int64_t const fitting = alone ? 1 : INT32_MAX / length, chunk = fitting < lines ? fitting : lines;
    int const bits = 8 * int(sizeof(Key));
    cudaError_t status = cudaSuccess;
    for (int64_t line = 0; line < lines && status == cudaSuccess; line += chunk)
    {
        int64_t const count = lines - line < chunk ? lines - line : chunk, at = line * length;
        status =
            alone ? cub::DeviceRadixSort::SortPairs(temporary, bytes, keys + at, sorted_keys + at, places + at,
                        sorted_places + at, length, 0, bits, stream)
                  : cub::DeviceSegmentedRadixSort::SortPairs(temporary, bytes, keys + at, sorted_keys + at, places + at,
                        sorted_places + at, int(count * length), int(count), starts, starts + 1, 0, bits, stream);
        if (temporary == nullptr)
        {
            break; // the first chunk is the largest: its need is the need
        }
    }
    return status;
}

//! Keys and places of `lines` lines of `length` elements, and room to sort them.
template <class Key>
struct SortPlan
{
    int64_t lines, length;
    Key *keys, *sorted_keys;
    int32_t *places, *sorted_places;
    size_t bytes = 0;
    void* temporary;

    SortPlan(Scratch& scratch, int64_t line_count, int64_t line_length, cudaError_t& status)
        : lines(line_count), length(line_length)
    {
        keys = scratch.take<Key>(lines * length);
        sorted_keys = scratch.take<Key>(lines * length);
        places = scratch.take<int32_t>(lines * length);
        sorted_places = scratch.take<int32_t>(lines * length);
        status = sort_lines<Key>(nullptr, bytes, keys, sorted_keys, places, sorted_places, lines, length, nullptr);
        temporary = scratch.take<char>(int64_t(bytes));
    }

    cudaError_t operator()(cudaStream_t stream)
    {
        return sort_lines(temporary, bytes, keys, sorted_keys, places, sorted_places, lines, length, stream);
    }
};

} // namespace trb
