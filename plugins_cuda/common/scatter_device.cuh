// The ways in which ScatterND and ScatterElements run on the device, chosen from the sizes alone:
//
//   atomics  the data is copied, then each update is combined into its place.
//   claims   plain writes: each row of the output notes its last update, then every row is written once.
//   sorted   the updates are sorted by target; each row of the output gathers its own, in order, and is written once.
//   No
//            copy, no atomics, no second visit. Where rows are few or narrow, only the targets are visited, after a
//            copy.
//   general  scatter() of scatter.h, for sizes beyond 32 bits.
#pragma once

#include "device_sort.cuh"
#include "pack.cuh"
#include "scatter.h"

namespace trb
{

constexpr int kAtOnce = 4;                   // independent chains of loads of one thread
constexpr int64_t kGatherBytes = 64;         // rows of fewer bytes are not worth a list of their updates
constexpr int64_t kSortingPays = 32ll << 20; // bytes of updates from which a sort is cheaper than atomics
constexpr int32_t kPiece = 64;               // updates of one target that one thread combines, if the order is free

//! Division by a number that is known before the launch, for values below 2^31: a multiplication and a shift.
struct FastDivision
{
    uint32_t by = 1, multiplier = 1, shift = 0;

    explicit FastDivision(int64_t divisor) : by(uint32_t(divisor))
    {
        while (shift < 31 && (1u << shift) < by)
        {
            ++shift;
        }
        multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - by)) / by + 1);
    }

    __device__ uint32_t operator()(uint32_t value) const
    {
        return (__umulhi(value, multiplier) + value) >> shift;
    }
};

// --- atomics
// ----------------------------------------------------------------------------------------------------------

template <Reduction How, class T, int N, class Target>
__global__ void __launch_bounds__(kThreads)
    scatter_packs(Target target, FastDivision per_row, uint32_t packs, T const* updates, T* y, int64_t total)
{
    uint32_t const threads = gridDim.x * kThreads, first = blockIdx.x * kThreads + threadIdx.x;
    for (uint32_t base = first; base < packs; base += kAtOnce * threads)
    {
        int64_t to[kAtOnce];
        Pack<T, N> pack[kAtOnce];
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            uint32_t const at = base + i * threads;
            to[i] = -1;
            if (at < packs)
            {
                uint32_t const row = per_row(at);
                pack[i] = reinterpret_cast<Pack<T, N> const*>(updates)[at];
                int64_t const where = target(row);
                to[i] = where < 0 ? -1 : where * per_row.by + (at - row * per_row.by);
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            if (to[i] < 0)
            {
                continue;
            }
            if constexpr (N == 1 && How == Reduction::kAdd)
            {
                add_one(y, to[i], total, pack[i].values[0]);
            }
            else
            {
                combine_pack<How>(reinterpret_cast<Pack<T, N>*>(y) + to[i], pack[i]);
            }
        }
    }
}

// --- gathering: every row of the output is written once
// ---------------------------------------------------------------

//! Positions [begin, end) in a list of updates.
struct Range
{
    int32_t begin, end;
};

//! At most one update per row: its number plus 1, or 0.
struct Claims
{
    int32_t const* claims;

    __device__ Range range(int64_t row) const
    {
        int32_t const claim = claims[row];
        return {claim - 1, claim - (claim == 0)};
    }

    __device__ int32_t update(int32_t position) const
    {
        return position;
    }
};

//! The updates of each row in a row, in order.
struct Runs
{
    Range const* ranges;
    int32_t const* rows;

    __device__ Range range(int64_t row) const
    {
        return ranges[row];
    }

    __device__ int32_t update(int32_t position) const
    {
        return rows[position];
    }
};

//! One update claims its target; the last one stays.
template <class Target>
struct ClaimUnit
{
    Target target;
    int32_t* claims;

    __device__ void operator()(int64_t row) const
    {
        if (int64_t const to = target(row); to >= 0)
        {
            atomicMax(claims + to, int32_t(row) + 1);
        }
    }
};

