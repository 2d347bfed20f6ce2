// Inverse: one unit = one matrix.
#pragma once

#include "../common/matrix.h"

namespace trb
{

//! Gauss-Jordan elimination in place: column `step` of the matrix makes room for that of its inverse.
template <int N>
TRB_HD void invert(Rows<N, N>& m)
{
    uint32_t exchanged[N] = {};
    bool singular = false;
    TRB_UNROLL
    for (int step = 0; step < N; ++step)
    {
        exchanged[step] = m.pivot(step);
        singular = singular || m.a[step][step] == 0.0f;
        m.reduce(step);
    }
    TRB_UNROLL
    for (int step = N - 1; step >= 0; --step)
    {
        m.exchange_columns(step, exchanged[step]); // the inverse of exchanged rows has exchanged columns
    }
    TRB_UNROLL
    for (int i = 0; i < N * N; ++i)
    {
        m.a[i / N][i % N] = singular ? NAN : m.a[i / N][i % N];
    }
}

template <int N, class T>
struct InverseUnit
{
    T const* x; // [matrices, N, N]
    T* y;       // [matrices, N, N]

    TRB_HD void operator()(int64_t index) const
    {
        Rows<N, N> m;
        TRB_UNROLL
        for (int i = 0; i < N * N; ++i)
        {
            m.a[i / N][i % N] = widen(x[index * N * N + i]);
        }
        invert(m);
        TRB_UNROLL
        for (int i = 0; i < N * N; ++i)
        {
            y[index * N * N + i] = narrow<T>(m.a[i / N][i % N]);
        }
    }
};

template <int N, class Run>
TRB_HD bool inverse_of_order(Run& run, int64_t matrices, DataType type, void const* x, void* y)
{
    return with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            run(InverseUnit<N, T>{static_cast<T const*>(x), static_cast<T*>(y)}, matrices);
        });
}

//! Runs the whole operator; false if the type or the order (1 to 8) is not supported.
template <class Run>
TRB_HD bool inverse(Run& run, int64_t matrices, int64_t order, DataType type, void const* x, void* y)
{
    switch (order)
    {
    case 1: return inverse_of_order<1>(run, matrices, type, x, y);
    case 2: return inverse_of_order<2>(run, matrices, type, x, y);
    case 3: return inverse_of_order<3>(run, matrices, type, x, y);
    case 4: return inverse_of_order<4>(run, matrices, type, x, y);
    case 5: return inverse_of_order<5>(run, matrices, type, x, y);
    case 6: return inverse_of_order<6>(run, matrices, type, x, y);
    case 7: return inverse_of_order<7>(run, matrices, type, x, y);
    case 8: return inverse_of_order<8>(run, matrices, type, x, y);
    default: return false;
    }
}

} // namespace trb
