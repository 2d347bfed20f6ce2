// Finding the K-th winner of each line without sorting it, one digit of the order at a time.
#pragma once

#include "top_k_math.h"
#include "top_k_visit.cuh"

#include <cub/block/block_scan.cuh>
#include <cuda_runtime_api.h>

namespace trb
{

constexpr int kDigitBits = 11; // a histogram of 2048 counters is 8 KiB of shared memory
constexpr int kDigits = 1 << kDigitBits;
constexpr int kSelectThreads = 512;
constexpr unsigned kWarp = 0xffffffffu;

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

    //! The last key that an element within the bound can have.
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
    int32_t before;         // elements whose prefix is below that of `winners`
    int32_t done;           // no further digit is needed
    uint32_t arrived;       // blocks that have counted in this pass
    uint32_t guessed;       // elements within the bound that was guessed
    uint32_t collected;     // winners, where the guess was wrong
};

// --- one digit ---

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

// --- few lines: the whole GPU on each ---

//! Scratch of the search, and what it needs to know besides the lines.
template <class T>
struct SearchPlan
{
    Search<Order<T>>* searches; // [lines]
    Search<Order<T>>* guesses;  // [lines]: searches within a sample
    uint32_t* histograms;       // [lines, kDigits], all zero between passes
    int32_t stride;             // one of so many packs (of 16 bytes) or elements is in the sample; 0: no guess is made
    int32_t sample_rank;        // the sample's element of this rank bounds the guess
    int32_t capacity;
    Order<T>* candidates; // [lines, capacity]: what is within the guess if that is right, else the winners; in no order

    //! A guess is right if it holds all winners and no more than fits.
    __device__ bool guessed_right(Lines<T> const& lines, int64_t line) const
    {
        uint32_t const guessed = searches[line].guessed;
        return guessed >= uint32_t(lines.p.k) && guessed <= uint32_t(capacity);
    }

    __device__ int32_t count(Lines<T> const& lines, int64_t line) const
    {
        return int32_t(guessed_right(lines, line) ? searches[line].guessed : uint32_t(lines.p.k));
    }
};

//! Appends the elements of a line that are within `bound` to `to`, at most `capacity`, and counts them in `counter`. A
//! block gathers its own in shared memory first, so that blocks seldom meet at the counter.
template <class T>
__device__ void collect(Lines<T> const& lines, int64_t line, Bound<Order<T>> const& bound, uint32_t* counter,
    Order<T>* to, uint32_t capacity)
{
    constexpr uint32_t kOwn = 16384 / sizeof(Order<T>);
    __shared__ Order<T> own[kOwn];
    __shared__ uint32_t count, base;
    if (threadIdx.x == 0)
    {
        count = 0;
    }
    __syncthreads();
    auto const keep = [&](Order<T> order)
    {
        if (uint32_t const at = atomicAdd(&count, 1u); at < kOwn)
        {
            own[at] = order;
        }
        else if (*static_cast<uint32_t volatile*>(counter) <= capacity) // full: keep off the counter
        {
            uint32_t const place = atomicAdd(counter, 1u);
            if (place < capacity)
            {
                to[place] = order;
            }
        }
    };
    auto const worst = lines.worst(bound);
    visit(lines.line(line), lines.p.inner, int32_t(lines.p.length), int64_t(blockIdx.x) * kSelectThreads + threadIdx.x,
        int64_t(gridDim.x) * kSelectThreads,
        [&](auto const& taken, int32_t place, bool exists)
        {
            uint32_t hits = 0;
            TRB_UNROLL
            for (int i = 0; i < taken.kSize; ++i)
            {
                hits |= uint32_t(sort_key(taken.values[i], lines.p.largest) <= worst) << i;
            }
            if (!exists || hits == 0)
            {
                return;
            }
            TRB_UNROLL
            for (int i = 0; i < taken.kSize; ++i)
            {
                auto const order = lines.order(taken.values[i], place + i);
                if ((hits >> i & 1) && bound.holds(order))
                {
                    keep(order);
                }
            }
        });
    __syncthreads();
    uint32_t const kept = count < kOwn ? count : kOwn;
    if (threadIdx.x == 0 && kept > 0)
    {
        base = atomicAdd(counter, kept);
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kept && base + i < capacity; i += kSelectThreads)
    {
        to[base + i] = own[i];
    }
}

//! Collects the elements within the guess.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) filter_lines(Lines<T> lines, SearchPlan<T> plan)
{
    int64_t const line = blockIdx.y;
    Search<Order<T>>& search = plan.searches[line];
    collect(lines, line, plan.guesses[line].winners, &search.guessed, plan.candidates + line * plan.capacity,
        uint32_t(plan.capacity));
}

//! Collects the winners, unless they are among the guessed.
template <class T>
__global__ void __launch_bounds__(kSelectThreads) collect_lines(Lines<T> lines, SearchPlan<T> plan)
{
    int64_t const line = blockIdx.y;
    Search<Order<T>>& search = plan.searches[line];
    if (!plan.guessed_right(lines, line))
    {
        collect(lines, line, search.winners, &search.collected, plan.candidates + line * plan.capacity,
            uint32_t(lines.p.k));
    }
}

//! Counts the next digit of all elements (kSampled: of the sample) that match so far; the last block to finish chooses
//! the digit. Does nothing if no digit is wanted any more, or if the guess was right.
template <bool kSampled, class T>
__global__ void __launch_bounds__(kSelectThreads) narrow_lines(Lines<T> lines, SearchPlan<T> plan, int shift, int bits)
{
    __shared__ uint32_t histogram[kDigits];
    __shared__ bool last;
    int64_t const line = blockIdx.y;
    Search<Order<T>>& search = (kSampled ? plan.guesses : plan.searches)[line];
    if (search.done || (!kSampled && plan.guessed_right(lines, line)))
    {
        return;
    }
    for (int i = int(threadIdx.x); i < kDigits; i += kSelectThreads)
    {
        histogram[i] = 0;
    }
    __syncthreads();
    Order<T> const prefix = search.winners.prefix;
    auto const count = [&](auto const& taken, int32_t place, bool exists)
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
    };
    T const* const x = lines.line(line);
    int32_t const length = int32_t(lines.p.length);
    int64_t const thread = int64_t(blockIdx.x) * kSelectThreads + threadIdx.x;
    int64_t const threads = int64_t(gridDim.x) * kSelectThreads;
    if constexpr (kSampled)
    {
        visit_sample(x, lines.p.inner, length, plan.stride, thread, threads, count);
    }
    else
    {
        visit(x, lines.p.inner, length, thread, threads, count);
    }
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
    int32_t const rank = kSampled ? plan.sample_rank : int32_t(lines.p.k), wanted = rank - search.before;
    int32_t const slack = kSampled ? rank / 4 : 0; // a guess need not be exact
    Digit const digit = digit_of<kSelectThreads>(histogram, wanted);
    if (threadIdx.x == 0)
    {
        search.winners = {prefix << bits | Order<T>(uint32_t(digit.value)), shift};
        search.before += digit.before;
        search.done = digit.before + digit.holding - wanted <= slack;
        search.arrived = 0;
    }
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

} // namespace trb
