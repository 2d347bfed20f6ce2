// MaxUnpool: attributes, types and shapes.
#pragma once

#include "../common/operator.h"
#include "max_unpool_math.h"

namespace trb
{

struct MaxUnpool
{
    static constexpr char const* kName = "TrbMaxUnpool";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    IntList kernel_shape{}, pads{}, strides{}, output_shape{};

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integers("kernel_shape", kernel_shape, Need::kRequired);
        v.integers("pads", pads, Need::kOptional);
        v.integers("strides", strides, Need::kOptional);
        v.integers("output_shape", output_shape, Need::kOptional);
    }

    void check() const
    {
        int const rank = kernel_shape.size;
        require(rank >= 1 && rank <= kMaxRank - 2, "attribute `kernel_shape` must have 1 to 6 values");
        require(pads.size == 0 || pads.size == 2 * rank, "attribute `pads` has a wrong number of values");
        require(strides.size == 0 || strides.size == rank, "attribute `strides` has a wrong number of values");
        require(output_shape.size == 0 || output_shape.size == rank + 2,
            "attribute `output_shape` must have as many values as `X` has dimensions");
        for (int axis = 0; axis < rank; ++axis)
        {
            require(kernel_shape.values[axis] > 0 && stride(axis) > 0, "kernel and strides must be positive");
        }
    }

    int64_t stride(int axis) const
    {
        return strides.size ? strides.values[axis] : 1;
    }

    std::string signature() const
    {
        return "FL>F";
    }

    //! Size of the unpooled axis: (x - 1) * stride + kernel - pads.
    template <class D>
    D unpooled(D x, int axis) const
    {
        int64_t const pad = pads.size ? pads.values[axis] + pads.values[kernel_shape.size + axis] : 0;
        return (x - x.constant(1)) * x.constant(stride(axis)) + x.constant(kernel_shape.values[axis] - pad);
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        require_rank(in[0], kernel_shape.size + 2, "X");
        require_rank(in[1], in[0].rank, "I");
        for (int axis = 0; axis < in[0].rank; ++axis)
        {
            require_equal(in[0].dims[axis], in[1].dims[axis], "dimension " + show(axis) + " of `X` and `I`");
        }
        out[0] = in[0];
        for (int axis = 0; axis < in[0].rank; ++axis)
        {
            if (output_shape.size)
            {
                out[0].dims[axis] = in[0].dims[axis].constant(output_shape.values[axis]);
            }
            else if (axis >= 2)
            {
                out[0].dims[axis] = unpooled(in[0].dims[axis], axis - 2);
            }
            require(!out[0].dims[axis].known() || out[0].dims[axis].value >= 0, "the unpooled shape is negative");
        }
    }

    MaxUnpoolParams params(Shape const& x, Shape const& out) const
    {
        MaxUnpoolParams p{x.count(), x, x, out, true};
        for (int axis = 2; axis < x.rank; ++axis)
        {
            p.pooled.dims[axis] = unpooled(Number{x.dims[axis]}, axis - 2).value;
        }
        for (int axis = 0; axis < x.rank; ++axis)
        {
            p.same_shape = p.same_shape && p.pooled.dims[axis] == out.dims[axis];
        }
        return p;
    }

    template <class Run>
    bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return max_unpool(run, params(in[0].shape, out[0].shape), in[0].type, in[0].data, in[1].data, out[0].data);
    }
};

} // namespace trb
