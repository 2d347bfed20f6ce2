// GridSample on the device.
//
// Work: one thread per output position and block of channels; it finds the point's taps once. A block makes 8 rows of
// 32
//       positions where rows fill sectors, so that taps share sectors in L1; else 256 positions in a row. Then each
//       warp decides for itself:
//       - smooth, points near those of the lanes before: up to 16 reads in flight, several channels at a time.
//       - scattered: one channel at a time, since more reads would push each other out of L1.
//       Cubic sampling of volumes (64 taps) and channels beyond 2^31 elements take the units of grid_sample_math.h.
// Traffic: grid once per block of channels, Y once, X at least once per touched sector. Smooth: L2 is the bound for 2-D
//       in FP32 (rows at the edges of tiles are read twice), reads per second of L1 for FP16 and for volumes.
//       Scattered: misses of L2, since a sector of 32 bytes is fetched for each pair of taps.
// Deterministic: yes, bit for bit; no atomics. Sums run in float.
#include "grid_sample.h"

#include "../common/vector.cuh"

namespace trb
{

constexpr int kTile = 32; // positions of one row of a block: those of a warp

//! What one point sees of a channel. Offset -1: zero.
template <int Count>
struct Footprint
{
    int32_t offset[Count];
    float weight[Count];
};

TRB_HD constexpr int taps_of_all(int rank, GridMode mode)
{
    return rank == 0 ? 1 : taps_per_axis(mode) * taps_of_all(rank - 1, mode);
}

//! The products of what the axes have.
template <int Rank, GridMode Mode>
__device__ Footprint<taps_of_all(Rank, Mode)> combined(Taps<int32_t> const* taps)
{
    constexpr int kTaps = taps_per_axis(Mode);
    Footprint<taps_of_all(Rank, Mode)> made;
    TRB_UNROLL
    for (int tap = 0; tap < taps_of_all(Rank, Mode); ++tap)
    {
        int rest = tap;
        bool seen = true;
        made.offset[tap] = 0;
        made.weight[tap] = 1.0f;
        TRB_UNROLL
        for (int axis = Rank - 1; axis >= 0; --axis)
        {
            int32_t const offset = taps[axis].offset[rest % kTaps];
            seen = seen && offset >= 0;
            made.offset[tap] += offset;
            made.weight[tap] *= taps[axis].weight[rest % kTaps];
            rest /= kTaps;
        }
        made.offset[tap] = seen ? made.offset[tap] : -1;
    }
    return made;
}

//! Whether no tap counts as zero.
template <int Rank, GridMode Mode>
__device__ bool all_seen(Taps<int32_t> const* taps)
{
    bool seen = true;
    TRB_UNROLL
    for (int axis = 0; axis < Rank; ++axis)
    {
        TRB_UNROLL
        for (int tap = 0; tap < taps_per_axis(Mode); ++tap)
        {
            seen = seen && taps[axis].offset[tap] >= 0;
        }
    }
    return seen;
}

//! One position of `Channels` channels.
template <int Channels, bool Whole, int Count, class T>
__device__ void sample(
    Footprint<Count> const& seen, T const* __restrict__ x, T* __restrict__ y, int64_t volume, int64_t positions)
{
    float total[Channels] = {};
    TRB_UNROLL
    for (int tap = 0; tap < Count; ++tap)
    {
        TRB_UNROLL
        for (int channel = 0; channel < Channels; ++channel)
        {
            if (Whole || seen.offset[tap] >= 0)
            {
                total[channel] += seen.weight[tap] * widen(x[channel * volume + seen.offset[tap]]);
            }
        }
    }
    TRB_UNROLL
    for (int channel = 0; channel < Channels; ++channel)
    {
        y[channel * positions] = narrow<T>(total[channel]);
    }
}

//! One position of all channels of a block, `Together` at a time.
template <int Together, bool Whole, int Count, class T>
__device__ void sample_channels(
    Footprint<Count> const& seen, T const* x, T* y, int64_t volume, int64_t positions, int32_t channels)
{
    for (; channels >= Together; channels -= Together)
    {
        sample<Together, Whole>(seen, x, y, volume, positions);
        x += Together * volume;
        y += Together * positions;
    }
    if constexpr (Together > 1)
    {
        sample_channels<1, Whole>(seen, x, y, volume, positions, channels);
    }
}

//! Whether the points of a warp lie close to those of the lanes before, all but a few (where a row ends).
template <int Rank, class G>
__device__ bool smooth(GridSampleParams const& p, G const* point)
{
    bool close = true;
    TRB_UNROLL
    for (int axis = 0; axis < Rank; ++axis)
    {
        float const at = widen(point[Rank - 1 - axis]) * float(p.size[axis]), before = __shfl_up_sync(~0u, at, 1);
        close = close && fabsf(at - before) < 8.0f; // 4 pixels
    }
    return __popc(__ballot_sync(~0u, close)) >= 28;
}

//! How positions and channels are shared out: the positions of an image seen as rows of `width`.
struct Tiling
{
    int64_t width, rows;
    int64_t across, down, channel_blocks; // blocks of threads
};

//! Channels of smooth points that are read together: up to 16 reads in flight.
TRB_HD constexpr int together_of(int taps)
{
    return taps >= 16 ? 1 : (taps > 4 ? 16 / taps : 4);
}

constexpr int kBlocks = 4;        // on one multiprocessor at least: at most 64 registers per thread
constexpr int64_t kBusy = 100000; // threads that keep a large GPU busy

template <int Rank, GridMode Mode, class T, class G>
__global__ void __launch_bounds__(kThreads, Mode == GridMode::kCubic ? 2 : kBlocks)
    sample_tiles(GridSampleParams const p, T const* __restrict__ x, G const* __restrict__ grid, T* __restrict__ y,
        Tiling const tiling, Divisor by_across, Divisor by_down, Divisor by_channel_blocks)
{
    Divisor::Small const strip = by_across(blockIdx.x), tile = by_down(strip.quotient);
    Divisor::Small const image = by_channel_blocks(tile.quotient);
    int64_t const column = int64_t(strip.remainder) * blockDim.x + threadIdx.x;
    int64_t const row = int64_t(tile.remainder) * blockDim.y + threadIdx.y;
    bool const idle = column >= tiling.width || row >= tiling.rows; // but needed below, where a warp decides
    int64_t const position = idle ? 0 : row * tiling.width + column, first = image.remainder * p.channel_block;
    Taps<int32_t> taps[Rank];
    GridSampleUnit<Rank, Mode, T, G>{p, x, grid, y}.find_taps(image.quotient, position, taps);
    bool const whole = __all_sync(~0u, all_seen<Rank, Mode>(taps) || idle);
    bool const close = smooth<Rank>(p, grid + (image.quotient * p.positions + position) * Rank);
    if (idle)
    {
        return;
    }
    int64_t const plane = image.quotient * p.channels + first, left = p.channels - first;
    int32_t channels = int32_t(left < p.channel_block ? left : p.channel_block);
    T const* from = x + plane * p.volume;
    T* to = y + plane * p.positions + position;
    if (!close)
    {
        // One channel at a time: more reads in flight would push each other out of L1 before their neighbours come.
        _Pragma("unroll 1") for (; channels > 0; --channels)
        {
            *to = narrow<T>(Interpolated<Rank, taps_per_axis(Mode), T>::at(from, taps));
            from += p.volume;
            to += p.positions;
        }
        return;
    }
    auto const seen = combined<Rank, Mode>(taps);
    if (whole)
    {
        sample_channels<together_of(taps_of_all(Rank, Mode)), true>(seen, from, to, p.volume, p.positions, channels);
    }
    else
    {
        sample_channels<1, false>(seen, from, to, p.volume, p.positions, channels);
    }
}

//! `p` with blocks of channels for the fast kernel: as many threads as keep a large GPU busy, else all channels in one.
static GridSampleParams with_channel_block(GridSampleParams p)
{
    p.channel_block = p.channels;
    while (p.channel_block > 1 && p.batch * p.positions * (p.channels / p.channel_block) < kBusy)
    {
        p.channel_block = (p.channel_block + 1) / 2;
    }
    return p;
}

//! Starts the fast kernel; false where it does not apply.
struct Start
{
    DeviceRun& run;
    GridSampleParams p;
    void const *x, *grid;
    void* y;

