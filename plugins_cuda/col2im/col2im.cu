// Col2Im on the device: each pixel gathers the block elements that cover it, in the order of the definition.
//
// Work, images with 1 or 2 axes:
//       - wide rows, strides and dilations of 1, blocks 2, 3 or 5 wide: a warp makes a stretch of one row, each lane
//       one
//         pixel in 32, so that every read is coalesced however the rows are aligned, all of a block row's are in flight
//         together, and their addresses are shared.
//       - else: one thread per pixel; it visits the blocks that can cover it, four at a time.
//       More axes: one thread per pixel; it visits all elements of a block.
// Traffic: every column element at most once, every pixel once. Bound by memory.
// Deterministic: yes: a gather in a fixed order, summed in float (integers in their own type).
#include "col2im.h"

#include "../common/vector.cuh"

namespace trb
{

constexpr int kLanes = 32;

//! A plane of the image and of the columns that it comes from; 32-bit numbers.
struct Fold
{
    int32_t height, width;   // of the image
    int32_t rows, positions; // of blocks: along the first axis, in all
    int32_t block_height, block_width;
    int32_t pad_top, pad_left;
    int32_t stride_down, stride_right, dilation_down, dilation_right;
    int64_t block_size;

    __host__ __device__ int32_t columns() const
    {
        return positions / rows;
    }
};

// --- strides and dilations of 1, wide rows
// ------------------------------------------------------------------------------

constexpr int kStretch = 4; // pixels of one lane

//! Rows of a block that are read together: as measured, all three for FP32, where memory is the bound, one below.
template <class T>
constexpr int kTogether = sizeof(T) == 4 ? 3 : 1;

//! Adds to the pixels x, x + 32, … of row y what rows [down, down + Together) of the blocks' elements hold for them.
//! Reads are never conditional, so that all are in flight together: where nothing covers a pixel, some other element is
//! read and left out. `Inside`: no pixel lies that near to the ends of the row.
template <bool Inside, int Together, int BlockWidth, class T>
__device__ void add_rows(
    Fold const& f, int32_t width_of_blocks, T const* from, int32_t x, int32_t y, int32_t down, Wide<T>* total)
{
    T found[Together][BlockWidth][kStretch];
    TRB_UNROLL
    for (int r = 0; r < Together; ++r)
    {
        int32_t const element = min(down + r, f.block_height - 1) * BlockWidth;
        int32_t const block_row = min(max(y + f.pad_top - down - r, 0), f.rows - 1);
        TRB_UNROLL
        for (int right = 0; right < BlockWidth; ++right)
        {
            T const* const line = from + int64_t(element + right) * f.positions + int64_t(block_row) * width_of_blocks;
            uint32_t const column = uint32_t(x + f.pad_left - right);
            TRB_UNROLL
            for (int i = 0; i < kStretch; ++i)
            {
                uint32_t const at = column + i * kLanes;
                found[r][right][i] = Inside ? line[column + i * kLanes] : line[min(at, uint32_t(width_of_blocks - 1))];
            }
        }
    }
    TRB_UNROLL
    for (int r = 0; r < Together; ++r)
    {
        int32_t const block_row = y + f.pad_top - down - r;
        if (down + r >= f.block_height || block_row < 0 || block_row >= f.rows) // the same for the whole warp
        {
            continue;
        }
        TRB_UNROLL
        for (int right = 0; right < BlockWidth; ++right)
        {
            TRB_UNROLL
            for (int i = 0; i < kStretch; ++i)
            {
                bool const covers = uint32_t(x + i * kLanes + f.pad_left - right) < uint32_t(width_of_blocks);
                total[i] += Inside || covers ? widen(found[r][right][i]) : 0;
            }
        }
    }
}

//! Warp w makes pixels [s * 32 * kStretch, ...) of row r of all planes, w = r * stretches + s.
template <int Together, int BlockWidth, class T>
__global__ void __launch_bounds__(kThreads) gather_stretches(Fold const f, int32_t width_of_blocks, T const* columns,
    T* image, uint32_t warps, Divisor by_stretches, Divisor by_height)
{
    uint32_t const warp = blockIdx.x * (kThreads / kLanes) + threadIdx.x / kLanes;
    if (warp >= warps)
    {
        return;
    }
    Divisor::Small const row = by_stretches(warp), plane = by_height(row.quotient);
    int32_t const first = int32_t(row.remainder) * (kLanes * kStretch), x = first + int32_t(threadIdx.x % kLanes);
    int32_t const y = int32_t(plane.remainder);
    bool const inside =
        first + f.pad_left >= BlockWidth - 1 && first + kLanes * kStretch + f.pad_left <= width_of_blocks;
    T const* const from = columns + plane.quotient * f.block_size * f.positions;
    Wide<T> total[kStretch] = {};
    for (int32_t down = 0; down < f.block_height; down += Together)
    {
        inside ? add_rows<true, Together, BlockWidth>(f, width_of_blocks, from, x, y, down, total)
               : add_rows<false, Together, BlockWidth>(f, width_of_blocks, from, x, y, down, total);
    }
    T* const to = image + int64_t(row.quotient) * f.width;
    TRB_UNROLL
    for (int i = 0; i < kStretch; ++i)
    {
        if (x + i * kLanes < f.width)
        {
            to[x + i * kLanes] = narrow<T>(total[i]);
        }
    }
}

// --- any stride and dilation ----------------------------------------------------------------------------------------

//! The block element of one axis that covers a pixel from block `at`, or -1. `padded`: the pixel, counted with padding.
__device__ inline int32_t element_of(
    int32_t padded, int32_t at, int32_t blocks, int32_t block, int32_t stride, int32_t dilation)
{
    int32_t const offset = padded - at * stride, element = dilation == 1 ? offset : offset / dilation;
    return at >= 0 && at < blocks && element < block && element * dilation == offset ? element : -1;
}

//! `cover_down` times `cover_right` blocks at most cover a pixel; `Batch` of them are read together.
template <int Batch, class T>
__global__ void __launch_bounds__(kThreads)
    gather_pixels(Fold const f, int32_t width_of_blocks, T const* columns, T* image, int64_t pixels, int32_t cover_down,
        int32_t cover_right, Divisor by_width, Divisor by_height, Divisor by_stride_down, Divisor by_stride_right)
{
    int64_t const index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (index >= pixels)
    {
        return;
    }
    Division const row = by_width(index), plane = by_height(row.quotient);
    int32_t const y = int32_t(plane.remainder) + f.pad_top, x = int32_t(row.remainder) + f.pad_left;
    int32_t const last_row = int32_t(by_stride_down(uint32_t(y)).quotient);
    int32_t const last_column = int32_t(by_stride_right(uint32_t(x)).quotient);
    T const* const from = columns + plane.quotient * f.block_size * f.positions;
    Wide<T> total = 0;
    int32_t down = 0, right = 0; // blocks before the last that can cover the pixel
    while (down < cover_down)
    {
        T found[Batch];
        TRB_UNROLL
        for (int i = 0; i < Batch; ++i)
        {
            int32_t const at_y = last_row - down, at_x = last_column - right;
            int32_t const v = element_of(y, at_y, f.rows, f.block_height, f.stride_down, f.dilation_down);
            int32_t const h = element_of(x, at_x, width_of_blocks, f.block_width, f.stride_right, f.dilation_right);
            bool const covers = v >= 0 && h >= 0 && down < cover_down;
            int64_t const element = int64_t(v * f.block_width + h) * f.positions;
            found[i] = covers ? from[element + at_y * width_of_blocks + at_x] : narrow<T>(0);
            bool const wraps = ++right == cover_right;
            right = wraps ? 0 : right;
            down += wraps ? 1 : 0;
        }
        TRB_UNROLL
        for (T const& value : found)
        {
            total += widen(value);
        }
    }
    image[index] = narrow<T>(total);
}

// --- choosing -------------------------------------------------------------------------------------------------------

//! The blocks along one axis that can cover one pixel.
static int32_t cover(int64_t block, int64_t stride, int64_t dilation)
{
    return int32_t((block - 1) * dilation / stride + 1);
}

template <int BlockWidth, class T>
static bool fold_stretches(DeviceRun& run, Fold const& f, T const* columns, T* image, int64_t rows)
{
    int64_t const stretches = blocks_for(f.width, kLanes * kStretch), warps = rows * stretches;
    int64_t const blocks = blocks_for(warps, kThreads / kLanes);
    if (warps > UINT32_MAX)
    {
        return false;
    }
    gather_stretches<kTogether<T>, BlockWidth><<<unsigned(blocks), kThreads, 0, run.stream>>>(
        f, f.columns(), columns, image, uint32_t(warps), Divisor(stretches), Divisor(f.height));
    run.status = cudaGetLastError();
    return true;
}

template <class T>
static bool fold_pixels(DeviceRun& run, Fold const& f, T const* columns, T* image, int64_t pixels)
{
    int64_t const blocks = blocks_for(pixels);
    if (blocks > kMaxGrid || !Divisor::exact(pixels, f.width) || !Divisor::exact(pixels / f.width, f.height))
    {
        return false;
    }
    int32_t const down = cover(f.block_height, f.stride_down, f.dilation_down);
    int32_t const right = cover(f.block_width, f.stride_right, f.dilation_right);
    auto const kernel = down == 1 && right == 1 ? gather_pixels<1, T> : gather_pixels<4, T>;
    kernel<<<unsigned(blocks), kThreads, 0, run.stream>>>(f, f.columns(), columns, image, pixels, down, right,
        Divisor(f.width), Divisor(f.height), Divisor(f.stride_down), Divisor(f.stride_right));
    run.status = cudaGetLastError();
    return true;
}

//! One axis is an image with one row. False if some number is too large for 32 bits.
static bool fold_of(int rank, Col2ImParams const& p, Fold& f)
{
    int64_t const small = INT32_MAX / 4; // leaves room for sums of two
    bool const flat = rank == 1;
    int const last = rank - 1;
    for (int axis = 0; axis < rank; ++axis)
    {
        int64_t const reach = p.block[axis] * p.dilation[axis];
        if (p.image[axis] > small || p.pad[axis] > small || p.stride[axis] > small || reach > small)
        {
            return false;
        }
    }
    auto first = [&](int64_t const* values, int64_t otherwise) { return int32_t(flat ? otherwise : values[0]); };
    f = {first(p.image, 1), int32_t(p.image[last]), first(p.blocks, 1), int32_t(p.positions), first(p.block, 1),
        int32_t(p.block[last]), first(p.pad, 0), int32_t(p.pad[last]), first(p.stride, 1), int32_t(p.stride[last]),
        first(p.dilation, 1), int32_t(p.dilation[last]), p.block_size};
    return p.positions <= small && p.block_size <= small;
}

//! Starts a fast kernel; false where none applies.
static bool fold(DeviceRun& run, int rank, Col2ImParams const& p, DataType type, void const* columns, void* image)
{
    Fold f;
    if (rank > 2 || p.units == 0 || !fold_of(rank, p, f))
    {
        return false;
    }
    bool const steps_of_one =
        f.stride_down == 1 && f.stride_right == 1 && f.dilation_down == 1 && f.dilation_right == 1;
    bool started = false;
    bool const known = with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            T const* const from = static_cast<T const*>(columns);
            T* const to = static_cast<T*>(image);
            int64_t const rows = p.units / f.width;
            if (steps_of_one && f.width >= kLanes * kStretch / 2)
            {
                switch (f.block_width)
                {
                case 2: started = fold_stretches<2>(run, f, from, to, rows); return;
                case 3: started = fold_stretches<3>(run, f, from, to, rows); return;
                case 5: started = fold_stretches<5>(run, f, from, to, rows); return;
                default: break;
                }
            }
            started = fold_pixels(run, f, from, to, p.units);
        });
    return known && started;
}

} // namespace trb

extern "C" cudaError_t trb_col2im(trb::Col2ImParams const* params, int32_t rank, trb::DataType type,
    void const* columns, void* image, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    bool const known =
        trb::fold(run, rank, *params, type, columns, image) || trb::col2im(run, rank, *params, type, columns, image);
    return known ? run.status : cudaErrorInvalidValue;
}
