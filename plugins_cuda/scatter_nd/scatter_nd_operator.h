// ScatterND: attributes, types and shapes.
#pragma once

#include "../common/host_sort.h"
#include "../common/operator.h"
#include "scatter_nd_math.h"

namespace trb
{

struct ScatterND
{
    static constexpr char const* kName = "TrbScatterND";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    int32_t reduction = 0;
    int64_t deterministic = 0;

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.choice("reduction", reduction, {"none", "add", "mul", "min", "max"}, Need::kOptional);
        v.integer("deterministic", deterministic, Need::kOptional);
    }

    void check() const
    {
        require(deterministic == 0 || deterministic == 1, "attribute `deterministic` must be 0 or 1");
    }

    std::string signature() const
    {
        return "NLN>N";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        Dims<D> const &data = in[0], &indices = in[1], &updates = in[2];
        require(data.rank >= 1 && indices.rank >= 1, "`data` and `indices` need a rank of 1 or more");
        D const depth = indices.dims[indices.rank - 1];
        require(depth.known(), "the length of an index tuple (last dimension of `indices`) must be known");
        require(depth.value >= 1 && depth.value <= data.rank,
            "index tuples have " + show(depth.value) + " values, `data` has rank " + show(data.rank));
        int const width_rank = data.rank - int(depth.value);
        require_rank(updates, indices.rank - 1 + width_rank, "updates");
        for (int axis = 0; axis < updates.rank; ++axis)
        {
            bool const outer = axis < indices.rank - 1;
            D const expected = outer ? indices.dims[axis] : data.dims[data.rank - updates.rank + axis];
            require_equal(
                updates.dims[axis], expected, "dimension " + show(axis) + " of `updates` and what it must be");
        }
        out[0] = data;
    }

    ScatterParams params(Tensor const* in) const
    {
        Shape const &data = in[0].shape, &indices = in[1].shape;
        int const depth = int(indices.dims[indices.rank - 1]);
        bool const floating = letter_allows('F', in[0].type);
        return {indices.count(0, indices.rank - 1), data.count(depth, data.rank), data.count(), Reduction(reduction),
            deterministic && order_matters(Reduction(reduction), floating)};
    }

    ScatterNDTarget target(Tensor const* in) const
    {
        Shape const &data = in[0].shape, &indices = in[1].shape;
        ScatterNDTarget made{int32_t(indices.dims[indices.rank - 1]), {}, static_cast<int64_t const*>(in[1].data)};
        for (int axis = 0; axis < made.depth; ++axis)
        {
            made.sizes[axis] = data.dims[axis];
        }
        return made;
    }

    template <class Run>
    bool run(Run&, Tensor const* in, Tensor const* out) const
    {
        SortingHostRun host;
        return scatter(host, params(in), target(in), in[0].type, in[0].data, in[2].data, out[0].data);
    }
};

} // namespace trb