//! Notes where the run of each target begins and ends.
struct RangeUnit
{
    uint32_t const* keys; // sorted
    uint32_t nowhere;
    int64_t rows;
    Range* ranges;

    __device__ void operator()(int64_t position) const
    {
        uint32_t const key = keys[position];
        if (key == nowhere)
        {
            return;
        }
        if (position == 0 || keys[position - 1] != key)
        {
            ranges[key].begin = int32_t(position);
        }
        if (position == rows - 1 || keys[position + 1] != key)
        {
            ranges[key].end = int32_t(position) + 1;
        }
    }
};

//! Where the thread of a row stops if the order is free: the rest of its run is left to PieceUnit.
__device__ inline int32_t first_piece_end(Range range)
{
    int64_t const end = (int64_t(range.begin) / kPiece + (range.begin % kPiece != 0) + 1) * kPiece;
    return range.end < end ? range.end : int32_t(end);
}

template <Reduction How, class T, int N>
__device__ inline void combine_in_registers(Pack<T, N>& value, Pack<T, N> const& update)
{
    TRB_UNROLL
    for (int i = 0; i < N; ++i)
    {
        value.values[i] = narrow<T>(combined<How>(widen(value.values[i]), widen(update.values[i])));
    }
}

template <Reduction How, class T, int N, class List>
__global__ void __launch_bounds__(kThreads) gather_packs(List list, int64_t per_row, int64_t packs, bool in_order,
    Pack<T, N> const* data, Pack<T, N> const* updates, Pack<T, N>* y)
{
    int64_t const threads = int64_t(gridDim.x) * kThreads, first = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    for (int64_t base = first; base < packs; base += kAtOnce * threads)
    {
        Range range[kAtOnce];
        int64_t column[kAtOnce], update[kAtOnce];
        Pack<T, N> value[kAtOnce], other[kAtOnce];
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            int64_t const at = base + i * threads;
            range[i] = {0, 0};
            if (at < packs)
            {
                Division const by = divide(at, per_row);
                column[i] = by.remainder;
                range[i] = list.range(by.quotient);
                if (How != Reduction::kNone || range[i].begin >= range[i].end)
                {
                    value[i] = data[at];
                }
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            if (range[i].begin < range[i].end)
            {
                update[i] = list.update(How == Reduction::kNone ? range[i].end - 1 : range[i].begin);
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            if (range[i].begin < range[i].end)
            {
                other[i] = updates[update[i] * per_row + column[i]];
            }
        }
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            int64_t const at = base + i * threads;
            if (at >= packs)
            {
                continue;
            }
            if (range[i].begin < range[i].end)
            {
                combine_in_registers<How>(value[i], other[i]);
                int32_t const end = How == Reduction::kNone ? 0 : (in_order ? range[i].end : first_piece_end(range[i]));
                for (int32_t j = range[i].begin + 1; j < end; ++j)
                {
                    combine_in_registers<How>(value[i], updates[int64_t(list.update(j)) * per_row + column[i]]);
                }
            }
            y[at] = value[i];
        }
    }
}

//! One pack of kPiece updates in the midst of a long run, for reductions whose order is free. A piece starts at a
//! multiple of kPiece that lies at least kPiece after the start of its run, so at most one run has a piece there.
template <Reduction How, class T, int N>
struct PieceUnit
{
    Runs runs;
    uint32_t const* keys; // sorted
    uint32_t nowhere;
    int64_t per_row;
    Pack<T, N> const* updates;
    Pack<T, N>* y;

    __device__ void operator()(int64_t index) const
    {
        Division const at = divide(index, per_row);
        int64_t const position = at.quotient * kPiece;
        uint32_t const key = keys[position];
        if (key == nowhere)
        {
            return;
        }
        Range const range = runs.range(key);
        if (range.begin > position - kPiece)
        {
            return;
        }
        int32_t const end = range.end < position + kPiece ? range.end : int32_t(position) + kPiece;
        Pack<T, N> value = updates[int64_t(runs.update(int32_t(position))) * per_row + at.remainder];
        for (int32_t j = int32_t(position) + 1; j < end; ++j)
        {
            combine_in_registers<How>(value, updates[int64_t(runs.update(j)) * per_row + at.remainder]);
        }
        combine_pack<How>(y + int64_t(key) * per_row + at.remainder, value);
    }
};

