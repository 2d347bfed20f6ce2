// Finding the K-th winner of each line without sorting it, one digit of the order at a time.
#pragma once

#include "../common/pack.cuh"
#include "top_k_math.h"

#include <cub/block/block_scan.cuh>
#include <cuda_runtime_api.h>

namespace trb
{

constexpr int kDigitBits = 11; // a histogram of 2048 counters is 8 KiB of shared memory
constexpr int kDigits = 1 << kDigitBits;
constexpr int kSelectThreads = 512;
constexpr int kSampleThreads = 1024;
constexpr unsigned kWarp = 0xffffffffu;

template <class T>
constexpr int kSamples = (sizeof(T) == 8 ? 8 : 16) * kSampleThreads; // what stays in registers

//! Key above, place below: one integer that is smaller for the better element, and the same for no two of a line.
template <class T>
using Order = std::conditional_t<sizeof(T) == 8, unsigned __int128, uint64_t>;

//! A set of elements: those whose order, without its lowest `shift` bits, is at most `prefix`.
template <class Integer>
struct Bound
{
    Integer prefix;
    int32_t shift;

    __device__ bool holds(Integer order) const
    {
        return (order >> shift) <= prefix;
    }
};

//! The input, seen line by line.
template <class T>
struct Lines
{
    TopKParams p;
    int32_t place_bits; // as many as the places of a line need
    T const* x;

    __host__ __device__ int order_bits() const
    {
        return 8 * int(sizeof(T)) + place_bits;
    }

    __device__ T const* line(int64_t line) const
    {
        return x + p.offset(line, 0, p.length);
    }

    __device__ Order<T> order(T value, int32_t place) const
    {
        return Order<T>(sort_key(value, p.largest)) << place_bits | Order<T>(uint32_t(place));
    }

    __device__ Order<T> order(Order<T> known, int32_t) const
    {
        return known;
    }

    //! Whether a value can be within a bound whose worst key is `worst`: cheaper than to form its order.
    __device__ bool maybe(T value, SortKey<T> worst) const
    {
        return sort_key(value, p.largest) <= worst;
    }

    __device__ bool maybe(Order<T>, SortKey<T>) const
    {
        return true;
    }

    __device__ SortKey<T> worst(Bound<Order<T>> const& bound) const
    {
        return SortKey<T>((((bound.prefix + 1) << bound.shift) - 1) >> place_bits);
    }