    template <int Rank, GridMode Mode, class T, class G>
    bool start() const
    {
        // Rows of threads where rows of positions fill sectors of 32 bytes and leave few threads idle at their ends;
        // else the positions are one long row: partly written sectors cost more than the tile saves.
        bool const in_rows = p.positions > p.width && p.width * int64_t(sizeof(T)) % 32 == 0
                             && blocks_for(p.width, kTile) * kTile <= p.width + p.width / 4;
        dim3 const threads = in_rows ? dim3(kTile, kThreads / kTile) : dim3(kThreads);
        int64_t const width = in_rows ? p.width : p.positions, rows = p.positions / width;
        Tiling const tiling{width, rows, blocks_for(width, int(threads.x)), blocks_for(rows, int(threads.y)),
            blocks_for(p.channels, int(p.channel_block))};
        int64_t const blocks = tiling.across * tiling.down * tiling.channel_blocks * p.batch;
        if (blocks > kMaxGrid)
        {
            return false;
        }
        sample_tiles<Rank, Mode><<<unsigned(blocks), threads, 0, run.stream>>>(p, static_cast<T const*>(x),
            static_cast<G const*>(grid), static_cast<T*>(y), tiling, Divisor(tiling.across), Divisor(tiling.down),
            Divisor(tiling.channel_blocks));
        run.status = cudaGetLastError();
        return true;
    }

    template <int Rank, class T, class G>
    bool with_mode() const
    {
        switch (p.mode)
        {
        case GridMode::kLinear: return start<Rank, GridMode::kLinear, T, G>();
        case GridMode::kNearest: return start<Rank, GridMode::kNearest, T, G>();
        default:
            if constexpr (Rank < 3)
            {
                return start<Rank, GridMode::kCubic, T, G>();
            }
            return false;
        }
    }

    template <class T, class G>
    bool with_rank() const
    {
        switch (p.spatial_rank)
        {
        case 1: return with_mode<1, T, G>();
        case 2: return with_mode<2, T, G>();
        default: return with_mode<3, T, G>();
        }
    }

    bool operator()(DataType type, DataType grid_type) const
    {
        bool started = false;
        if (p.volume > INT32_MAX || p.channels > INT32_MAX)
        {
            return false;
        }
        with_float(type,
            [&](auto element)
            {
                using T = decltype(element);
                started = grid_type == type ? with_rank<T, T>() : grid_type == DataType::kF32 && with_rank<T, float>();
            });
        return started;
    }
};

} // namespace trb

extern "C" cudaError_t trb_grid_sample(trb::GridSampleParams const* params, trb::DataType type, trb::DataType grid_type,
    void const* x, void const* grid, void* y, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    bool const empty = params->batch * params->channels * params->positions == 0;
    bool const known = (!empty && trb::Start{run, trb::with_channel_block(*params), x, grid, y}(type, grid_type))
                       || trb::grid_sample(run, *params, type, grid_type, x, grid, y);
    return known ? run.status : cudaErrorInvalidValue;
}
