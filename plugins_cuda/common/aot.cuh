// An operator as one kernel with everything baked in but the dimensions: what TensorRT embeds into a plan as PTX.
// `triton-repo` writes a source file that names the operator and its attributes; see repository_builder/plugins/aot.py.
#pragma once

#include "types.h"

namespace trb
{

//! Runs units where it stands: in a kernel, each thread takes its share.
struct InKernelRun
{
    template <class Unit>
    __device__ void operator()(Unit const& unit, int64_t units) const
    {
        int64_t const stride = int64_t(gridDim.x) * blockDim.x;
        for (int64_t index = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; index < units; index += stride)
        {
            unit(index);
        }
    }
};

} // namespace trb
