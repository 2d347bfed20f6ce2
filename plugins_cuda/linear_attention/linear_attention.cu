// LinearAttention on the device.
//
// Work: eight lanes share a column of a head's state and keep it in registers over all tokens (at most 32 floats each);
//       a block of 128 threads has 16 columns of one query head. Keys, queries, values and gates of the coming tokens
//       are on their way to shared memory while the present ones are worked off, so that a token takes as long as its
//       arithmetic: two sums over a key, one after the other with the delta rule. Sums that no later token needs (the
//       outputs) are formed for four tokens at once.
//       Heads whose sizes or addresses forbid 16-byte accesses read memory where they need it (attend_column).
// Traffic: the state once in and once out; the rest once from memory and, per 16 columns, from L2. Decoding (one token)
// is
//       bound by the state, prefill by the recurrence, which runs token by token (`chunk_size` is not used).
//       Query heads that share a state repeat its recurrence, each in blocks of its own.
// Deterministic: yes; sums over keys run in a fixed tree of eight lanes, in float; the state is float until the end.
#include "linear_attention.h"

#include "../common/access.cuh"

#include <cuda_pipeline.h>

namespace trb
{

constexpr int kLanes = 8;
constexpr int kColumns = 16;
constexpr int kAttendThreads = kLanes * kColumns;
constexpr int kBlocksPerMultiprocessor = 4; // up to 128 registers: without it the compiler aims lower and spills
constexpr int kTokens = 4;                  // per stage of the pipeline
constexpr int kGateTokens = 64;             // tokens whose scalar gates a block fetches at once, two numbers each
constexpr int64_t kManyColumns = 1 << 14;   // of all states: more than a GPU works on at once
static_assert(2 * kGateTokens == kAttendThreads, "a number per thread");

__device__ inline float sum_of_lanes(float value)
{
    for (int distance = kLanes / 2; distance > 0; distance /= 2)
    {
        value += __shfl_xor_sync(~0u, value, distance);
    }
    return value;
}

//! Where a block stands: its query head, and the columns of the state that it shares with it.
struct AttendPlace
{
    int64_t batch, query_head, head, first_column;

    __device__ AttendPlace(LinearAttentionParams const& p, int64_t column_blocks, int columns)
        : batch(blockIdx.x / column_blocks / p.query_heads)
        , query_head(blockIdx.x / column_blocks % p.query_heads)
        , head(query_head / (p.query_heads / p.heads))
        , first_column(blockIdx.x % column_blocks * columns)
    {
    }
};

//! Tokens on their way to shared memory, as they are stored.
template <int Slice, int Columns, class T>
class TokenPipeline
{
    static constexpr int kValues = kColumns * Columns;              // of a block
    static constexpr int kKeys = Slice * kLanes;                    // key size, rounded up
    static constexpr int kEach = kAccess / int(sizeof(T));          // numbers per copy
    static constexpr int kStages = kKeys * sizeof(T) > 512 ? 3 : 4; // as many as static shared memory holds

public:
    struct Token
    {
        alignas(kAccess) T key[kKeys];
        T query[kKeys];
        T decay[kKeys];
        T value[kValues];
    };

    struct Storage
    {
        Token tokens[kStages][kTokens];
    };

    __device__ TokenPipeline(Storage& storage, LinearAttentionParams const& params, T const* key, T const* query,
        T const* decay, T const* value)
        : mStorage(storage), p(params), mKey(key), mQuery(query), mDecay(decay), mValue(value)
    {
        if (p.key_size < kKeys) // what no copy reaches must not hold NaN
        {
            uint4* const words = reinterpret_cast<uint4*>(&mStorage);
            for (int i = threadIdx.x; i < int(sizeof(Storage)) / kAccess; i += kAttendThreads)
            {
                words[i] = uint4{};
            }
            __syncthreads();
        }
        for (int stage = 0; stage + 1 < kStages; ++stage)
        {
            fetch(stage * int64_t(kTokens));
        }
    }

