// GridSample: attributes, types and shapes.
#pragma once

#include "../common/operator.h"
#include "grid_sample_math.h"

namespace trb
{

struct GridSample
{
    static constexpr char const* kName = "TrbGridSample";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    int32_t mode = 0, padding_mode = 0;
    int64_t align_corners = 0;

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.choice("mode", mode, {"linear", "nearest", "cubic"}, Need::kOptional);
        v.choice("padding_mode", padding_mode, {"zeros", "border", "reflection"}, Need::kOptional);
        v.integer("align_corners", align_corners, Need::kOptional);
    }

    void check() const
    {
        require(align_corners == 0 || align_corners == 1, "attribute `align_corners` must be 0 or 1");
    }

    std::string signature() const
    {
        return "FG>F";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        Dims<D> const &x = in[0], &grid = in[1];
        require(x.rank >= 3 && x.rank <= 2 + kMaxSpatial, "`X` has rank " + show(x.rank) + ", must be 3, 4 or 5");
        require_rank(grid, x.rank, "grid");
        require_equal(x.dims[0], grid.dims[0], "batch of `X` and `grid`");
        require_equal(grid.dims[grid.rank - 1], grid.dims[0].constant(x.rank - 2), "last dimension of `grid`");
        out[0].rank = x.rank;
        out[0].dims[0] = x.dims[0];
        out[0].dims[1] = x.dims[1];
        for (int axis = 2; axis < x.rank; ++axis)
        {
            require(!x.dims[axis].known() || x.dims[axis].value > 0, "`X` has no pixels to sample");
            out[0].dims[axis] = grid.dims[axis - 1];
        }
    }

    TRB_HD GridSampleParams params(Shape const& x, Shape const& grid) const
    {
        GridSampleParams p{x.rank - 2, GridMode(mode), GridPadding(padding_mode), align_corners != 0, x.dims[0],
            x.dims[1], grid.count(1, grid.rank - 1), grid.dims[grid.rank - 2], x.count(2, x.rank), {}, x.dims[1]};
        for (int axis = 2; axis < x.rank; ++axis)
        {
            p.size[axis - 2] = x.dims[axis];
        }
        // Enough units to fill the largest GPU (about 300,000 resident threads), else as many channels per unit as
        // there are.
        while (p.channel_block > 1 && p.batch * p.positions * (p.channels / p.channel_block) < (1 << 19))
        {
            p.channel_block = (p.channel_block + 1) / 2;
        }
        p.channel_block = p.channel_block < 1 ? 1 : p.channel_block;
        return p;
    }

    template <class Run>
    TRB_HD bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return grid_sample(
            run, params(in[0].shape, in[1].shape), in[0].type, in[1].type, in[0].data, in[1].data, out[0].data);
    }
};

} // namespace trb
