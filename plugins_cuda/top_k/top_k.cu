// TopK on the device, for any K.
//
// Work: values become unsigned keys in the wanted order, CUB sorts each line (one line: DeviceRadixSort over the whole
// GPU;
//       several: DeviceSegmentedRadixSort, a block per line), then one thread per winner writes value and index.
// Traffic: keys of 2, 4 or 8 bytes and places of 4 pass through memory about 2, 4 or 8 times (8 bits per pass). Bound
// by
//       memory; a full sort, so the time does not depend on K.
// Deterministic: yes: radix sort is stable, equal values keep the order of their indices.
#include "top_k.h"

#include "../common/kernel.cuh"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

namespace trb
{

struct LineStart
{
    int64_t length;

    __host__ __device__ int64_t operator()(int64_t line) const
    {
        return line * length;
    }
};

inline int64_t aligned_bytes(int64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

template <class Key>
cudaError_t sort_lines(void* temporary, size_t& bytes, Key const* keys, Key* sorted_keys, int32_t const* places,
    int32_t* sorted_places, int64_t lines, int64_t length, cudaStream_t stream)
{
    int const bits = 8 * int(sizeof(Key));
    if (lines == 1)
    {
        return cub::DeviceRadixSort::SortPairs(
            temporary, bytes, keys, sorted_keys, places, sorted_places, length, 0, bits, stream);
    }
    // CUB counts the elements of a segmented sort in 32 bits, so more than 2^31 of them go in several calls.
    auto const starts = thrust::make_transform_iterator(thrust::make_counting_iterator(int64_t(0)), LineStart{length});
    int64_t const fitting = INT32_MAX / length;
    int64_t const chunk = fitting < lines ? fitting : lines;
    cudaError_t status = cudaSuccess;
    for (int64_t line = 0; line < lines && status == cudaSuccess; line += chunk)
    {
        int64_t const count = lines - line < chunk ? lines - line : chunk, at = line * length;
        status = cub::DeviceSegmentedRadixSort::SortPairs(temporary, bytes, keys + at, sorted_keys + at, places + at,
            sorted_places + at, int(count * length), int(count), starts, starts + 1, 0, bits, stream);
        if (temporary == nullptr)
        {
            break; // the first chunk is the largest: its need is the need
        }
    }
    return status;
}

template <class Key>
int64_t workspace_of(int64_t lines, int64_t length)
{
    size_t temporary = 0;
    Key* const keys = nullptr;
    int32_t* const places = nullptr;
    if (sort_lines<Key>(nullptr, temporary, keys, keys, places, places, lines, length, nullptr) != cudaSuccess)
    {
        return -1;
    }
    int64_t const count = lines * length;
    return 2 * aligned_bytes(count * int64_t(sizeof(Key))) + 2 * aligned_bytes(count * 4)
           + aligned_bytes(int64_t(temporary));
}

struct TopKDeviceRun : DeviceRun
{
    void* workspace = nullptr;

    template <class Key, class Fill>
    int32_t const* sorted(int64_t lines, int64_t length, Fill&& fill)
    {
        char* next = static_cast<char*>(workspace);
        auto take = [&](int64_t bytes)
        {
            char* const taken = next;
            next += aligned_bytes(bytes);
            return static_cast<void*>(taken);
        };
        int64_t const count = lines * length;
        Key* const keys = static_cast<Key*>(take(count * int64_t(sizeof(Key))));
        Key* const sorted_keys = static_cast<Key*>(take(count * int64_t(sizeof(Key))));
        int32_t* const places = static_cast<int32_t*>(take(count * 4));
        int32_t* const sorted_places = static_cast<int32_t*>(take(count * 4));
        status = workspace ? status : cudaErrorInvalidValue;
        if (status == cudaSuccess)
        {
            fill(keys, places);
        }
        size_t bytes = 0;
        for (void* temporary : {static_cast<void*>(nullptr), static_cast<void*>(next)}) // ask for the size, then sort
        {
            if (status == cudaSuccess)
            {
                status = sort_lines(temporary, bytes, keys, sorted_keys, places, sorted_places, lines, length, stream);
            }
        }
        return sorted_places;
    }
};

} // namespace trb

extern "C" int64_t trb_top_k_workspace(trb::TopKParams const* params, trb::DataType type) noexcept
{
    int64_t bytes = 0;
    if (params->lines() > 0 && params->k > 0)
    {
        trb::with_number(type, [&](auto element)
            { bytes = trb::workspace_of<trb::SortKey<decltype(element)>>(params->lines(), params->length); });
    }
    return bytes;
}

extern "C" cudaError_t trb_top_k(trb::TopKParams const* params, trb::DataType type, void const* x, void* values,
    void* indices, void* workspace, cudaStream_t stream) noexcept
{
    trb::TopKDeviceRun run{{stream}, workspace};
    return trb::top_k(run, *params, type, x, values, indices) ? run.status : cudaErrorInvalidValue;
}