    //! The tokens from `first` on. All threads must call it, for every stage in turn.
    __device__ Token const* arrived(int64_t first)
    {
        __pipeline_wait_prior(kStages - 2);
        __syncthreads(); // all copies are there, and nobody reads the stage that is filled next
        Token const* const tokens = mStorage.tokens[first / kTokens % kStages];
        fetch(first + (kStages - 1) * kTokens);
        return tokens;
    }

private:
    __device__ void fetch(int64_t first)
    {
        Token* const tokens = mStorage.tokens[first / kTokens % kStages];
        constexpr int kCopies = kKeys / kEach;
        for (int i = threadIdx.x; i < kTokens * kCopies; i += kAttendThreads)
        {
            int const token = i / kCopies, d = i % kCopies * kEach;
            int64_t const at = first + token;
            if (at < p.length && d < p.key_size)
            {
                __pipeline_memcpy_async(tokens[token].key + d, mKey + at * p.heads * p.key_size + d, kAccess);
                __pipeline_memcpy_async(tokens[token].query + d, mQuery + at * p.query_heads * p.key_size + d, kAccess);
                if (mDecay)
                {
                    __pipeline_memcpy_async(tokens[token].decay + d, mDecay + at * p.heads * p.key_size + d, kAccess);
                }
            }
        }
        constexpr int kValueCopies = kValues / kEach;
        int const token = threadIdx.x / kValueCopies, column = threadIdx.x % kValueCopies * kEach;
        if (token < kTokens && first + token < p.length)
        {
            __pipeline_memcpy_async(
                tokens[token].value + column, mValue + (first + token) * p.heads * p.value_size + column, kAccess);
        }
        __pipeline_commit();
    }

    Storage& mStorage;
    LinearAttentionParams const& p;
    T const *mKey, *mQuery, *mDecay, *mValue; // of the block's heads and columns in the first token; mDecay: or null
};

//! Gates that are one number per token: the factor of the state, and beta.
template <class T>
class ScalarGates
{
public:
    struct Storage
    {
        float numbers[2][kGateTokens][2];
    };

    //! `decay` (null: no scalar decay) and `beta` (null: 1) of the block's head in the first token.
    __device__ ScalarGates(Storage& storage, LinearAttentionParams const& params, T const* decay, T const* beta)
        : mStorage(storage)
        , p(params)
        , mFrom(threadIdx.x % 2 ? beta : decay)
        , mStep(threadIdx.x % 2 ? p.beta_heads : p.heads)
    {
        fetch(0);
    }

    //! To be called by all threads before they meet for the stage from `first` on.
    __device__ void prepare(int64_t first)
    {
        if (first % kGateTokens == 0)
        {
            float const number = threadIdx.x % 2 || !mFrom ? mNext : expf(mNext);
            mStorage.numbers[first / kGateTokens % 2][threadIdx.x / 2][threadIdx.x % 2] = number;
            fetch(first + kGateTokens);
        }
    }

    __device__ float const* of(int64_t token) const
    {
        return mStorage.numbers[token / kGateTokens % 2][token % kGateTokens];
    }

private:
    __device__ void fetch(int64_t first)
    {
        int64_t const token = first + threadIdx.x / 2;
        mNext = mFrom && token < p.length ? widen(mFrom[token * mStep]) : 1.0f;
    }

    Storage& mStorage;
    LinearAttentionParams const& p;
    T const* mFrom;
    int64_t mStep;
    float mNext;
};

//! A lane's slices of neighbouring columns: its keys are 4 * lane to 4 * lane + 3 of each 32.
template <int Slice, int Columns>
struct StateSlice
{
    float state[Columns][Slice];

    __device__ static int key_of(int i)
    {
        return i / 4 * (4 * kLanes) + threadIdx.x % kLanes * 4 + i % 4;
    }

    template <class T>
    __device__ static void read(float (&numbers)[Slice], T const* from)
    {
        TRB_UNROLL
        for (int i = 0; i < Slice; i += 4)
        {
            float four[4];
            Pack<T, 4>::load(from + key_of(i)).get(four);
            TRB_UNROLL
            for (int j = 0; j < 4; ++j)
            {
                numbers[i + j] = four[j];
            }
        }
    }

