// Det: types and shapes; it has no attributes.
#pragma once

#include "../common/operator.h"
#include "det_math.h"

namespace trb
{

struct Det
{
    static constexpr char const* kName = "TrbDet";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 1;

    template <class Visitor>
    void visit(Visitor&)
    {
    }

    void check() const
    {
    }

    std::string signature() const
    {
        return "F>F";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        require(in[0].rank >= 2, "`X` has rank " + show(in[0].rank) + ", must be 2 or more");
        D const rows = in[0].dims[in[0].rank - 2], columns = in[0].dims[in[0].rank - 1];
        require_equal(rows, columns, "rows and columns of the matrices in `X`");
        require(!rows.known() || (rows.value >= 1 && rows.value <= kMaxOrder),
            "the matrices in `X` have " + show(rows.value) + " rows, must be 1 to 8");
        out[0] = in[0];
        out[0].rank = in[0].rank - 2;
    }

    TRB_HD static int64_t matrices(Shape const& x)
    {
        return x.count(0, x.rank - 2);
    }

    TRB_HD static int64_t order(Shape const& x)
    {
        return x.dims[x.rank - 1];
    }

    template <class Run>
    TRB_HD bool run(Run& run, Tensor const* in, Tensor const* out) const
    {
        return det(run, matrices(in[0].shape), order(in[0].shape), in[0].type, in[0].data, out[0].data);
    }
};

} // namespace trb
