// TopK on the device, for any K. Four ways, chosen from the sizes alone:
//
//   rank    few elements: for each, count those that come before it; one launch.
//   search  few lines: the whole GPU finds the K-th winner of each line, 11 bits of (key, place) per pass; the winners
//   are
//           collected and put into order. Long lines are first filtered by a bound guessed from a sample, so that the
//           data is read once; where the sample misled, the passes read the data itself.
//   select  many lines: the same with a block per line, then a sort of the winners.
//   sort    K above half of the line: CUB sorts all of it.
//
// Traffic: `rank` and `search` with a good guess read the data once and `search` without one up to once per 11 bits;
// sorting
//       moves keys of 2, 4 or 8 bytes and places of 4 through memory about 2, 4 or 8 times.
// Deterministic: yes: no two elements have the same key and place, and CUB's radix sort is stable.
#include "top_k.h"

#include "../common/kernel.cuh"
#include "top_k_rank.cuh"
#include "top_k_select.cuh"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>
#include <cub/device/device_select.cuh>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

namespace trb
{

constexpr int64_t kRankElements = 8192;        // counting is quadratic
constexpr int64_t kRankComparisons = 1 << 28;  // about 40 us of an H200
constexpr int64_t kFewLines = 256;             // more fill a GPU with one block each
constexpr int64_t kSampledLength = 1 << 21;    // below, reading the line again costs less than a sample
constexpr int64_t kSortedAlone = 1 << 17;      // lines from here on are sorted by the whole GPU, one after the other
constexpr int64_t kElementsOfBlock = 512 * 16; // at least so many elements for a block of the search
constexpr int64_t kSearchBlocks = 512;

enum class Way
{
    kRank,
    kSearch,
    kSelect,
    kSort,
};

inline Way way_of(TopKParams const& p)
{
    if (p.length <= kRankElements && p.lines() * p.length <= kRankComparisons / p.length)
    {
        return Way::kRank;
    }
    if (p.k > p.length / 2)
    {
        return Way::kSort;
    }
    return p.lines() <= kFewLines ? Way::kSearch : Way::kSelect;
}

//! Hands out parts of the workspace; without a workspace it only counts.
struct Scratch
{
    char* base;
    int64_t used = 0;

    template <class V>
    V* take(int64_t count)
    {
        V* const taken = reinterpret_cast<V*>(base + used);
        used += (count * int64_t(sizeof(V)) + 255) / 256 * 256;
        return taken;
    }
};

struct LineStart
{
    int64_t length;

    __host__ __device__ int64_t operator()(int64_t line) const
    {
        return line * length;
    }
};

//! Sorts lines of keys and places; with `temporary` null it only says how many bytes that needs.
template <class Key>
cudaError_t sort_lines(void* temporary, size_t& bytes, Key const* keys, Key* sorted_keys, int32_t const* places,
    int32_t* sorted_places, int64_t lines, int64_t length, cudaStream_t stream)
{
    // CUB counts the elements of a segmented sort in 32 bits, so more than 2^31 of them go in several calls.
    auto const starts = thrust::make_transform_iterator(thrust::make_counting_iterator(int64_t(0)), LineStart{length});
    bool const alone = lines == 1 || length >= kSortedAlone;
    int64_t const fitting = alone ? 1 : INT32_MAX / length, chunk = fitting < lines ? fitting : lines;
    int const bits = 8 * int(sizeof(Key));
    cudaError_t status = cudaSuccess;
    for (int64_t line = 0; line < lines && status == cudaSuccess; line += chunk)
    {
        int64_t const count = lines - line < chunk ? lines - line : chunk, at = line * length;
        status =
            alone ? cub::DeviceRadixSort::SortPairs(temporary, bytes, keys + at, sorted_keys + at, places + at,
                        sorted_places + at, length, 0, bits, stream)
                  : cub::DeviceSegmentedRadixSort::SortPairs(temporary, bytes, keys + at, sorted_keys + at, places + at,
                        sorted_places + at, int(count * length), int(count), starts, starts + 1, 0, bits, stream);
        if (temporary == nullptr)
        {
            break; // the first chunk is the largest: its need is the need
        }
    }
    return status;
}

//! Keys and places of `lines` lines of `length` elements, and room to sort them.
template <class Key>
struct SortPlan
{
    int64_t lines, length;
    Key *keys, *sorted_keys;
    int32_t *places, *sorted_places;
    size_t bytes = 0;
    void* temporary;

