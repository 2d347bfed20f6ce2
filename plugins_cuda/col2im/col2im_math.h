// Col2Im: one unit = one pixel of the image, the sum of every block element that covers it (a gather, so no atomics).
#pragma once

#include "../common/types.h"

namespace trb
{

constexpr int kMaxBlockRank = 6;

struct Col2ImParams
{
    int64_t units;                                                             // batch * channels * pixels
    int64_t pixels;                                                            // of one channel of the image
    int64_t block_size;                                                        // elements of one block
    int64_t positions;                                                         // blocks
    int64_t image[kMaxBlockRank], block[kMaxBlockRank], blocks[kMaxBlockRank]; // per axis, outermost first
    int64_t stride[kMaxBlockRank], pad[kMaxBlockRank], dilation[kMaxBlockRank];
};

template <int Rank, class T>
struct Col2ImUnit
{
    Col2ImParams p;
    T const* columns; // [batch, channels * block_size, positions]
    T* image;         // [batch, channels, image...]

    TRB_HD void operator()(int64_t index) const
    {
        Division const plane = divide(index, p.pixels);
        int64_t pixel[Rank];
        int64_t rest = plane.remainder;
        TRB_UNROLL
        for (int axis = Rank - 1; axis >= 0; --axis)
        {
            Division const by = divide(rest, p.image[axis]);
            pixel[axis] = by.remainder;
            rest = by.quotient;
        }
        T const* const from = columns + plane.quotient * p.block_size * p.positions;
        Wide<T> total = 0;
        for (int64_t element = 0; element < p.block_size; ++element)
        {
            int64_t const position = position_of(element, pixel);
            if (position >= 0)
            {
                total += widen(from[element * p.positions + position]);
            }
        }
        image[index] = narrow<T>(total);
    }

    //! The block whose element `element` covers the pixel, or -1.
    TRB_HD int64_t position_of(int64_t element, int64_t const* pixel) const
    {
        int64_t position = 0, scale = 1, rest = element;
        bool covers = true;
        TRB_UNROLL
        for (int axis = Rank - 1; axis >= 0; --axis)
        {
            Division const within = divide(rest, p.block[axis]);
            rest = within.quotient;
            int64_t const start = pixel[axis] + p.pad[axis] - within.remainder * p.dilation[axis];
            Division const at = divide(start < 0 ? 0 : start, p.stride[axis]);
            covers = covers && start >= 0 && at.remainder == 0 && at.quotient < p.blocks[axis];
            position += at.quotient * scale;
            scale *= p.blocks[axis];
        }
        return covers ? position : -1;
    }
};

template <int Rank, class T, class Run>
TRB_HD void col2im_typed(Run& run, Col2ImParams const& p, void const* columns, void* image)
{
    run(Col2ImUnit<Rank, T>{p, static_cast<T const*>(columns), static_cast<T*>(image)}, p.units);
}

//! Runs the whole operator; false if the type or the rank (1 to 6 image axes) is not supported.
template <class Run>
TRB_HD bool col2im(Run& run, int rank, Col2ImParams const& p, DataType type, void const* columns, void* image)
{
    bool done = true;
    bool const known = with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            switch (rank)
            {
            case 1: return col2im_typed<1, T>(run, p, columns, image);
            case 2: return col2im_typed<2, T>(run, p, columns, image);
            case 3: return col2im_typed<3, T>(run, p, columns, image);
            case 4: return col2im_typed<4, T>(run, p, columns, image);
            case 5: return col2im_typed<5, T>(run, p, columns, image);
            case 6: return col2im_typed<6, T>(run, p, columns, image);
            default: done = false;
            }
        });
    return known && done;
}

} // namespace trb
