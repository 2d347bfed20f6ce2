// Col2Im: attributes, types and shapes.
#pragma once

#include "../common/operator.h"
#include "col2im_math.h"

namespace trb
{

struct Col2Im
{
    static constexpr char const* kName = "TrbCol2Im";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    IntList image_shape{}, block_shape{}, dilations{}, pads{}, strides{};

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integers("image_shape", image_shape, Need::kRequired);
        v.integers("block_shape", block_shape, Need::kRequired);
        v.integers("dilations", dilations, Need::kOptional);
        v.integers("pads", pads, Need::kOptional);
        v.integers("strides", strides, Need::kOptional);
    }

    void check() const
    {
        int const rank = image_shape.size;
        require(rank >= 1 && rank <= kMaxBlockRank, "attribute `image_shape` must have 1 to 6 values");
        require(block_shape.size == rank, "attribute `block_shape` must have as many values as `image_shape`");
        require(dilations.size == 0 || dilations.size == rank, "attribute `dilations` has a wrong number of values");
        require(strides.size == 0 || strides.size == rank, "attribute `strides` has a wrong number of values");
        require(pads.size == 0 || pads.size == 2 * rank, "attribute `pads` has a wrong number of values");
        for (int axis = 0; axis < rank; ++axis)
        {
            require(image_shape.values[axis] > 0 && block_shape.values[axis] > 0 && stride(axis) > 0
                        && dilation(axis) > 0 && pad(axis) >= 0 && pad(rank + axis) >= 0,
                "sizes, strides and dilations must be positive, pads not negative");
            require(blocks(axis) > 0, "the block does not fit into the padded image on axis " + show(axis));
        }
    }

    TRB_HD int64_t dilation(int axis) const
    {
        return dilations.size ? dilations.values[axis] : 1;
    }

    TRB_HD int64_t stride(int axis) const
    {
        return strides.size ? strides.values[axis] : 1;
    }

    TRB_HD int64_t pad(int index) const
    {
        return pads.size ? pads.values[index] : 0;
    }

    //! Blocks along an axis; at most 0 if the block does not fit.
    TRB_HD int64_t blocks(int axis) const
    {
        int64_t const padded = image_shape.values[axis] + pad(axis) + pad(image_shape.size + axis);
        int64_t const reach = dilation(axis) * (block_shape.values[axis] - 1) + 1;
        return padded < reach ? 0 : (padded - reach) / stride(axis) + 1;
    }

    std::string signature() const
    {
        return "N>N";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        require_rank(in[0], 3, "input");
        D const size = in[0].dims[0].constant(block_size());
        D const positions = in[0].dims[0].constant(this->positions());
        require_equal(in[0].dims[2], positions, "last dimension of `input` and number of blocks");
        if (in[0].dims[1].known())
        {
            require(
                in[0].dims[1].value % block_size() == 0, "dimension 1 of `input` is no multiple of the block's size");
        }
        out[0].rank = 2 + image_shape.size;
        out[0].dims[0] = in[0].dims[0];
        out[0].dims[1] = in[0].dims[1] / size;
        for (int axis = 0; axis < image_shape.size; ++axis)
        {
            out[0].dims[2 + axis] = size.constant(image_shape.values[axis]);
        }
    }

    TRB_HD int64_t block_size() const
    {
        return product(block_shape);
    }

    TRB_HD int64_t positions() const
    {
        int64_t total = 1;
        for (int axis = 0; axis < image_shape.size; ++axis)
        {
            total *= blocks(axis);
        }
        return total;
    }

    TRB_HD Col2ImParams params(Shape const& out) const
    {
        Col2ImParams p{out.count(), product(image_shape), block_size(), positions(), {}, {}, {}, {}, {}, {}};
        for (int axis = 0; axis < image_shape.size; ++axis)
        {
            p.image[axis] = image_shape.values[axis];
            p.block[axis] = block_shape.values[axis];
            p.blocks[axis] = blocks(axis);
            p.stride[axis] = stride(axis);
            p.pad[axis] = pad(axis);
            p.dilation[axis] = dilation(axis);
        }
        return p;
    }

    template <class Run>
    TRB_HD bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return col2im(run, image_shape.size, params(out[0].shape), in[0].type, in[0].data, out[0].data);
    }

private:
    TRB_HD static int64_t product(IntList const& list)
    {
        int64_t total = 1;
        for (int i = 0; i < list.size; ++i)
        {
            total *= list.values[i];
        }
        return total;
    }
};

} // namespace trb
