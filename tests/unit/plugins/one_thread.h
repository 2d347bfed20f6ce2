// CUDA's words for a machine of one thread, so that a generated kernel runs as an ordinary function.
#pragma once
#define __global__
#define __device__
#define __launch_bounds__(...)
struct OneThread
{
    int x;
};
static OneThread const gridDim{1}, blockDim{1}, blockIdx{0}, threadIdx{0};