    __device__ float dot(int column, float const (&numbers)[Slice]) const
    {
        float sums[4] = {};
        TRB_UNROLL
        for (int i = 0; i < Slice; ++i)
        {
            sums[i % 4] += state[column][i] * numbers[i];
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }

    //! One token, without a branch that would keep the compiler from working on neighbouring tokens at once. `gates`:
    //! its scalar decay and beta. `parts`: this lane's parts of the outputs.
    template <bool PerKey, class Token>
    __device__ void step(bool delta, Token const& token, float const* gates, float (&parts)[Columns])
    {
        float keys[Slice], factors[Slice], queries[Slice];
        read(keys, token.key);
        if constexpr (PerKey)
        {
            read(factors, token.decay);
        }
        TRB_UNROLL
        for (int i = 0; i < Slice; ++i)
        {
            factors[i] = PerKey ? expf(factors[i]) : gates[0];
        }
        read(queries, token.query);
        TRB_UNROLL
        for (int c = 0; c < Columns; ++c)
        {
            TRB_UNROLL
            for (int i = 0; i < Slice; ++i)
            {
                state[c][i] *= factors[i];
            }
            float const retrieved = sum_of_lanes(dot(c, keys));
            float const value = widen(token.value[threadIdx.x / kLanes * Columns + c]);
            float const written = gates[1] * (delta ? value - retrieved : value);
            TRB_UNROLL
            for (int i = 0; i < Slice; ++i)
            {
                state[c][i] += keys[i] * written;
            }
            parts[c] = dot(c, queries);
        }
    }

    //! `Count` tokens, whose outputs are reduced together and go to `output`, `stride` apart.
    template <int Count, bool PerKey, class Token, class T>
    __device__ void steps(
        LinearAttentionParams const& p, Token const* tokens, float const* gates, T* output, int64_t stride)
    {
        float parts[Count][Columns];
        TRB_UNROLL
        for (int i = 0; i < Count; ++i)
        {
            step<PerKey>(p.delta, tokens[i], gates + 2 * i, parts[i]);
        }
        int const lane = threadIdx.x % kLanes; // lane i writes token i
        TRB_UNROLL
        for (int i = 0; i < Count; ++i)
        {
            float sums[Columns];
            TRB_UNROLL
            for (int c = 0; c < Columns; ++c)
            {
                sums[c] = p.scale * sum_of_lanes(parts[i][c]);
            }
            Pack<T, Columns> pack;
            pack.set(sums);
            if (lane == i)
            {
                pack.store(output + i * stride);
            }
        }
    }
};

template <int Slice, int Columns, class T, class S>
__global__ void __launch_bounds__(kAttendThreads, kBlocksPerMultiprocessor)
    attend_staged(LinearAttentionParams p, LinearAttentionTensors<T, S> t, int64_t column_blocks)
{
    using Pipeline = TokenPipeline<Slice, Columns, T>;
    using State = Pack<S, Columns>;
    __shared__ typename Pipeline::Storage tokens_storage;
    __shared__ typename ScalarGates<T>::Storage gates_storage;
    AttendPlace const at(p, column_blocks, kColumns * Columns);
    int64_t const first_token = at.batch * p.length;
    bool const per_key = p.gated && p.decay_size > 1;
    T const* const decay = p.gated ? t.decay + (first_token * p.heads + at.head) * p.decay_size : nullptr;
    T const* const beta = p.delta ? t.beta + first_token * p.beta_heads + (p.beta_heads > 1 ? at.head : 0) : nullptr;
    ScalarGates<T> gates(gates_storage, p, per_key ? nullptr : decay, beta);
    Pipeline pipeline(tokens_storage, p, t.key + (first_token * p.heads + at.head) * p.key_size,
        t.query + (first_token * p.query_heads + at.query_head) * p.key_size, per_key ? decay : nullptr,
        t.value + (first_token * p.heads + at.head) * p.value_size + at.first_column);

    int64_t const column = at.first_column + threadIdx.x / kLanes * Columns;
    int64_t const matrix = (at.batch * p.heads + at.head) * p.key_size * p.value_size + column;
    StateSlice<Slice, Columns> own;
    State packs[Slice];
    TRB_UNROLL
    for (int i = 0; i < Slice; ++i)
    {
        int const d = own.key_of(i);
        packs[i] = t.past && d < p.key_size ? State::load(t.past + matrix + d * p.value_size) : State{};
    }
    TRB_UNROLL
    for (int i = 0; i < Slice; ++i)
    {
        float numbers[Columns];
        packs[i].get(numbers);
        TRB_UNROLL
        for (int c = 0; c < Columns; ++c)
        {
            own.state[c][i] = numbers[c];
        }
    }
    int64_t const stride = p.query_heads * p.value_size; // of tokens in the output
    T* output = t.output + (first_token * p.query_heads + at.query_head) * p.value_size + column;
    for (int64_t first = 0; first < p.length; first += kTokens)
    {
        gates.prepare(first);
        typename Pipeline::Token const* const tokens = pipeline.arrived(first);
        bool const whole = Columns == 1 && first + kTokens <= p.length;
        if (whole && per_key)
        {
            own.template steps<kTokens, true>(p, tokens, gates.of(first), output, stride);
        }
        else if (whole)
        {
            own.template steps<kTokens, false>(p, tokens, gates.of(first), output, stride);
        }
        for (int i = 0; !whole && i < kTokens && first + i < p.length; ++i)
        {
            if (per_key)
            {
                own.template steps<1, true>(p, tokens + i, gates.of(first + i), output + i * stride, stride);
            }
            else
            {
                own.template steps<1, false>(p, tokens + i, gates.of(first + i), output + i * stride, stride);
            }
        }
        output += kTokens * stride;
    }
    if (at.query_head % (p.query_heads / p.heads) == 0) // one of those that share a state writes it
    {
        TRB_UNROLL
        for (int i = 0; i < Slice; ++i)
        {
            int const d = own.key_of(i);
            float numbers[Columns];
            TRB_UNROLL
            for (int c = 0; c < Columns; ++c)
            {
                numbers[c] = own.state[c][i];
            }
            State pack;
            pack.set(numbers);
            if (d < p.key_size)
            {
                pack.store(t.present + matrix + d * p.value_size);
            }
        }
    }
}

// --- any size and alignment
// -------------------------------------------------------------------------------------------

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
        return sum_of_lanes(value);
    }
};

