// SoftClip: attributes, types and shapes.
#pragma once

#include "common/operator.h"
#include "soft_clip_math.h"

namespace trb
{

struct SoftClip
{
    static constexpr char const* kName = "SoftClip";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "acme";
    static constexpr int kOutputs = 1;

    float limit = 1.5f;

    template <class Visitor>
    void visit([[maybe_unused]] Visitor& v)
    {
        v.number("limit", limit, Need::kRequired);
    }

    void check() const
    {
        require(limit > 0.0f, "attribute `limit` must be positive");
    }

    std::string signature() const
    {
        return "F>F"; // one letter per input, then per output; F: FP32, FP16 or BF16; see common/operator.h
    }

    template <class D>
    void shapes(Dims<D> const* in, [[maybe_unused]] int inputs, Dims<D>* out) const
    {
        for (int input = 1; input < inputs; ++input)
        {
            require_rank(in[input], in[0].rank, "an input");
            for (int axis = 0; axis < in[0].rank; ++axis)
            {
                require_equal(in[input].dims[axis], in[0].dims[axis], "dimension " + show(axis) + " of the inputs");
            }
        }
        for (int output = 0; output < kOutputs; ++output)
        {
            out[output] = in[0];
        }
    }

    TRB_HD SoftClipParams params(Tensor const* in) const
    {
        return {in[0].shape.count(), limit};
    }

    template <class Run>
    TRB_HD bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return soft_clip(run, params(in), in[0].type, in[0].data, out[0].data);
    }
};

} // namespace trb
