// GridSample: where a sampling point lies and what it sees. One unit = one output position of one image, for a block
// of channels: the point's coordinates and weights are computed once and used for every channel of the block.
#pragma once

#include "../common/types.h"

namespace trb
{

enum class GridMode : int32_t
{
    kLinear = 0,
    kNearest = 1,
    kCubic = 2,
};

enum class GridPadding : int32_t
{
    kZeros = 0,
    kBorder = 1,
    kReflection = 2,
};

constexpr int kMaxSpatial = 3; // X of rank 3, 4 and 5: signals, images, volumes

struct GridSampleParams
{
    int32_t spatial_rank;
    GridMode mode;
    GridPadding padding;
    bool align_corners;
    int64_t batch, channels;
    int64_t positions;         // output positions per image
    int64_t width;             // those of the innermost axis
    int64_t volume;            // input elements per channel
    int64_t size[kMaxSpatial]; // of the input, outermost first
    int64_t channel_block;     // channels per unit
};

//! a + b and a * b, each rounded once: no fused multiply-add, so host, device and reference choose the same pixel.
TRB_HD inline float sum(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

TRB_HD inline float product(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

//! Grid coordinate in [-1, 1] -> position in pixels. NaN and what is beyond 2^30 pixels become a point far outside.
TRB_HD inline float pixel_position(float normalized, float size, bool align_corners)
{
    float const at = align_corners ? product(product(sum(normalized, 1.0f), 0.5f), size - 1.0f)
                                   : product(sum(product(sum(normalized, 1.0f), size), -1.0f), 0.5f);
    float const far = 1073741824.0f;
    return at >= -far ? (at <= far ? at : far) : -far;
}

//! Reflects `at` about `low` and `high` until it lies between them.
TRB_HD inline float reflected(float at, float low, float high)
{
    float const range = high - low;
    if (range <= 0.0f)
    {
        return low;
    }
    if (at >= low && at <= high)
    {
        return at;
    }
    float const beyond = at < low ? low - at : at - high;
    float const turns = truncf(beyond / range);
    float const rest = sum(beyond, -product(turns, range));
    bool const forth = (fmodf(turns, 2.0f) == 0.0f) == (at < low);
    float const inside = forth ? sum(low, rest) : sum(high, -rest);
    return inside < low ? low : (inside > high ? high : inside);
}

struct Axis
{
    int64_t size;
    float low, high; // the border, in pixels
};

TRB_HD inline Axis axis_of(GridSampleParams const& p, int axis)
{
    float const size = float(p.size[axis]);
    return {p.size[axis], p.align_corners ? 0.0f : -0.5f, p.align_corners ? size - 1.0f : size - 0.5f};
}

//! The pixel position that padding makes of one outside the border (`zeros` leaves it outside).
TRB_HD inline float padded(float at, Axis const& axis, GridPadding padding)
{
    if (at >= axis.low && at <= axis.high)
    {
        return at;
    }
    if (padding == GridPadding::kBorder)
    {
        return at < 0.0f ? 0.0f : float(axis.size - 1);
    }
    return padding == GridPadding::kReflection ? reflected(at, axis.low, axis.high) : at;
}

//! Index of the pixel that stands for `pixel`, or -1 where it counts as zero.
TRB_HD inline int64_t tap_index(int32_t pixel, Axis const& axis, GridPadding padding)
{
    if (pixel >= 0 && pixel < axis.size)
    {
        return pixel;
    }
    if (padding == GridPadding::kZeros)
    {
        return -1;
    }
    int64_t const other =
        padding == GridPadding::kBorder ? pixel : int64_t(reflected(float(pixel), axis.low, axis.high));
    return other < 0 ? 0 : (other >= axis.size ? axis.size - 1 : other);
}

//! Weights of the four neighbours of a point that lies `t` behind the second (Keys, a = -0.75, as the standard says).
TRB_HD inline void cubic_weights(float t, float* weights)
{
    float const a = -0.75f;
    float const u = 1.0f - t;
    weights[0] = ((a * (t + 1.0f) - 5.0f * a) * (t + 1.0f) + 8.0f * a) * (t + 1.0f) - 4.0f * a;
    weights[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
    weights[2] = ((a + 2.0f) * u - (a + 3.0f)) * u * u + 1.0f;
    weights[3] = ((a * (u + 1.0f) - 5.0f * a) * (u + 1.0f) + 8.0f * a) * (u + 1.0f) - 4.0f * a;
}

//! The taps of one axis: offsets into the input (-1: zero) and weights. `Index` holds every offset in one channel.
template <class Index>
struct Taps
{
    Index offset[4];
    float weight[4];
};

TRB_HD constexpr int taps_per_axis(GridMode mode)
{
    return mode == GridMode::kNearest ? 1 : (mode == GridMode::kLinear ? 2 : 4);
}

template <GridMode Mode, class Index>
TRB_HD inline Taps<Index> taps_of(GridSampleParams const& p, int axis_number, float normalized, Index stride)
{
    constexpr int kTaps = taps_per_axis(Mode);
    Axis const axis = axis_of(p, axis_number);
    float at = pixel_position(normalized, float(axis.size), p.align_corners);
    Taps<Index> taps{};
    if constexpr (Mode == GridMode::kNearest)
    {
        at = padded(rintf(at), axis, p.padding);
        Index const index = Index(tap_index(int32_t(at), axis, p.padding));
        taps.offset[0] = index < 0 ? -1 : index * stride;
        taps.weight[0] = 1.0f;
        return taps;
    }
    at = padded(at, axis, p.padding);
    float const floor = floorf(at);
    float const fraction = at - floor;
    int32_t const first = int32_t(floor) - (Mode == GridMode::kCubic ? 1 : 0); // within 2^30: see pixel_position
    if constexpr (Mode == GridMode::kCubic)
    {
        cubic_weights(fraction, taps.weight);
    }
    else
    {
        taps.weight[0] = 1.0f - fraction;
        taps.weight[1] = fraction;
    }
    TRB_UNROLL
    for (int tap = 0; tap < kTaps; ++tap)
    {
        Index const index = Index(tap_index(first + tap, axis, p.padding));
        taps.offset[tap] = index < 0 ? -1 : index * stride;
    }
    return taps;
}

//! Sum over the taps of all axes, innermost axis last. `Left` axes remain; the recursion ends at compile time.
template <int Left, int Count, class T>
struct Interpolated
{
    template <class Index>
    TRB_HD static float at(T const* x, Taps<Index> const* taps)
    {
        float total = 0.0f;
        TRB_UNROLL
        for (int tap = 0; tap < Count; ++tap)
        {
            if (taps->offset[tap] >= 0)
            {
                total += taps->weight[tap] * Interpolated<Left - 1, Count, T>::at(x + taps->offset[tap], taps + 1);
            }
        }
        return total;
    }
};

template <int Count, class T>
struct Interpolated<0, Count, T>
{
    template <class Index>
    TRB_HD static float at(T const* x, Taps<Index> const*)
    {
        return widen(*x);
    }
};

template <int Rank, GridMode Mode, class T, class G>
struct GridSampleUnit
{
    GridSampleParams p;
    T const* x;
    G const* grid;
    T* y;

    template <class Index>
    TRB_HD void find_taps(int64_t image, int64_t position, Taps<Index>* taps) const
    {
        G const* point = grid + (image * p.positions + position) * Rank; // innermost coordinate first
        Index stride = 1;
        TRB_UNROLL
        for (int axis = Rank - 1; axis >= 0; --axis)
        {
            taps[axis] = taps_of<Mode, Index>(p, axis, widen(point[Rank - 1 - axis]), stride);
            stride *= Index(p.size[axis]);
        }
    }

    TRB_HD void operator()(int64_t index) const
    {
        Division const by_position = divide(index, p.positions);
        int64_t const blocks = (p.channels + p.channel_block - 1) / p.channel_block;
        Division const by_block = divide(by_position.quotient, blocks);
        int64_t const position = by_position.remainder, image = by_block.quotient;

        Taps<int64_t> taps[Rank];
        find_taps(image, position, taps);
        int64_t const first = by_block.remainder * p.channel_block;
        int64_t const last = first + p.channel_block < p.channels ? first + p.channel_block : p.channels;
        for (int64_t channel = first; channel < last; ++channel)
        {
            int64_t const plane = image * p.channels + channel;
            float const value = Interpolated<Rank, taps_per_axis(Mode), T>::at(x + plane * p.volume, taps);
            y[plane * p.positions + position] = narrow<T>(value);
        }
    }
};

template <int Rank, class T, class G, class Run>
TRB_HD void grid_sample_typed(Run& run, GridSampleParams const& p, void const* x, void const* grid, void* y)
{
    int64_t const blocks = (p.channels + p.channel_block - 1) / p.channel_block;
    int64_t const units = p.batch * blocks * p.positions;
    T const* from = static_cast<T const*>(x);
    G const* at = static_cast<G const*>(grid);
    T* to = static_cast<T*>(y);
    switch (p.mode)
    {
    case GridMode::kLinear: run(GridSampleUnit<Rank, GridMode::kLinear, T, G>{p, from, at, to}, units); break;
    case GridMode::kNearest: run(GridSampleUnit<Rank, GridMode::kNearest, T, G>{p, from, at, to}, units); break;
    case GridMode::kCubic: run(GridSampleUnit<Rank, GridMode::kCubic, T, G>{p, from, at, to}, units); break;
    }
}

//! Runs the whole operator; false if the types or the rank are not supported. The grid has X's type or float.
template <class Run>
TRB_HD bool grid_sample(
    Run& run, GridSampleParams const& p, DataType type, DataType grid_type, void const* x, void const* grid, void* y)
{
    bool done = false;
    with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            auto ranked = [&](auto coordinate)
            {
                using G = decltype(coordinate);
                switch (p.spatial_rank)
                {
                case 1: grid_sample_typed<1, T, G>(run, p, x, grid, y); return true;
                case 2: grid_sample_typed<2, T, G>(run, p, x, grid, y); return true;
                case 3: grid_sample_typed<3, T, G>(run, p, x, grid, y); return true;
                default: return false;
                }
            };
            done = grid_type == type ? ranked(element) : (grid_type == DataType::kF32 && ranked(float{}));
        });
    return done;
}

} // namespace trb
