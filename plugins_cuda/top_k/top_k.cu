// TopK on the device, for any K. Four ways, chosen from the sizes alone:
//
//   rank    short lines: for each element, count those that come before it; one launch.
//   search  few lines: the whole GPU finds the K-th winner of each line, 11 bits of (key, place) per pass; the winners
//           are collected and put into order. Of long lines a sample is taken first, to guess a bound that holds the
//           winners and few others: then the data is read once. Where the sample misled, the passes are made after all.
//   select  many lines: the same without samples, a block per line.
//   sort    K above half of the line, or one line of 16-bit values that is not long: CUB sorts all of it.
//
// Traffic: `rank`, and `search` with a right guess, read the data once; without one once per pass of 11 bits. A sort
// moves keys of 2, 4 or 8 bytes and places of 4 through memory about 2, 4 or 8 times.
// Deterministic: yes: no two elements have the same key and place, and CUB's radix sort is stable.
#include "top_k.h"

#include "../common/kernel.cuh"
#include "top_k_lines.cuh"
#include "top_k_rank.cuh"
#include "top_k_select.cuh"
#include "top_k_sort.cuh"

#include <cub/device/device_select.cuh>
#include <thrust/iterator/counting_iterator.h>

namespace trb
{

constexpr int64_t kRankLength = 2048;         // comparing all with all is quadratic
constexpr int64_t kRankComparisons = 1 << 28; // about 40 us of an H200
constexpr int64_t kPiecedElements = 16384;    // more winners are sorted by CUB
constexpr int64_t kFewLines = 256;            // more fill a GPU with one block each
constexpr int64_t kSampledLength = 1 << 23;   // below, reading the line again costs less than a sample
constexpr int64_t kSampleBits = 18;           // elements of a sample, as a power of two
constexpr int64_t kElementsOfBlock = 512 * 4; // at least so many elements for a block of the search
constexpr int64_t kSortedLength = 1 << 20;    // up to here CUB sorts 16-bit keys before a search has made its passes
constexpr int64_t kSearchBlocks = 512;

enum class Way
{
    kRank,
    kSearch,
    kSelect,
    kSort,
};

inline Way way_of(TopKParams const& p, int key_bytes)
{
    if (p.length <= kRankLength && p.lines() * p.length <= kRankComparisons / p.length)
    {
        return Way::kRank;
    }
    bool const two_passes = key_bytes == 2 && p.lines() == 1 && p.length <= kSortedLength;
    if (p.k > p.length / 2 || two_passes)
    {
        return Way::kSort;
    }
    return p.lines() <= kFewLines ? Way::kSearch : Way::kSelect;
}

//! Takes orders apart.
template <class T>
struct SplitUnit
{
    Lines<T> lines;
    Order<T> const* orders;
    SortKey<T>* keys;
    int32_t* places;

    __device__ void operator()(int64_t index) const
    {
        keys[index] = SortKey<T>(orders[index] >> lines.place_bits);
        places[index] = lines.place(orders[index]);
    }
};

//! Fills the keys of places that are known.
template <class T>
struct KeysOfPlacesUnit
{
    TopKParams p;
    T const* x;
    int32_t const* places;
    SortKey<T>* keys;

    TRB_HD void operator()(int64_t index) const
    {
        keys[index] = sort_key(x[p.offset(divide(index, p.k).quotient, places[index], p.length)], p.largest);
    }
};

//! One call, or, with `run` null, the count of its scratch.
template <class T>
struct TopKCall
{
    using Key = SortKey<T>;

    TopKParams p;
    Lines<T> lines;
    T* values;
    int64_t* indices;
    Scratch scratch;
    DeviceRun* run;
    cudaError_t status = cudaSuccess;