template <class T, class S>
__global__ void __launch_bounds__(kAttendThreads, kBlocksPerMultiprocessor)
    attend_anywhere(LinearAttentionParams p, LinearAttentionTensors<T, S> t, int64_t column_blocks)
{
    int64_t const head = blockIdx.x / column_blocks;
    int64_t const column = (blockIdx.x % column_blocks) * kColumns + threadIdx.x / kLanes;
    // Lanes without a column repeat the last one and write the same values: the shuffles need all of a warp.
    int64_t const mine = column < p.value_size ? column : p.value_size - 1;
    attend_column<kMaxKeySize / kLanes>(p, t, head / p.heads, head % p.heads, mine, EightLanes{});
}

// --- launching
// --------------------------------------------------------------------------------------------------------

template <class T, class S>
static bool wide(LinearAttentionParams const& p, LinearAttentionTensors<T, S> const& t)
{
    constexpr int kEach = kAccess / int(sizeof(T));
    return p.key_size % kEach == 0 && p.value_size % kColumns == 0 && aligned(t.query) && aligned(t.key)
           && aligned(t.value) && aligned(t.decay);
}

template <class T, class S>
static cudaError_t launch_attend(
    LinearAttentionParams const& p, LinearAttentionTensors<T, S> const& t, cudaStream_t stream)
{
    bool const staged = wide(p, t);
    // Where there are blocks for all multiprocessors anyway and few tokens, the state counts: wider accesses to it.
    bool const twice = staged && p.length < kTokens && p.value_size % (2 * kColumns) == 0 && p.key_size > 64
                       && p.key_size <= 128 && aligned(t.past) && aligned(t.present) && aligned(t.output)
                       && p.batch * p.query_heads * p.value_size >= kManyColumns;
    int64_t const columns = twice ? 2 * kColumns : kColumns;
    int64_t const column_blocks = (p.value_size + columns - 1) / columns;
    int64_t const blocks = p.batch * (staged ? p.query_heads : p.heads) * column_blocks;
    if (blocks == 0)
    {
        return cudaSuccess;
    }
    if (blocks > INT32_MAX)
    {
        return cudaErrorInvalidConfiguration;
    }
    auto const fitting = twice               ? attend_staged<16, 2, T, S>
                         : p.key_size <= 64  ? attend_staged<8, 1, T, S>
                         : p.key_size <= 128 ? attend_staged<16, 1, T, S>
                                             : attend_staged<32, 1, T, S>;
    auto const kernel = staged ? fitting : attend_anywhere<T, S>;
    kernel<<<unsigned(blocks), kAttendThreads, 0, stream>>>(p, t, column_blocks);
    return cudaGetLastError();
}

} // namespace trb

extern "C" cudaError_t trb_linear_attention(trb::LinearAttentionParams const* params, trb::DataType type,
    trb::DataType state, void const* const* inputs, void* output, void* present, cudaStream_t stream) noexcept
{
    cudaError_t status = cudaErrorInvalidValue;
    if (params->key_size <= trb::kMaxKeySize)
    {
        trb::with_attention_types(type, state,
            [&](auto element, auto carried)
            {
                auto const t = trb::typed<decltype(element), decltype(carried)>(inputs, output, present);
                status = trb::launch_attend(*params, t, stream);
            });
    }
    return status;
}
