// LinearAttention: attributes, types and shapes.
#pragma once

#include "../common/optional.h"
#include "linear_attention_math.h"

namespace trb
{

struct LinearAttention
{
    static constexpr char const* kName = "LinearAttention"; // the name that TensorRT's parser looks for
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 2;

    int64_t q_num_heads = 1, kv_num_heads = 1, chunk_size = 64;
    float scale = 0.0f;
    int32_t update_rule = 3;
    OptionalInputs inputs{};

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integer("q_num_heads", q_num_heads, Need::kRequired);
        v.integer("kv_num_heads", kv_num_heads, Need::kRequired);
        v.integer("chunk_size", chunk_size, Need::kOptional);
        v.number("scale", scale, Need::kOptional);
        v.choice("update_rule", update_rule, {"linear", "gated", "delta", "gated_delta"}, Need::kOptional);
        inputs.visit(v);
    }

    bool gated() const
    {
        return update_rule == 1 || update_rule == 3;
    }

    bool delta() const
    {
        return update_rule >= 2;
    }

    void check() const
    {
        require(q_num_heads > 0 && kv_num_heads > 0 && q_num_heads % kv_num_heads == 0,
            "attribute `q_num_heads` must be a positive multiple of `kv_num_heads`");
        inputs.check(6, 3);
        require(inputs.has(4) == gated(), "input `decay` belongs to the update rules `gated` and `gated_delta`");
        require(inputs.has(5) == delta(), "input `beta` belongs to the update rules `delta` and `gated_delta`");
    }

    std::string signature() const
    {
        return inputs.only("FFFSFF") + (inputs.has(3) ? ">FS" : ">FF");
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        Dims<D> const &query = in[0], &key = in[1], &value = in[2];
        D const heads = query.dims[0].constant(kv_num_heads), query_heads = heads.constant(q_num_heads);
        char const* const names[] = {"query", "key", "value"};
        for (int i = 0; i < 3; ++i)
        {
            require_rank(in[i], 3, names[i]);
            require_equal(in[i].dims[0], query.dims[0], std::string("batch of `query` and `") + names[i] + "`");
            require_equal(in[i].dims[1], query.dims[1], std::string("length of `query` and `") + names[i] + "`");
        }
        require_multiple(query.dims[2], q_num_heads, "query");
        require_multiple(key.dims[2], kv_num_heads, "key");
        require_multiple(value.dims[2], kv_num_heads, "value");
        D const key_size = query.dims[2] / query_heads, value_size = value.dims[2] / heads;
        require_equal(key.dims[2] / heads, key_size, "size of a head in `key` and `query`");
        require(!key_size.known() || key_size.value <= kMaxKeySize, "heads of more than 256 keys are not supported");
        optional_shapes(in, key_size, value_size);
        out[0] = query;
        out[0].dims[2] = query_heads * value_size;
        out[1] = {4, {query.dims[0], heads, key_size, value_size}};
    }

    LinearAttentionParams params(Tensor const* in) const
    {
        int64_t const key_size = in[0].shape.dims[2] / q_num_heads;
        Tensor const *decay = inputs.find(in, 4), *beta = inputs.find(in, 5);
        return {in[0].shape.dims[0], in[0].shape.dims[1], q_num_heads, kv_num_heads, key_size,
            in[2].shape.dims[2] / kv_num_heads, gated(), delta(), decay ? decay->shape.dims[2] / kv_num_heads : 1,
            beta ? beta->shape.dims[2] : 1, scale == 0.0f ? 1.0f / std::sqrt(float(key_size)) : scale};
    }

    //! The six inputs in the standard's order; null where left out.
    void pointers(Tensor const* in, void const** found) const
    {
        for (int input = 0; input < 6; ++input)
        {
            found[input] = data_of(inputs.find(in, input));
        }
    }

    template <class Run>
    bool run(Run&, Tensor const* in, Tensor const* out) const
    {
        LinearAttentionParams const p = params(in);
        void const* data[6];
        pointers(in, data);
        return with_attention_types(in[0].type, out[1].type,
            [&](auto element, auto state)
            {
                auto const t = typed<decltype(element), decltype(state)>(data, out[0].data, out[1].data);
                for (int64_t column = 0; column < p.batch * p.heads * p.value_size; ++column)
                {
                    int64_t const head = column / p.value_size;
                    attend_column<kMaxKeySize>(p, t, head / p.heads, head % p.heads, column % p.value_size, Alone{});
                }
            });
    }

private:
    template <class D>
    static void require_multiple(D const& size, int64_t heads, char const* name)
    {
        require(!size.known() || size.value % heads == 0,
            std::string("the last dimension of `") + name + "` is no multiple of the number of heads");
    }

    template <class D>
    void optional_shapes(Dims<D> const* in, D const& key_size, D const& value_size) const
    {
        D const heads = key_size.constant(kv_num_heads);
        if (Dims<D> const* past = inputs.find(in, 3))
        {
            require_rank(*past, 4, "past_state");
            require_equal(past->dims[0], in[0].dims[0], "batch of `past_state` and `query`");
            require_equal(past->dims[1], heads, "heads of `past_state`");
            require_equal(past->dims[2], key_size, "rows of `past_state` and size of a key");
            require_equal(past->dims[3], value_size, "columns of `past_state` and size of a value");
        }
        for (int input : {4, 5})
        {
            Dims<D> const* const gate = inputs.find(in, input);
            if (gate)
            {
                char const* const name = input == 4 ? "decay" : "beta";
                require_rank(*gate, 3, name);
                require_equal(gate->dims[0], in[0].dims[0], std::string("batch of `query` and `") + name + "`");
                require_equal(gate->dims[1], in[0].dims[1], std::string("length of `query` and `") + name + "`");
                int64_t const size = gate->dims[2].known() ? gate->dims[2].value : kv_num_heads;
                bool const per_key = input == 4 && (!key_size.known() || size == kv_num_heads * key_size.value);
                bool const shared = input == 5 && size == 1;
                require(size == kv_num_heads || per_key || shared, std::string("the last dimension of `") + name
                                                                       + "` is " + show(size) + ", must be one per head"
                                                                       + (input == 4 ? " or per key" : " or 1"));
            }
        }
    }
};

} // namespace trb
