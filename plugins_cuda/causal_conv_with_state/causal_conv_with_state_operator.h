// CausalConvWithState: attributes, types and shapes.
#pragma once

#include "../common/optional.h"
#include "causal_conv_with_state_math.h"

namespace trb
{

struct CausalConvWithState
{
    static constexpr char const* kName = "CausalConvWithState"; // the name that TensorRT's parser looks for
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 2;

    int32_t activation = 0;
    OptionalInputs inputs{};

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.choice("activation", activation, {"none", "silu", "swish"}, Need::kOptional);
        inputs.visit(v);
    }

    void check() const
    {
        inputs.check(4, 2);
    }

    std::string signature() const
    {
        return inputs.only("FFFF") + ">FF";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        Dims<D> const &x = in[0], &weight = in[1];
        require_rank(x, 3, "input");
        require_rank(weight, 3, "weight");
        D const one = x.dims[0].constant(1);
        require_equal(weight.dims[0], x.dims[1], "channels of `weight` and `input`");
        require_equal(weight.dims[1], one, "dimension 1 of `weight`");
        require(!weight.dims[2].known() || weight.dims[2].value >= 1, "`weight` has no taps");
        if (Dims<D> const* bias = inputs.find(in, 2))
        {
            require_rank(*bias, 1, "bias");
            require_equal(bias->dims[0], x.dims[1], "channels of `bias` and `input`");
        }
        if (Dims<D> const* past = inputs.find(in, 3))
        {
            require_rank(*past, 3, "past_state");
            require_equal(past->dims[0], x.dims[0], "batch of `past_state` and `input`");
            require_equal(past->dims[1], x.dims[1], "channels of `past_state` and `input`");
            require_equal(past->dims[2] + one, weight.dims[2], "length of `past_state` plus 1 and taps of `weight`");
        }
        out[0] = x;
        out[1] = x;
        out[1].dims[2] = weight.dims[2] - one;
    }

    TRB_HD CausalConvParams params(Shape const& x, Shape const& weight) const
    {
        return {x.dims[0], x.dims[1], x.dims[2], weight.dims[2], activation != 0};
    }

    template <class Run>
    TRB_HD bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return causal_conv(run, params(in[0].shape, in[1].shape), in[0].type, in[0].data, in[1].data,
            data_of(inputs.find(in, 2)), data_of(inputs.find(in, 3)), out[0].data, out[1].data);
    }
};

} // namespace trb
