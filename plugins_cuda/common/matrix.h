// Small square matrices in registers: Gauss elimination with partial pivoting. All loops have fixed bounds and rows are
// exchanged by selection, never by a computed index, so that the compiler can keep every element in a register.
#pragma once

#include "types.h"

namespace trb
{

constexpr int kMaxOrder = 8; // an 8 x 8 matrix fits the registers of a thread

TRB_HD inline void exchange_if(bool condition, float& a, float& b)
{
    float const old = a;
    a = condition ? b : a;
    b = condition ? old : b;
}

//! N rows of C columns.
template <int N, int C>
struct Rows
{
    float a[N][C];

    //! Exchanges rows so that the largest of column `step` (at or below it) is on the diagonal. Row `step` meets the
    //! rows below in turn; bit `row` of the answer says that it was exchanged with that one.
    TRB_HD uint32_t pivot(int step)
    {
        uint32_t exchanged = 0;
        TRB_UNROLL
        for (int row = 1; row < N; ++row)
        {
            bool const larger = row > step && fabsf(a[row][step]) > fabsf(a[step][step]);
            exchanged |= uint32_t(larger) << row;
            TRB_UNROLL
            for (int column = 0; column < C; ++column)
            {
                exchange_if(larger, a[step][column], a[row][column]);
            }
        }
        return exchanged;
    }

    //! Exchanges columns as pivot(step) exchanged rows, in the opposite order.
    TRB_HD void exchange_columns(int step, uint32_t exchanged)
    {
        TRB_UNROLL
        for (int column = N - 1; column > 0; --column)
        {
            TRB_UNROLL
            for (int row = 0; row < N; ++row)
            {
                exchange_if(column > step && (exchanged >> column & 1u), a[row][step], a[row][column]);
            }
        }
    }

    //! Subtracts multiples of row `step` from the rows below, so that column `step` vanishes there.
    TRB_HD void eliminate(int step)
    {
        float const inverse = 1.0f / a[step][step];
        TRB_UNROLL
        for (int row = 0; row < N; ++row)
        {
            float const factor = row > step ? a[row][step] * inverse : 0.0f;
            TRB_UNROLL
            for (int column = 0; column < C; ++column)
            {
                a[row][column] -= row > step && column >= step ? factor * a[step][column] : 0.0f;
            }
        }
    }

    //! One step of an inversion in place: the row is divided by its pivot, and multiples of it are subtracted from all
    //! others; column `step` of the unit matrix takes the place of the one that vanishes.
    TRB_HD void reduce(int step)
    {
        float const inverse = 1.0f / a[step][step];
        TRB_UNROLL
        for (int column = 0; column < C; ++column)
        {
            a[step][column] = column == step ? inverse : a[step][column] * inverse;
        }
        TRB_UNROLL
        for (int row = 0; row < N; ++row)
        {
            float const factor = a[row][step];
            TRB_UNROLL
            for (int column = 0; column < C; ++column)
            {
                if (row != step)
                {
                    a[row][column] = (column == step ? 0.0f : a[row][column]) - factor * a[step][column];
                }
            }
        }
    }
};

} // namespace trb
