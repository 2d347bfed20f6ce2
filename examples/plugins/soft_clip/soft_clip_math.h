// SoftClip: one unit = one element. This is the arithmetic: it runs on the device and, for the tests, on the host.
#pragma once

#include "common/types.h"

namespace trb
{

struct SoftClipParams
{
    int64_t elements;
    float limit;
};

template <class T>
struct SoftClipUnit
{
    SoftClipParams p;
    T const* x;
    T* y;

    TRB_HD void operator()(int64_t index) const
    {
        y[index] = narrow<T>(p.limit * tanhf(widen(x[index]) / p.limit));
    }
};

//! Runs the whole operator; false if the type is not supported.
template <class Run>
TRB_HD bool soft_clip(Run& run, SoftClipParams const& p, DataType type, void const* x, void* y)
{
    return with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            run(SoftClipUnit<T>{p, static_cast<T const*>(x), static_cast<T*>(y)}, p.elements);
        });
}

} // namespace trb
