// CumProd: attributes, types and shapes.
#pragma once

#include "../common/operator.h"
#include "cumprod_math.h"

namespace trb
{

struct CumProd
{
    static constexpr char const* kName = "TrbCumProd";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    int64_t axis = 0, exclusive = 0, reverse = 0;

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integer("axis", axis, Need::kRequired);
        v.integer("exclusive", exclusive, Need::kOptional);
        v.integer("reverse", reverse, Need::kOptional);
    }

    void check() const
    {
        require(exclusive == 0 || exclusive == 1, "attribute `exclusive` must be 0 or 1");
        require(reverse == 0 || reverse == 1, "attribute `reverse` must be 0 or 1");
    }

    std::string signature() const
    {
        return "N>N";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        require(axis >= -in[0].rank && axis < in[0].rank,
            "attribute `axis` is " + show(axis) + ", but `x` has rank " + show(in[0].rank));
        out[0] = in[0];
    }

    TRB_HD CumProdParams params(Shape const& x) const
    {
        int const at = int(axis < 0 ? axis + x.rank : axis);
        return {x.count(0, at), x.dims[at], x.count(at + 1, x.rank), exclusive != 0, reverse != 0};
    }

    template <class Run>
    TRB_HD bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return cumprod_lines(run, params(in[0].shape), in[0].type, in[0].data, out[0].data);
    }
};

} // namespace trb
