// MaxUnpool: one unit = one pooled value, written to where its maximum came from.
#pragma once

#include "../common/types.h"

namespace trb
{

struct MaxUnpoolParams
{
    int64_t values; // of X
    Shape x;
    Shape pooled; // the shape that kernel, strides and pads give: what the indices count in
    Shape output; // the shape to fill; larger than `pooled` if `output_shape` says so
    bool same_shape;
};

template <class T>
struct MaxUnpoolUnit
{
    MaxUnpoolParams p;
    int64_t total; // elements of `pooled`
    T const* x;
    int64_t const* indices;
    T* y;

    //! Places outside have no meaning in the standard: nothing is written for them.
    TRB_HD bool inside(int64_t place) const
    {
        return place >= 0 && place < total;
    }

    TRB_HD void operator()(int64_t index) const
    {
        int64_t const place = indices[index];
        if (!inside(place))
        {
            return;
        }
        int64_t const target = p.same_shape ? place : moved(place);
        if (target >= 0)
        {
            y[target] = x[index];
        }
    }

    //! Offset in the output of an element of the pooled shape, or -1 where it is cut off.
    TRB_HD int64_t moved(int64_t place) const
    {
        int64_t target = 0, scale = 1;
        for (int axis = p.pooled.rank - 1; axis >= 0; --axis)
        {
            Division const at = divide(place, p.pooled.dims[axis]);
            if (at.remainder >= p.output.dims[axis])
            {
                return -1;
            }
            target += at.remainder * scale;
            scale *= p.output.dims[axis];
            place = at.quotient;
        }
        return target;
    }
};

template <class T>
TRB_HD MaxUnpoolUnit<T> max_unpool_unit(MaxUnpoolParams const& p, void const* x, void const* indices, void* y)
{
    return {p, p.pooled.count(), static_cast<T const*>(x), static_cast<int64_t const*>(indices), static_cast<T*>(y)};
}

//! Runs the whole operator: zeros, then values; false if the type is not supported.
template <class Run>
bool max_unpool(Run& run, MaxUnpoolParams const& p, DataType type, void const* x, void const* indices, void* y)
{
    run.zero(y, p.output.count() * size_of(type));
    return with_float(type, [&](auto element) { run(max_unpool_unit<decltype(element)>(p, x, indices, y), p.values); });
}

} // namespace trb