    SortPlan(Scratch& scratch, int64_t line_count, int64_t line_length, cudaError_t& status)
        : lines(line_count), length(line_length)
    {
        keys = scratch.take<Key>(lines * length);
        sorted_keys = scratch.take<Key>(lines * length);
        places = scratch.take<int32_t>(lines * length);
        sorted_places = scratch.take<int32_t>(lines * length);
        status = sort_lines<Key>(nullptr, bytes, keys, sorted_keys, places, sorted_places, lines, length, nullptr);
        temporary = scratch.take<char>(int64_t(bytes));
    }

    cudaError_t operator()(cudaStream_t stream)
    {
        return sort_lines(temporary, bytes, keys, sorted_keys, places, sorted_places, lines, length, stream);
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
        Way const way = way_of(p);
        if (run != nullptr && workspace == nullptr && way != Way::kRank)
        {
            status = cudaErrorInvalidValue;
            return;
        }
        switch (way)
        {
        case Way::kRank: rank(WholeLine<T>{lines}, p.length); break;
        case Way::kSearch: search(); break;
        case Way::kSelect: select(); break;
        case Way::kSort: sort(); break;
        }
        status = run != nullptr && status == cudaSuccess ? run->status : status;
    }

    template <class Source>
    void rank(Source const& source, int64_t count)
    {
        int64_t const own = kRankThreads / kRankLanes, rows = p.lines() < 65535 ? p.lines() : 65535;
        launch(rank_lines<T, Source>, dim3(unsigned((count + own - 1) / own), unsigned(rows)), kRankThreads, lines,
            source, int32_t(count), values, indices);
    }

    void search()
    {
        SearchPlan<T> plan = search_plan();
        bool const sorts = p.k > kRankElements;
        if (sorts)
        {
            sort_winners(plan);
        }
        else
        {
            plan.winners = scratch.take<Order<T>>(p.lines() * p.k);
            find_winners(plan);
            launch(collect_lines<T>, grid(), kSelectThreads, lines, plan);
            rank(Collected<T>{plan.winners, p.k}, p.k);
        }
    }

    dim3 grid() const
    {
        int64_t const useful = (p.length + kElementsOfBlock - 1) / kElementsOfBlock;
        int64_t const shared = (kSearchBlocks + p.lines() - 1) / p.lines();
        return dim3(unsigned(useful < shared ? useful : shared), unsigned(p.lines()));
    }

    SearchPlan<T> search_plan()
    {
        SearchPlan<T> plan{};
        plan.searches = scratch.take<Search<Order<T>>>(p.lines());
        plan.histograms = scratch.take<uint32_t>(p.lines() * kDigits);
        if (p.length >= kSampledLength && p.k <= p.length / 32)
        {
            // The guess takes five deviations more than the sample should hold, so that it misses no winner.
            double const each = double(p.length) / kSamples<T>, expected = double(p.k) / each;
            plan.sample_rank = int32_t(expected + 5 * std::sqrt(expected) + 4);
            plan.capacity = int32_t(2.5 * plan.sample_rank * each);
            plan.survivors = scratch.take<Order<T>>(p.lines() * plan.capacity);
        }
        return plan;
    }

    //! Leaves in plan.searches which elements win.
    void find_winners(SearchPlan<T> const& plan)
    {
        if (run == nullptr)
        {
            return;
        }
        run->zero(plan.searches,
            reinterpret_cast<char*>(plan.histograms + p.lines() * kDigits) - reinterpret_cast<char*>(plan.searches));
        if (plan.capacity > 0)
        {
            launch(sample_lines<T>, dim3(unsigned(p.lines())), kSampleThreads, lines, plan);
            launch(filter_lines<T>, dim3(8 * grid().x, grid().y), kSelectThreads, lines, plan);
        }
        for (int shift = lines.order_bits(), bits = 0; shift > 0;)
        {
            bits = shift < kDigitBits ? shift : kDigitBits;
            shift -= bits;
            launch(narrow_lines<T>, grid(), kSelectThreads, lines, plan, shift, bits);
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
        SortPlan<Key> sorting(scratch, p.lines(), p.k, status);
        unsigned const blocks = unsigned(p.lines() < kMaxBlocks ? p.lines() : kMaxBlocks);
        launch(select_lines<T>, dim3(blocks), kSelectThreads, lines, sorting.keys, sorting.places);
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
