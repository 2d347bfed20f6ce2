// CumProd: one unit = one line along the axis, multiplied up in order.
#pragma once

#include "../common/types.h"

namespace trb
{

struct CumProdParams
{
    int64_t outer, length, inner; // the tensor seen as [outer, length, inner]; the product runs over `length`
    bool exclusive, reverse;
};

template <class T>
struct CumProdUnit
{
    CumProdParams p;
    T const* x;
    T* y;

    TRB_HD void operator()(int64_t index) const
    {
        Division const at = divide(index, p.inner);
        int64_t const start = at.quotient * p.length * p.inner + at.remainder;
        Wide<T> product = 1;
        for (int64_t i = 0; i < p.length; ++i)
        {
            int64_t const place = start + (p.reverse ? p.length - 1 - i : i) * p.inner;
            Wide<T> const value = widen(x[place]); // read before the write: y may be x
            y[place] = narrow<T>(p.exclusive ? product : product * value);
            product *= value;
        }
    }
};

//! Runs the whole operator line by line; false if the type is not supported.
template <class Run>
TRB_HD bool cumprod_lines(Run& run, CumProdParams const& p, DataType type, void const* x, void* y)
{
    return with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            run(CumProdUnit<T>{p, static_cast<T const*>(x), static_cast<T*>(y)}, p.length ? p.outer * p.inner : 0);
        });
}

} // namespace trb
