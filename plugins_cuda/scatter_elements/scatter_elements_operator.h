// ScatterElements: attributes, types and shapes.
#pragma once

#include "../common/host_sort.h"
#include "../common/operator.h"
#include "scatter_elements_math.h"

namespace trb
{

struct ScatterElements
{
    static constexpr char const* kName = "TrbScatterElements";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    int64_t axis = 0;
    int32_t reduction = 0;
    int64_t deterministic = 0;

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integer("axis", axis, Need::kOptional);
        v.choice("reduction", reduction, {"none", "add", "mul", "min", "max"}, Need::kOptional);
        v.integer("deterministic", deterministic, Need::kOptional);
    }

    void check() const
    {
        require(deterministic == 0 || deterministic == 1, "attribute `deterministic` must be 0 or 1");
    }

    std::string signature() const
    {
        return "NIN>N";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        Dims<D> const &data = in[0], &indices = in[1], &updates = in[2];
        require(axis >= -data.rank && axis < data.rank,
            "attribute `axis` is " + show(axis) + ", but `data` has rank " + show(data.rank));
        require_rank(indices, data.rank, "indices");
        require_rank(updates, data.rank, "updates");
        int const along = int(axis < 0 ? axis + data.rank : axis);
        for (int at = 0; at < data.rank; ++at)
        {
            require_equal(updates.dims[at], indices.dims[at], "dimension " + show(at) + " of `updates` and `indices`");
            bool const known = data.dims[at].known() && updates.dims[at].known();
            require(at == along || !known || updates.dims[at].value <= data.dims[at].value,
                "`updates` is larger than `data` in dimension " + show(at));
        }
        out[0] = data;
    }

    ScatterParams params(Tensor const* in) const
    {
        bool const floating = letter_allows('F', in[0].type);
        return {in[2].shape.count(), 1, in[0].shape.count(), Reduction(reduction),
            deterministic && order_matters(Reduction(reduction), floating)};
    }

    ScatterElementsTarget target(Tensor const* in) const
    {
        int const along = int(axis < 0 ? axis + in[0].shape.rank : axis);
        return {along, in[0].shape, in[2].shape, in[1].type, in[1].data};
    }

    template <class Run>
    bool run(Run&, Tensor const* in, Tensor const* out) const
    {
        SortingHostRun host;
        return scatter(host, params(in), target(in), in[0].type, in[0].data, in[2].data, out[0].data);
    }
};

} // namespace trb
