// CausalConvWithState on the device.
//
// Work: for 2 to 4 taps one thread per 16 bytes of the output: it reads the same 16 bytes of x, the 16 before them (or
//       the carried state at the beginning of a line) and the channel's weights. What fills no 16 bytes, and the state
//       to carry, are threads of the same launch, one per value; so is everything for other numbers of taps.
// Traffic: x once from memory (the 16 bytes before hit L1), y once; weights stay in cache. Bound by memory; at length 1
//       (decoding) by the launch itself.
// Deterministic: yes; taps are summed in order, in float.
#include "causal_conv_with_state.h"

#include "../common/vector.cuh"

namespace trb
{

constexpr int kPacks = 2; // of one thread: loads in flight

//! The pack of x at `first` and the one before it; of that, at the beginning of a line, only the carried end.
template <class T>
struct Stretch
{
    Pack<T, kPack<T>> before, here;
    int64_t line;
};

template <int Taps, class T>
__device__ Stretch<T> stretch(CausalConvUnit<T> const& unit, int64_t first, int64_t line, int64_t place)
{
    constexpr int N = kPack<T>, kCarried = Taps - 1;
    Stretch<T> made{{}, load<N>(unit.x + first), line};
    if (place >= kCarried)
    {
        made.before = load<N>(unit.x + first - N);
    }
    else
    {
        TRB_UNROLL
        for (int i = 0; i < kCarried; ++i)
        {
            made.before.at[N - kCarried + i] = unit.padded(line, place + i);
        }
    }
    return made;
}

template <int Taps, class T>
__device__ Pack<T, kPack<T>> convolved(CausalConvUnit<T> const& unit, Stretch<T> const& from, int64_t channel)
{
    constexpr int N = kPack<T>, kCarried = Taps - 1;
    float window[kCarried + N];
    TRB_UNROLL
    for (int i = 0; i < kCarried + N; ++i)
    {
        window[i] = widen(i < kCarried ? from.before.at[N - kCarried + i] : from.here.at[i - kCarried]);
    }
    float const bias = unit.bias ? widen(unit.bias[channel]) : 0.0f;
    float total[N];
    TRB_UNROLL
    for (int i = 0; i < N; ++i)
    {
        total[i] = bias;
    }
    Pack<T, Taps> weights;
    if constexpr (Taps == 3)
    {
        TRB_UNROLL
        for (int tap = 0; tap < Taps; ++tap)
        {
            weights.at[tap] = unit.weight[channel * Taps + tap];
        }
    }
    else
    {
        weights = load<Taps>(unit.weight + channel * Taps);
    }
    TRB_UNROLL
    for (int tap = 0; tap < Taps; ++tap)
    {
        float const weight = widen(weights.at[tap]);
        TRB_UNROLL
        for (int i = 0; i < N; ++i)
        {
            total[i] += weight * window[i + tap];
        }
    }
    Pack<T, N> made;
    TRB_UNROLL
    for (int i = 0; i < N; ++i)
    {
        made.at[i] = unit.activated(total[i]);
    }
    return made;
}

//! Lines of whole packs. Piece i < packs is outputs [i * N, i * N + N); those behind are the rest of `units`, one each.
template <int Taps, class T>
__global__ void __launch_bounds__(kThreads) convolve_whole_packs(
    CausalConvUnit<T> const unit, uint32_t packs, int64_t units, Divisor by_packs, Divisor by_channels)
{
    constexpr int N = kPack<T>;
    int64_t const begin = int64_t(blockIdx.x) * (kThreads * kPacks) + threadIdx.x;
    Stretch<T> from[kPacks];
    TRB_UNROLL
    for (int i = 0; i < kPacks; ++i)
    {
        int64_t const piece = begin + i * kThreads;
        if (piece < packs)
        {
            Divisor::Small const at = by_packs(uint32_t(piece));
            from[i] = stretch<Taps>(unit, piece * N, at.quotient, at.remainder * N);
        }
    }
    TRB_UNROLL
    for (int i = 0; i < kPacks; ++i)
    {
        int64_t const piece = begin + i * kThreads, rest = int64_t(packs) * N + (piece - packs);
        if (piece < packs)
        {
            uint32_t const channel = by_channels(uint32_t(from[i].line)).remainder;
            store(unit.y + piece * N, convolved<Taps>(unit, from[i], channel));
        }
        else if (rest < units)
        {
            unit(rest);
        }
    }
}

//! Lines of any length: a thread whose pack belongs to more than one line makes its outputs one by one.
template <int Taps, class T>
__global__ void __launch_bounds__(kThreads)
    convolve_packs(CausalConvUnit<T> const unit, int64_t packs, int64_t units, Divisor by_length, Divisor by_channels)
{
    constexpr int N = kPack<T>;
    int64_t const piece = int64_t(blockIdx.x) * kThreads + threadIdx.x, rest = packs * N + (piece - packs);
    if (piece >= packs)
    {
        if (rest < units)
        {
            unit(rest);
        }
        return;
    }
    Division const at = by_length(piece * N);
    if (at.remainder + N > unit.p.length)
    {
        for (int i = 0; i < N; ++i)
        {
            unit(piece * N + i);
        }
        return;
    }
    Stretch<T> const from = stretch<Taps>(unit, piece * N, at.quotient, at.remainder);
    store(unit.y + piece * N, convolved<Taps>(unit, from, by_channels(at.quotient).remainder));
}

template <int Taps, class T>
static void convolve(DeviceRun& run, CausalConvUnit<T> const& unit, int64_t outputs, int64_t units)
{
    constexpr int N = kPack<T>;
    int64_t const length = unit.p.length, packs = outputs / N, pieces = packs + units - packs * N;
    Divisor const by_channels(unit.p.channels);
    if (length % N == 0)
    {
        convolve_whole_packs<Taps><<<unsigned(blocks_for(pieces, kThreads * kPacks)), kThreads, 0, run.stream>>>(
            unit, uint32_t(packs), units, Divisor(length / N), by_channels);
    }
    else
    {
        convolve_packs<Taps><<<unsigned(blocks_for(pieces)), kThreads, 0, run.stream>>>(
            unit, packs, units, Divisor(length), by_channels);
    }
    run.status = cudaGetLastError();
}

//! Starts the fast kernel; false where it does not apply.
static bool convolve(DeviceRun& run, CausalConvParams const& p, DataType type, void const* x, void const* weight,
    void const* bias, void const* past, void* y, void* present)
{
    int64_t const lines = p.batch * p.channels, outputs = lines * p.length, units = lines * (p.length + p.kernel - 1);
    int64_t const pack = 16 / size_of(type);
    // Lines that end within a pack cost a slow thread each: long ones do not mind.
    bool const fits = p.length % pack == 0 || p.length >= 8 * pack;
    if (p.kernel < 2 || p.kernel > 4 || outputs == 0 || !fits || !aligned(x, weight, y)
        || units > int64_t(kMaxGrid) * pack || !Divisor::exact(outputs, p.length) || !Divisor::exact(lines, p.channels))
    {
        return false;
    }
    return with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            CausalConvUnit<T> const unit{p, static_cast<T const*>(x), static_cast<T const*>(weight),
                static_cast<T const*>(bias), static_cast<T const*>(past), static_cast<T*>(y), static_cast<T*>(present)};
            switch (p.kernel)
            {
            case 2: return convolve<2>(run, unit, outputs, units);
            case 3: return convolve<3>(run, unit, outputs, units);
            default: return convolve<4>(run, unit, outputs, units);
            }
        });
}

} // namespace trb

extern "C" cudaError_t trb_causal_conv_with_state(trb::CausalConvParams const* params, trb::DataType type,
    void const* x, void const* weight, void const* bias, void const* past, void* y, void* present,
    cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    bool const known = trb::convolve(run, *params, type, x, weight, bias, past, y, present)
                       || trb::causal_conv(run, *params, type, x, weight, bias, past, y, present);
    return known ? run.status : cudaErrorInvalidValue;
}
