// LinearAttention: the recurrence of one column of the state. The columns of a head's state (one per value dimension)
// never meet, so a column is the unit of work; on the device several lanes share one, each holding a slice of it.
#pragma once

#include "../common/types.h"

namespace trb
{

constexpr int kMaxKeySize = 256;

struct LinearAttentionParams
{
    int64_t batch, length, query_heads, heads, key_size, value_size; // `heads` of keys and values
    bool gated, delta;
    int64_t decay_size; // last dimension of `decay` per head: 1 or key_size
    int64_t beta_heads; // last dimension of `beta`: heads or 1
    float scale;
};

//! Pointers as the standard lays them out; `past`, `decay` and `beta` may be null where the rule does not use them.
template <class T, class S>
struct LinearAttentionTensors
{
    T const* query; // [batch, length, query_heads * key_size]
    T const* key;   // [batch, length, heads * key_size]
    T const* value; // [batch, length, heads * value_size]
    S const* past;  // [batch, heads, key_size, value_size]
    T const* decay; // [batch, length, heads * decay_size]
    T const* beta;  // [batch, length, beta_heads]
    T* output;      // [batch, length, query_heads * value_size]
    S* present;     // as past
};

//! What a lane that works alone does: all of the column is its own.
struct Alone
{
    TRB_HD int first() const
    {
        return 0;
    }

    TRB_HD int step() const
    {
        return 1;
    }

    TRB_HD float sum(float value) const
    {
        return value;
    }
};

//! Runs one column over all tokens. `Lanes` share it: lane l holds elements l, l + step, …, at most `Slice` of them.
template <int Slice, class T, class S, class Lanes>
TRB_HD void attend_column(LinearAttentionParams const& p, LinearAttentionTensors<T, S> const& t, int64_t batch,
    int64_t head, int64_t column, Lanes const& lanes)
{
    float state[Slice];
    int64_t const matrix = (batch * p.heads + head) * p.key_size * p.value_size + column;
    TRB_UNROLL
    for (int i = 0; i < Slice; ++i)
    {
        int64_t const d = lanes.first() + int64_t(i) * lanes.step();
        state[i] = t.past && d < p.key_size ? widen(t.past[matrix + d * p.value_size]) : 0.0f;
    }
    int64_t const group = p.query_heads / p.heads;
    for (int64_t token = 0; token < p.length; ++token)
    {
        int64_t const at = batch * p.length + token;
        T const* const key = t.key + (at * p.heads + head) * p.key_size;
        float keys[Slice], retrieved = 0.0f;
        TRB_UNROLL
        for (int i = 0; i < Slice; ++i)
        {
            int64_t const d = lanes.first() + int64_t(i) * lanes.step();
            keys[i] = d < p.key_size ? widen(key[d]) : 0.0f;
            if (p.gated && d < p.key_size)
            {
                state[i] *= expf(widen(t.decay[(at * p.heads + head) * p.decay_size + (p.decay_size > 1 ? d : 0)]));
            }
            retrieved += state[i] * keys[i];
        }
        float value = widen(t.value[(at * p.heads + head) * p.value_size + column]);
        if (p.delta)
        {
            float const beta = widen(t.beta[at * p.beta_heads + (p.beta_heads > 1 ? head : 0)]);
            value = beta * (value - lanes.sum(retrieved));
        }
        TRB_UNROLL
        for (int i = 0; i < Slice; ++i)
        {
            state[i] += keys[i] * value;
        }
        for (int64_t member = 0; member < group; ++member)
        {
            int64_t const query_head = head * group + member;
            T const* const query = t.query + (at * p.query_heads + query_head) * p.key_size;
            float dot = 0.0f;
            TRB_UNROLL
            for (int i = 0; i < Slice; ++i)
            {
                int64_t const d = lanes.first() + int64_t(i) * lanes.step();
                dot += d < p.key_size ? state[i] * widen(query[d]) : 0.0f;
            }
            dot = lanes.sum(dot);
            if (lanes.first() == 0)
            {
                t.output[(at * p.query_heads + query_head) * p.value_size + column] = narrow<T>(p.scale * dot);
            }
        }
    }
    TRB_UNROLL
    for (int i = 0; i < Slice; ++i)
    {
        int64_t const d = lanes.first() + int64_t(i) * lanes.step();
        if (d < p.key_size)
        {
            t.present[matrix + d * p.value_size] = narrow<S>(state[i]);
        }
    }
}

//! Calls body(T{}, S{}) for a type and a state type (the same, or FP32); false for any other pair.
template <class Body>
bool with_attention_types(DataType type, DataType state, Body&& body)
{
    bool done = false;
    with_float(type,
        [&](auto element)
        {
            if (state == type)
            {
                body(element, element);
                done = true;
            }
            else if (state == DataType::kF32)
            {
                body(element, float{});
                done = true;
            }
        });
    return done;
}

template <class T, class S>
LinearAttentionTensors<T, S> typed(void const* const* in, void* output, void* present)
{
    return {static_cast<T const*>(in[0]), static_cast<T const*>(in[1]), static_cast<T const*>(in[2]),
        static_cast<S const*>(in[3]), static_cast<T const*>(in[4]), static_cast<T const*>(in[5]),
        static_cast<T*>(output), static_cast<S*>(present)};
}

} // namespace trb
