// Launching units of arithmetic: one grid-stride kernel for every operator whose outputs can be computed one by one.
#pragma once

#include "types.h"

#include <cuda_runtime_api.h>

namespace trb
{

constexpr int kThreads = 256;         // enough warps to hide latency at full occupancy on every supported GPU
constexpr int64_t kMaxBlocks = 65536; // beyond this the stride loop takes over; far above what fills a GPU

template <class Unit>
__global__ void __launch_bounds__(kThreads) run_units(Unit unit, int64_t units)
{
    int64_t const stride = int64_t(gridDim.x) * kThreads;
    for (int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x; index < units; index += stride)
    {
        unit(index);
    }
}

//! Runs units on the device, in order of its calls on one stream; keeps the first error.
struct DeviceRun
{
    cudaStream_t stream;
    cudaError_t status = cudaSuccess;

    template <class Unit>
    void operator()(Unit const& unit, int64_t units)
    {
        if (status != cudaSuccess || units <= 0)
        {
            return; // an empty grid is an error in CUDA, but an empty tensor is none
        }
        int64_t const blocks = (units + kThreads - 1) / kThreads;
        run_units<<<unsigned(blocks < kMaxBlocks ? blocks : kMaxBlocks), kThreads, 0, stream>>>(unit, units);
        status = cudaGetLastError();
    }

    void copy(void* to, void const* from, int64_t bytes)
    {
        if (status == cudaSuccess && bytes > 0 && to != from)
        {
            status = cudaMemcpyAsync(to, from, size_t(bytes), cudaMemcpyDeviceToDevice, stream);
        }
    }

    void zero(void* to, int64_t bytes)
    {
        if (status == cudaSuccess && bytes > 0)
        {
            status = cudaMemsetAsync(to, 0, size_t(bytes), stream);
        }
    }
};

} // namespace trb
