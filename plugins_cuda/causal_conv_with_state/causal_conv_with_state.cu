// CausalConvWithState on the device.
//
// Work: one thread per output value, and per value of the carried state behind them: one launch makes both outputs.
// Traffic: x once from memory (its `kernel` uses by neighbouring threads hit L1), y once; weights stay in cache.
//       Bound by memory for the usual 4 taps; at length 1 (decoding) by the launch itself.
// Deterministic: yes; taps are summed in order, in float.
#include "causal_conv_with_state.h"

#include "../common/kernel.cuh"

extern "C" cudaError_t trb_causal_conv_with_state(trb::CausalConvParams const* params, trb::DataType type,
    void const* x, void const* weight, void const* bias, void const* past, void* y, void* present,
    cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    bool const known = trb::causal_conv(run, *params, type, x, weight, bias, past, y, present);
    return known ? run.status : cudaErrorInvalidValue;
}