    __device__ int32_t place(Order<T> order) const
    {
        return int32_t(uint32_t(order) & ((1u << place_bits) - 1));
    }
};

//! What is known of one line; all zero at the start.
template <class Integer>
struct Search
{
    Bound<Integer> winners; // after the last pass: exactly these
    Bound<Integer> guess;   // from a sample: probably all winners and few others
    int32_t before;         // elements whose prefix is below that of `winners`
    int32_t done;           // no further digit is needed
    uint32_t arrived;       // blocks that have counted in this pass
    uint32_t survivors;     // elements within the guess; more than fit: the guess was wrong
    uint32_t collected;
};

// --- reading a line
// ---------------------------------------------------------------------------------------------------

//! body(Pack, place of its first element, whether it exists) for a whole line, shared out among `threads` threads. The
//! threads of a warp stay together. Reads 16 bytes at a time, four times at once, where elements are neighbours.
template <class T, class Body>
__device__ void visit(T const* x, int64_t step, int32_t length, int64_t thread, int64_t threads, Body&& body)
{
    constexpr int kSize = 16 / int(sizeof(T)), kAtOnce = 4;
    int const lane = int(thread) & 31;
    auto const singly = [&](int64_t from, int64_t to)
    {
        for (int64_t i = from + thread; i - lane < to; i += threads)
        {
            Pack<T, 1> const one{{i < to ? x[i * step] : T{}}};
            body(one, int32_t(i), i < to);
        }
    };
    int64_t const unaligned = (16 - int64_t(reinterpret_cast<uintptr_t>(x) % 16)) % 16 / int64_t(sizeof(T));
    if (step != 1 || length < unaligned + kSize)
    {
        singly(0, length);
        return;
    }
    auto const* const packs = reinterpret_cast<Pack<T, kSize> const*>(x + unaligned);
    int64_t const count = (length - unaligned) / kSize;
    singly(0, unaligned);
    singly(unaligned + count * kSize, length);
    for (int64_t first = thread; first - lane < count; first += kAtOnce * threads)
    {
        Pack<T, kSize> some[kAtOnce] = {};
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            if (int64_t const at = first + i * threads; at < count)
            {
                some[i] = packs[at];
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            int64_t const at = first + i * threads;
            body(some[i], int32_t(unaligned + at * kSize), at < count);
        }
    }
}

// --- one digit
// --------------------------------------------------------------------------------------------------------

struct Digit
{
    int32_t value;
    int32_t before;  // elements with a lower digit
    int32_t holding; // elements with this digit
};

//! The digit that the `wanted`-th element has (counted from 1). All threads of the block call and get it.
template <int Threads>
__device__ Digit digit_of(uint32_t const* histogram, int32_t wanted)
{
    using Scan = cub::BlockScan<int32_t, Threads>;
    __shared__ typename Scan::TempStorage storage;
    __shared__ Digit found;
    constexpr int kOwn = kDigits / Threads;
    int32_t counts[kOwn], before = 0, own = 0;
    TRB_UNROLL
    for (int i = 0; i < kOwn; ++i)
    {
        counts[i] = int32_t(histogram[threadIdx.x * kOwn + i]);
        own += counts[i];
    }
    Scan(storage).ExclusiveSum(own, before);
    TRB_UNROLL
    for (int i = 0; i < kOwn; ++i)
    {
        if (before < wanted && wanted <= before + counts[i])
        {
            found = {int32_t(threadIdx.x) * kOwn + i, before, counts[i]};
        }
        before += counts[i];
    }
    __syncthreads();
    Digit const result = found;
    __syncthreads();
    return result;
}

//! The bound that holds the `wanted` best of what `each` gives to its body, and at most `slack` others; found by one
//! block.
template <int Threads, class Integer, class Each>
__device__ Bound<Integer> bound_in_block(Each&& each, int order_bits, int32_t wanted, int32_t slack)
{
    __shared__ uint32_t histogram[kDigits];
    Bound<Integer> bound{0, order_bits};
    int32_t before = 0;
    while (bound.shift > 0)
    {
        int const bits = bound.shift < kDigitBits ? bound.shift : kDigitBits, shift = bound.shift - bits;
        for (int i = int(threadIdx.x); i < kDigits; i += Threads)
        {
            histogram[i] = 0;
        }
        __syncthreads();
        each(
            [&](Integer order)
            {
                if (order >> bound.shift == bound.prefix)
                {
                    atomicAdd(&histogram[uint32_t(order >> shift) & ((1u << bits) - 1)], 1u);
                }
            });
        __syncthreads();
        Digit const digit = digit_of<Threads>(histogram, wanted - before);
        bound = {bound.prefix << bits | Integer(uint32_t(digit.value)), shift};
        before += digit.before;
        if (before + digit.holding - wanted <= slack)
        {
            break;
        }
    }
    return bound;
}

// --- few lines: the whole GPU on each
// ---------------------------------------------------------------------------------

//! Scratch of the search, and what it needs to know besides the lines.
template <class T>
struct SearchPlan
{
    Search<Order<T>>* searches; // [lines]
    uint32_t* histograms;       // [lines, kDigits], all zero between passes
    Order<T>* survivors;        // [lines, capacity]; capacity 0: no guess is made
    int32_t capacity;
    int32_t sample_rank; // the sample's element of this rank bounds the guess
    Order<T>* winners;   // [lines, k], in no order
};

//! Guesses a bound from a sample of each line: one element of each of equal stretches, at a random place of it, since
//! data often repeats itself.
template <class T>
__global__ void __launch_bounds__(kSampleThreads) sample_lines(Lines<T> lines, SearchPlan<T> plan)
{
    constexpr int kOwn = kSamples<T> / kSampleThreads;
    int64_t const line = blockIdx.x;
    T const* const x = lines.line(line);
    int32_t const stretch = int32_t(lines.p.length / (kOwn * kSampleThreads));
    Order<T> own[kOwn];
    TRB_UNROLL
    for (int i = 0; i < kOwn; ++i)
    {
        uint32_t const number = uint32_t(i * kSampleThreads) + threadIdx.x;
        uint32_t hash = number * 2654435761u;
        hash = (hash ^ hash >> 15) * 2246822519u;
        int32_t const place = int32_t(number) * stretch + int32_t((hash ^ hash >> 13) % uint32_t(stretch));
        own[i] = lines.order(x[place * lines.p.inner], place);
    }
    auto const each = [&](auto&& body)
    {
        TRB_UNROLL
        for (int i = 0; i < kOwn; ++i)
        {
            body(own[i]);
        }
    };
    auto const guess =
        bound_in_block<kSampleThreads, Order<T>>(each, lines.order_bits(), plan.sample_rank, plan.sample_rank / 4);
    if (threadIdx.x == 0)
    {
        plan.searches[line].guess = guess;
    }
}

//! Appends the orders within `bound` to `to`, at most `capacity`; a warp asks for its places once per pack.
template <class T, class Integer, class Taken>
__device__ void append(Lines<T> const& lines, Taken const& taken, int32_t place, bool exists,
    Bound<Integer> const& bound, uint32_t* counter, Integer* to, uint32_t capacity)
{
    auto const worst = lines.worst(bound);
    uint32_t hits = 0;
    TRB_UNROLL
    for (int i = 0; i < Taken::kSize; ++i)
    {
        hits |= uint32_t(exists && lines.maybe(taken.values[i], worst)) << i;
    }
    if (!__any_sync(kWarp, hits != 0))
    {
        return;
    }
    TRB_UNROLL
    for (int i = 0; i < Taken::kSize; ++i)
    {
        auto const order = lines.order(taken.values[i], place + i);
        bool const hit = (hits >> i & 1) && bound.holds(order);
        unsigned const all = __ballot_sync(kWarp, hit);
        int const lane = int(threadIdx.x) & 31;
        uint32_t base = 0;
        if (all != 0 && lane == 0
            && *static_cast<uint32_t volatile*>(counter) <= capacity) // full: keep off the counter
        {
            base = atomicAdd(counter, unsigned(__popc(all)));
        }
        else if (lane == 0)
        {
            base = capacity;
        }
        base = __shfl_sync(kWarp, base, 0) + unsigned(__popc(all & ((1u << lane) - 1)));
        if (hit && base < capacity)
        {
            to[base] = order;
        }
    }
}

//! Collects the elements within the guess.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) filter_lines(Lines<T> lines, SearchPlan<T> plan)
{
    int64_t const line = blockIdx.y;
    Search<Order<T>>& search = plan.searches[line];
    auto const guess = search.guess;
    visit(lines.line(line), lines.p.inner, int32_t(lines.p.length), int64_t(blockIdx.x) * kSelectThreads + threadIdx.x,
        int64_t(gridDim.x) * kSelectThreads,
        [&](auto const& taken, int32_t place, bool exists)
        {
            append(lines, taken, place, exists, guess, &search.survivors, plan.survivors + line * plan.capacity,
                uint32_t(plan.capacity));
        });
}

//! body(Pack of orders or of values, place, exists) for the survivors of a line if the guess was right, else for all of
//! it.
template <class T, class Body>
__device__ void visit_candidates(
    Lines<T> const& lines, SearchPlan<T> const& plan, Search<Order<T>> const& search, int64_t line, Body&& body)
{
    int64_t const thread = int64_t(blockIdx.x) * kSelectThreads + threadIdx.x;
    int64_t const threads = int64_t(gridDim.x) * kSelectThreads;
    uint32_t const survivors = search.survivors;
    if (survivors >= uint32_t(lines.p.k) && survivors <= uint32_t(plan.capacity))
    {
        visit(plan.survivors + line * plan.capacity, 1, int32_t(survivors), thread, threads, body);
    }
    else
    {
        visit(lines.line(line), lines.p.inner, int32_t(lines.p.length), thread, threads, body);
    }
}

//! Counts the next digit of all candidates that match so far; the last block to finish chooses the digit.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) narrow_lines(Lines<T> lines, SearchPlan<T> plan, int shift, int bits)
{
    __shared__ uint32_t histogram[kDigits];
    __shared__ bool last;
    int64_t const line = blockIdx.y;
    Search<Order<T>>& search = plan.searches[line];
    if (search.done)
    {
        return;
    }
    for (int i = int(threadIdx.x); i < kDigits; i += kSelectThreads)
    {
        histogram[i] = 0;
    }
    __syncthreads();
    Order<T> const prefix = search.winners.prefix;
    visit_candidates(lines, plan, search, line,
        [&](auto const& taken, int32_t place, bool exists)
        {
            TRB_UNROLL
            for (int i = 0; i < taken.kSize; ++i)
            {
                Order<T> const order = lines.order(taken.values[i], place + i);
                if (exists && order >> (shift + bits) == prefix)
                {
                    atomicAdd(&histogram[uint32_t(order >> shift) & ((1u << bits) - 1)], 1u);
                }
            }
        });
    __syncthreads();
    uint32_t* const total = plan.histograms + line * kDigits;
    for (int i = int(threadIdx.x); i < kDigits; i += kSelectThreads)
    {
        if (histogram[i] != 0)
        {
            atomicAdd(&total[i], histogram[i]);
        }
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
    {
        last = atomicAdd(&search.arrived, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last)
    {
        return;
    }
    __threadfence();
    for (int i = int(threadIdx.x); i < kDigits; i += kSelectThreads)
    {
        histogram[i] = __ldcg(&total[i]);
        total[i] = 0;
    }
    __syncthreads();
    int32_t const wanted = int32_t(lines.p.k) - search.before;
    Digit const digit = digit_of<kSelectThreads>(histogram, wanted);
    if (threadIdx.x == 0)
    {
        search.winners = {prefix << bits | Order<T>(uint32_t(digit.value)), shift};
        search.before += digit.before;
        search.done = digit.holding + digit.before == wanted;
        search.arrived = 0;
    }
}

//! Collects the winners, in no order.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) collect_lines(Lines<T> lines, SearchPlan<T> plan)
{
    int64_t const line = blockIdx.y;
    Search<Order<T>>& search = plan.searches[line];
    auto const bound = search.winners;
    visit_candidates(lines, plan, search, line,
        [&](auto const& taken, int32_t place, bool exists)
        {
            append(lines, taken, place, exists, bound, &search.collected, plan.winners + line * lines.p.k,
                uint32_t(lines.p.k));
        });
}

//! Whether a place of a line is among its winners: for CUB, which keeps the order of the places.
template <class T>
struct Wins
{
    Lines<T> lines;
    int64_t line;
    Search<Order<T>> const* searches;

    __device__ bool operator()(int32_t place) const
    {
        return searches[line].winners.holds(lines.order(lines.line(line)[place * lines.p.inner], place));
    }
};

// --- many lines: one block on each
// ------------------------------------------------------------------------------------

//! Keys and places of each line's winners, in the order of their places.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) select_lines(Lines<T> lines, SortKey<T>* keys, int32_t* places)
{
    using Scan = cub::BlockScan<int32_t, kSelectThreads>;
    __shared__ typename Scan::TempStorage storage;
    constexpr int kOwn = 4;
    TopKParams const p = lines.p;
    for (int64_t line = blockIdx.x; line < p.lines(); line += gridDim.x)
    {
        T const* const x = lines.line(line);
        auto const each = [&](auto&& body)
        {
            visit(x, p.inner, int32_t(p.length), threadIdx.x, kSelectThreads,
                [&](auto const& taken, int32_t place, bool exists)
                {
                    TRB_UNROLL
                    for (int i = 0; i < taken.kSize && exists; ++i)
                    {
                        body(lines.order(taken.values[i], place + i));
                    }
                });
        };
        auto const bound = bound_in_block<kSelectThreads, Order<T>>(each, lines.order_bits(), int32_t(p.k), 0);
        int64_t written = line * p.k;
        for (int64_t base = 0; base < p.length; base += kSelectThreads * kOwn)
        {
            Order<T> orders[kOwn];
            int32_t hits = 0, count = 0, before = 0, total = 0;
            TRB_UNROLL
            for (int i = 0; i < kOwn; ++i)
            {
                int64_t const place = base + int64_t(threadIdx.x) * kOwn + i;
                orders[i] = place < p.length ? lines.order(x[place * p.inner], int32_t(place)) : 0;
                int32_t const hit = place < p.length && bound.holds(orders[i]);
                hits |= hit << i;
                count += hit;
            }
            Scan(storage).ExclusiveSum(count, before, total);
            __syncthreads(); // before the storage is used again
            int64_t at = written + before;
            TRB_UNROLL
            for (int i = 0; i < kOwn; ++i)
            {
                if (hits >> i & 1)
                {
                    keys[at] = SortKey<T>(orders[i] >> lines.place_bits);
                    places[at++] = lines.place(orders[i]);
                }
            }
            written += total;
        }
    }
}

} // namespace trb