    TopKCall(TopKParams const& params, T const* x, T* to_values, int64_t* to_indices, void* workspace, DeviceRun* on)
        : p(params)
        , lines{params, 0, x}
        , values(to_values)
        , indices(to_indices)
        , scratch{static_cast<char*>(workspace)}
        , run(on)
    {
        while ((p.length - 1) >> lines.place_bits > 0)
        {
            ++lines.place_bits;
        }
        Way const way = way_of(p, int(sizeof(T)));
        if (run != nullptr && workspace == nullptr && way != Way::kRank)
        {
            status = cudaErrorInvalidValue;
            return;
        }
        switch (way)
        {
        case Way::kRank: rank(); break;
        case Way::kSearch: search(); break;
        case Way::kSelect: select(); break;
        case Way::kSort: sort(); break;
        }
        status = run != nullptr && status == cudaSuccess ? run->status : status;
    }

    unsigned rows() const
    {
        return unsigned(p.lines() < 65535 ? p.lines() : 65535);
    }

    void rank()
    {
        int64_t const own = kRankThreads / kRankLanes;
        launch(rank_lines<T>, dim3(unsigned((p.length + own - 1) / own), rows()), kRankThreads, lines, values, indices);
    }

    //! Writes the first k of at most `count` candidates per line.
    template <class Source>
    void merge(Source const& source, int64_t count)
    {
        auto const blocks = [&](int64_t of) { return dim3(unsigned((count + of - 1) / of), rows()); };
        launch(sort_pieces<T, Source>, blocks(kPieceSize), kRankThreads, lines, source);
        launch(merge_pieces<T, Source>, blocks(kRankThreads), kRankThreads, lines, source, values, indices);
    }

    void search()
    {
        SearchPlan<T> plan{};
        plan.searches = scratch.take<Search<Order<T>>>(p.lines());
        plan.guesses = scratch.take<Search<Order<T>>>(p.lines());
        plan.histograms = scratch.take<uint32_t>(p.lines() * kDigits);
        if (p.k > kPiecedElements)
        {
            sort_winners(plan);
            return;
        }
        plan.capacity = int32_t(p.k);
        if (p.length >= kSampledLength && p.k <= p.length / 32)
        {
            // The guess takes five deviations more than the sample should hold, so that it misses no winner.
            plan.stride = int32_t(p.length >> kSampleBits);
            double const expected = double(p.k) / plan.stride;
            plan.sample_rank = int32_t(expected + 5 * std::sqrt(expected) + 4);
            plan.capacity = int32_t(2.5 * plan.sample_rank * plan.stride);
        }
        plan.candidates = scratch.take<Order<T>>(p.lines() * plan.capacity);
        find_winners(plan);
        launch(collect_lines<T>, grid(), kSelectThreads, lines, plan);
        merge(Found<T>{plan}, plan.capacity);
    }

    dim3 grid() const
    {
        int64_t const useful = (p.length + kElementsOfBlock - 1) / kElementsOfBlock;
        int64_t const shared = (kSearchBlocks + p.lines() - 1) / p.lines();
        return dim3(unsigned(useful < shared ? useful : shared), unsigned(p.lines()));
    }

    //! Leaves in plan.searches which elements win, or the candidates of a right guess.
    void find_winners(SearchPlan<T> const& plan)
    {
        if (run == nullptr)
        {
            return;
        }
        run->zero(plan.searches,
            reinterpret_cast<char*>(plan.histograms + p.lines() * kDigits) - reinterpret_cast<char*>(plan.searches));
        if (plan.stride > 0)
        {
            dim3 const some(64, unsigned(p.lines()));
            narrow<true>(4, dim3(64, unsigned(p.lines())), plan); // enough digits for a bound that is good enough
            launch(filter_lines<T>, grid(), kSelectThreads, lines, plan);
        }
        narrow<false>(lines.order_bits(), grid(), plan);
    }

    //! At most `digits` passes.
    template <bool kSampled>
    void narrow(int digits, dim3 blocks, SearchPlan<T> const& plan)
    {
        for (int shift = lines.order_bits(); shift > 0 && digits > 0; --digits)
        {
            int const bits = shift < kDigitBits ? shift : kDigitBits;
            shift -= bits;
            launch(narrow_lines<kSampled, T>, blocks, kSelectThreads, lines, plan, shift, bits);
        }
    }

