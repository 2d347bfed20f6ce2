// LinearAttention on the device.
//
// Work: eight lanes share one column of a head's state and keep it in registers over all tokens (at most 32 floats
// each);
//       a block of 128 threads has 16 columns of one head, so its key, query and decay reads hit L1.
// Traffic: query, key, value and gates once from memory per 16 columns, the state once in and once out. Decoding (one
//       token) is bound by reading and writing the state; prefill by the latency of the token loop: the recurrence runs
//       token by token, there is no chunk-parallel form here (`chunk_size` is a hint that is not used).
// Deterministic: yes; sums over keys run in a fixed tree of eight lanes, in float; the state is float until the end.
#include "linear_attention.h"

namespace trb
{

constexpr int kLanes = 8;
constexpr int kColumns = 16;
constexpr int kBlocksPerMultiprocessor = 4; // up to 128 registers: without it the compiler aims lower and spills

//! The eight neighbouring threads that share a column.
struct EightLanes
{
    __device__ int first() const
    {
        return threadIdx.x % kLanes;
    }

    __device__ int step() const
    {
        return kLanes;
    }

    __device__ float sum(float value) const
    {
        for (int distance = kLanes / 2; distance > 0; distance /= 2)
        {
            value += __shfl_xor_sync(0xffffffffu, value, distance);
        }
        return value;
    }
};

template <int Slice, class T, class S>
__global__ void __launch_bounds__(kLanes* kColumns, kBlocksPerMultiprocessor)
    attend(LinearAttentionParams p, LinearAttentionTensors<T, S> t, int64_t column_blocks)
{
    int64_t const head = blockIdx.x / column_blocks;
    int64_t const column = (blockIdx.x % column_blocks) * kColumns + threadIdx.x / kLanes;
    // Lanes without a column repeat the last one and write the same values: the shuffles need all of a warp.
    int64_t const mine = column < p.value_size ? column : p.value_size - 1;
    attend_column<Slice>(p, t, head / p.heads, head % p.heads, mine, EightLanes{});
}

template <int Slice, class T, class S>
cudaError_t launch_attend(LinearAttentionParams const& p, LinearAttentionTensors<T, S> const& t, cudaStream_t stream)
{
    int64_t const column_blocks = (p.value_size + kColumns - 1) / kColumns;
    int64_t const blocks = p.batch * p.heads * column_blocks;
    if (blocks == 0)
    {
        return cudaSuccess;
    }
    if (blocks > INT32_MAX)
    {
        return cudaErrorInvalidConfiguration;
    }
    attend<Slice><<<unsigned(blocks), kLanes * kColumns, 0, stream>>>(p, t, column_blocks);
    return cudaGetLastError();
}

} // namespace trb

extern "C" cudaError_t trb_linear_attention(trb::LinearAttentionParams const* params, trb::DataType type,
    trb::DataType state, void const* const* inputs, void* output, void* present, cudaStream_t stream) noexcept
{
    trb::LinearAttentionParams const& p = *params;
    cudaError_t status = cudaErrorInvalidValue;
    trb::with_attention_types(type, state,
        [&](auto element, auto carried)
        {
            auto const t = trb::typed<decltype(element), decltype(carried)>(inputs, output, present);
            if (p.key_size <= 32)
            {
                status = trb::launch_attend<4>(p, t, stream);
            }
            else if (p.key_size <= 64)
            {
                status = trb::launch_attend<8>(p, t, stream);
            }
            else if (p.key_size <= 128)
            {
                status = trb::launch_attend<16>(p, t, stream);
            }
            else if (p.key_size <= trb::kMaxKeySize)
            {
                status = trb::launch_attend<32>(p, t, stream);
            }
        });
    return status;
}
