// Det: one unit = one matrix.
#pragma once

#include "../common/matrix.h"

namespace trb
{

//! True if an odd number of bits is set.
TRB_HD inline bool parity(uint32_t bits)
{
    bits ^= bits >> 4; // kMaxOrder bits at most
    bits ^= bits >> 2;
    return (bits ^ bits >> 1) & 1u;
}

template <int N>
TRB_HD float determinant(Rows<N, N> m)
{
    float product = 1.0f;
    TRB_UNROLL
    for (int step = 0; step < N; ++step)
    {
        uint32_t const exchanges = m.pivot(step);
        product *= parity(exchanges) ? -m.a[step][step] : m.a[step][step];
        if (m.a[step][step] != 0.0f)
        {
            m.eliminate(step);
        }
    }
    return product;
}

template <int N, class T>
struct DetUnit
{
    T const* x; // [matrices, N, N]
    T* y;       // [matrices]

    TRB_HD void operator()(int64_t index) const
    {
        Rows<N, N> m;
        TRB_UNROLL
        for (int i = 0; i < N * N; ++i)
        {
            m.a[i / N][i % N] = widen(x[index * N * N + i]);
        }
        y[index] = narrow<T>(determinant(m));
    }
};

template <int N, class Run>
TRB_HD bool det_of_order(Run& run, int64_t matrices, DataType type, void const* x, void* y)
{
    return with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            run(DetUnit<N, T>{static_cast<T const*>(x), static_cast<T*>(y)}, matrices);
        });
}

//! Runs the whole operator; false if the type or the order (1 to 8) is not supported.
template <class Run>
TRB_HD bool det(Run& run, int64_t matrices, int64_t order, DataType type, void const* x, void* y)
{
    switch (order)
    {
    case 1: return det_of_order<1>(run, matrices, type, x, y);
    case 2: return det_of_order<2>(run, matrices, type, x, y);
    case 3: return det_of_order<3>(run, matrices, type, x, y);
    case 4: return det_of_order<4>(run, matrices, type, x, y);
    case 5: return det_of_order<5>(run, matrices, type, x, y);
    case 6: return det_of_order<6>(run, matrices, type, x, y);
    case 7: return det_of_order<7>(run, matrices, type, x, y);
    case 8: return det_of_order<8>(run, matrices, type, x, y);
    default: return false;
    }
}

} // namespace trb