    //! The winners of each line in the order of their places, then sorted by key.
    void sort_winners(SearchPlan<T> const& plan)
    {
        SortPlan<Key> sorting(scratch, p.lines(), p.k, status);
        thrust::counting_iterator<int32_t> const all(0);
        int32_t* const kept = scratch.take<int32_t>(1);
        size_t bytes = 0;
        if (status == cudaSuccess)
        {
            status = cub::DeviceSelect::If(
                nullptr, bytes, all, sorting.places, kept, p.length, Wins<T>{lines, 0, plan.searches});
        }
        void* const temporary = scratch.take<char>(int64_t(bytes));
        find_winners(plan);
        for (int64_t line = 0; run != nullptr && line < p.lines() && run->status == cudaSuccess; ++line)
        {
            run->status = cub::DeviceSelect::If(temporary, bytes, all, sorting.places + line * p.k, kept, p.length,
                Wins<T>{lines, line, plan.searches}, run->stream);
        }
        if (run != nullptr)
        {
            (*run)(KeysOfPlacesUnit<T>{p, lines.x, sorting.places, sorting.keys}, p.lines() * p.k);
        }
        finish(sorting);
    }

    void select()
    {
        Order<T>* const winners = scratch.take<Order<T>>(p.lines() * p.k);
        unsigned const blocks = unsigned(p.lines() < kMaxBlocks ? p.lines() : kMaxBlocks);
        launch(select_lines<T>, dim3(blocks), kSelectThreads, lines, winners);
        if (p.k <= kPiecedElements)
        {
            merge(Winners<T>{winners}, p.k);
            return;
        }
        SortPlan<Key> sorting(scratch, p.lines(), p.k, status);
        if (run != nullptr)
        {
            (*run)(SplitUnit<T>{lines, winners, sorting.keys, sorting.places}, p.lines() * p.k);
        }
        finish(sorting);
    }

    void sort()
    {
        SortPlan<Key> sorting(scratch, p.lines(), p.length, status);
        if (run != nullptr)
        {
            (*run)(TopKKeyUnit<T>{p, lines.x, sorting.keys, sorting.places}, p.lines() * p.length);
        }
        finish(sorting);
    }

    //! Sorts, and writes the first k of each line.
    void finish(SortPlan<Key>& sorting)
    {
        if (run == nullptr || run->status != cudaSuccess)
        {
            return;
        }
        run->status = sorting(run->stream);
        (*run)(TopKWriteUnit<T>{p, lines.x, sorting.sorted_places, sorting.length, values, indices}, p.lines() * p.k);
    }

    template <class... Parameters, class... Arguments>
    void launch(void (*kernel)(Parameters...), dim3 blocks, int threads, Arguments const&... arguments)
    {
        if (run != nullptr && run->status == cudaSuccess)
        {
            kernel<<<blocks, threads, 0, run->stream>>>(arguments...);
            run->status = cudaGetLastError();
        }
    }
};

} // namespace trb

extern "C" int64_t trb_top_k_workspace(trb::TopKParams const* params, trb::DataType type) noexcept
{
    int64_t bytes = 0;
    if (params->lines() > 0 && params->k > 0)
    {
        trb::with_number(type,
            [&](auto element)
            {
                trb::TopKCall<decltype(element)> const call(*params, nullptr, nullptr, nullptr, nullptr, nullptr);
                bytes = call.status == cudaSuccess ? call.scratch.used : -1;
            });
    }
    return bytes;
}

extern "C" cudaError_t trb_top_k(trb::TopKParams const* params, trb::DataType type, void const* x, void* values,
    void* indices, void* workspace, cudaStream_t stream) noexcept
{
    trb::DeviceRun run{stream};
    bool const known = trb::with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            if (params->lines() > 0 && params->k > 0)
            {
                trb::TopKCall<T> const call(*params, static_cast<T const*>(x), static_cast<T*>(values),
                    static_cast<int64_t*>(indices), workspace, &run);
                run.status = call.status;
            }
        });
    return known ? run.status : cudaErrorInvalidValue;
}