// --- choosing
// ---------------------------------------------------------------------------------------------------------

enum class ScatterWay
{
    kAtomics,
    kClaims,
    kGather,
    kVisit,
    kGeneral,
};

inline ScatterWay way_of(ScatterParams const& p, DataType type)
{
    int64_t const places = p.width > 0 ? p.total / p.width : 0, updates = p.rows * p.width;
    if (p.rows >= INT32_MAX || updates >= INT32_MAX || places >= UINT32_MAX)
    {
        return ScatterWay::kGeneral;
    }
    bool const dense = p.rows >= places / 8, wide = p.width * size_of(type) >= kGatherBytes;
    if (p.reduction == Reduction::kNone && dense && (wide || p.in_order))
    {
        return ScatterWay::kClaims;
    }
    if (dense && wide && (p.in_order || updates * size_of(type) >= kSortingPays))
    {
        return ScatterWay::kGather;
    }
    return p.in_order ? ScatterWay::kVisit : ScatterWay::kAtomics;
}

//! Bytes of workspace; -1 if CUDA cannot say.
inline int64_t scatter_workspace(ScatterParams const& p, DataType type)
{
    int64_t const places = p.width > 0 ? p.total / p.width : 0;
    if (p.rows == 0 || p.total == 0)
    {
        return 0;
    }
    switch (way_of(p, type))
    {
    case ScatterWay::kAtomics: return 0;
    case ScatterWay::kClaims: return places * int64_t(sizeof(int32_t));
    case ScatterWay::kGeneral: return p.in_order ? sort_workspace<int64_t, int64_t>(p.rows) : 0;
    default: break;
    }
    int64_t const sort = sort_workspace<uint32_t, int32_t>(p.rows);
    return sort < 0 ? -1 : sort + aligned(way_of(p, type) == ScatterWay::kGather ? places * int64_t(sizeof(Range)) : 0);
}

//! One call of one reduction, type and size of pack.
template <Reduction How, class T, int N, class Target>
struct ScatterCall
{
    SortingDeviceRun& run;
    ScatterParams const& p;
    Target const& target;
    T const* data;
    T const* updates;
    T* y;
    int64_t places = p.total / p.width, per_row = p.width / N;

    static Pack<T, N> const* packs(T const* values)
    {
        return reinterpret_cast<Pack<T, N> const*>(values);
    }

    unsigned blocks(int64_t units) const
    {
        int64_t const needed = (units + kAtOnce * kThreads - 1) / (kAtOnce * kThreads);
        return unsigned(needed < kMaxBlocks ? needed : kMaxBlocks);
    }

    void atomics()
    {
        run.copy(y, data, p.total * int64_t(sizeof(T)));
        int64_t const count = p.rows * per_row;
        if (run.status == cudaSuccess && count > 0)
        {
            scatter_packs<How, T, N><<<blocks(count), kThreads, 0, run.stream>>>(
                target, FastDivision(per_row), uint32_t(count), updates, y, p.total);
            run.status = cudaGetLastError();
        }
    }

    template <class List>
    void gather(List const& list)
    {
        if (run.status == cudaSuccess)
        {
            gather_packs<How, T, N><<<blocks(places * per_row), kThreads, 0, run.stream>>>(list, per_row,
                places * per_row, p.in_order, packs(data), packs(updates), reinterpret_cast<Pack<T, N>*>(y));
            run.status = cudaGetLastError();
        }
    }

    void claims()
    {
        int32_t* const claims = static_cast<int32_t*>(run.workspace);
        run.zero(claims, places * int64_t(sizeof(int32_t)));
        run(ClaimUnit<Target>{target, claims}, p.rows);
        gather(Claims{claims});
    }

