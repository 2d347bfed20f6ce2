// Small square matrices in registers: Gauss elimination with partial pivoting. All loops have fixed bounds and rows are
// exchanged by selection, never by a computed index, so that the compiler can keep every element in a register.
#pragma once

#include "types.h"

namespace trb
{

constexpr int kMaxOrder = 8; // an 8 x 8 matrix with its right-hand side still fits the registers of a thread

//! N rows of C columns; columns from N on are right-hand sides.
template <int N, int C>
struct Rows
{
    float a[N][C];

    //! Exchanges rows so that the largest of column `step` (at or below it) is on the diagonal; true if the sign flips.
    TRB_HD bool pivot(int step)
    {
        bool flipped = false;
        TRB_UNROLL
        for (int row = 1; row < N; ++row)
        {
            if (row > step && fabsf(a[row][step]) > fabsf(a[step][step]))
            {
                flipped = !flipped;
                TRB_UNROLL
                for (int column = 0; column < C; ++column)
                {
                    float const other = a[row][column];
                    a[row][column] = a[step][column];
                    a[step][column] = other;
                }
            }
        }
        return flipped;
    }

    //! Subtracts multiples of row `step` from the rows below, or from all others, so that column `step` vanishes there.
    TRB_HD void eliminate(int step, bool above)
    {
        float const inverse = 1.0f / a[step][step];
        TRB_UNROLL
        for (int row = 0; row < N; ++row)
        {
            if (row > step || (above && row < step))
            {
                float const factor = a[row][step] * inverse;
                TRB_UNROLL
                for (int column = 0; column < C; ++column)
                {
                    a[row][column] -= column >= step ? factor * a[step][column] : 0.0f;
                }
            }
        }
    }
};

} // namespace trb