    //! use(keys, rows, nowhere) with the updates sorted by target.
    template <class Use>
    void sorted(Use&& use)
    {
        uint32_t const nowhere = uint32_t(places);
        run.template sorted<uint32_t, int32_t>(
            p.rows, nowhere, [&](uint32_t* keys, int32_t* rows)
            { run(ScatterKeyUnit<Target, uint32_t, int32_t>{target, nowhere, keys, rows}, p.rows); },
            [&](uint32_t const* keys, int32_t const* rows) { use(keys, rows, nowhere); });
    }

    void gather_sorted()
    {
        Range* const ranges = reinterpret_cast<Range*>(static_cast<char*>(run.workspace));
        run.zero(ranges, places * int64_t(sizeof(Range)));
        run.workspace = static_cast<char*>(run.workspace) + aligned(places * int64_t(sizeof(Range)));
        sorted(
            [&](uint32_t const* keys, int32_t const* rows, uint32_t nowhere)
            {
                Runs const runs{ranges, rows};
                run(RangeUnit{keys, nowhere, p.rows, ranges}, p.rows);
                gather(runs);
                if (!p.in_order)
                {
                    run(PieceUnit<How, T, N>{runs, keys, nowhere, per_row, packs(updates),
                            reinterpret_cast<Pack<T, N>*>(y)},
                        (p.rows + kPiece - 1) / kPiece * per_row);
                }
            });
    }

    void visit_sorted()
    {
        run.copy(y, data, p.total * int64_t(sizeof(T)));
        sorted([&](uint32_t const* keys, int32_t const* rows, uint32_t nowhere)
            { run(ScatterRunUnit<How, T, uint32_t, int32_t>{p, nowhere, keys, rows, updates, y}, p.rows * p.width); });
    }

    void operator()(ScatterWay way)
    {
        switch (way)
        {
        case ScatterWay::kAtomics: return atomics();
        case ScatterWay::kClaims: return claims();
        case ScatterWay::kGather:
            if constexpr (How != Reduction::kNone) // which takes claims instead
            {
                return gather_sorted();
            }
            break;
        case ScatterWay::kVisit: return visit_sorted();
        case ScatterWay::kGeneral: break;
        }
        run.copy(y, data, p.total * int64_t(sizeof(T)));
        scatter_typed<How, T, int64_t, int64_t>(run, p, target, updates, y);
    }
};

//! y = data with all updates combined in; cudaErrorInvalidValue for a type that is not supported or a missing
//! workspace.
template <class Target>
cudaError_t scatter_on_device(ScatterParams const& p, Target const& target, DataType type, void const* data,
    void const* updates, void* y, void* workspace, cudaStream_t stream)
{
    SortingDeviceRun run{{stream}, workspace};
    ScatterWay const way = way_of(p, type);
    if (p.rows == 0 || p.total == 0 || p.width == 0)
    {
        run.copy(y, data, p.total * size_of(type));
        return run.status;
    }
    if (workspace == nullptr && (way == ScatterWay::kClaims || way == ScatterWay::kGather))
    {
        return cudaErrorInvalidValue;
    }
    bool const known = with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            constexpr int kPack = 16 / int(sizeof(T));
            uintptr_t const addresses = reinterpret_cast<uintptr_t>(data) | reinterpret_cast<uintptr_t>(updates)
                                        | reinterpret_cast<uintptr_t>(y);
            bool const packs = p.width % kPack == 0 && addresses % 16 == 0;
            T const *const from = static_cast<T const*>(data), *const news = static_cast<T const*>(updates);
            with_reduction(p.reduction,
                [&](auto how)
                {
                    constexpr Reduction kHow = decltype(how)::value;
                    if (packs)
                    {
                        ScatterCall<kHow, T, kPack, Target>{run, p, target, from, news, static_cast<T*>(y)}(way);
                    }
                    else
                    {
                        ScatterCall<kHow, T, 1, Target>{run, p, target, from, news, static_cast<T*>(y)}(way);
                    }
                });
        });
    return known ? run.status : cudaErrorInvalidValue;
}

} // namespace trb
