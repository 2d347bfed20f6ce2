// The ways in which ScatterND and ScatterElements run on the device, chosen from the sizes alone:
//
//   atomics  the data is copied, then each update is combined into its place.
//   claims   plain writes: each row of the output notes its last update, then every row is written once.
//   gather   in the order of the indices: the updates are sorted by target, each row of the output takes its own and is
//            written once. No copy, no atomics.
//   visit    in order, few or narrow rows: after a copy and a sort, one thread per element and target.
//   general  scatter() of scatter.h, for sizes beyond 32 bits.
#pragma once

#include "device_sort.cuh"
#include "fast_division.cuh"
#include "pack.cuh"
#include "scatter.h"
#include "scatter_gather.cuh"

namespace trb
{

constexpr int64_t kFullBlocks = 1024;        // fill any GPU of today
constexpr int64_t kClaimingPays = 8ll << 20; // bytes of plain writes from which claims are cheaper than a copy
constexpr int64_t kGatherBytes = 64;         // rows of fewer bytes are not worth a list of their updates

// --- atomics ---

//! Combines all updates into the output. A thread takes kAtOnce packs: of the block's neighbourhood if there are many.
template <Reduction How, class T, int N, class Target>
__global__ void __launch_bounds__(kThreads)
    scatter_packs(Target target, FastDivision per_row, uint32_t packs, bool many, T const* updates, T* y, int64_t total)
{
    uint32_t const threads = gridDim.x * kThreads, step = many ? kThreads : threads;
    uint32_t const first = blockIdx.x * kThreads * (many ? kAtOnce : 1) + threadIdx.x;
    for (uint32_t base = first; base < packs; base += kAtOnce * threads)
    {
        int64_t to[kAtOnce];
        Pack<T, N> pack[kAtOnce];
        TRB_UNROLL
        for (int i = 0; i < kAtOnce; ++i)
        {
            uint32_t const at = base + i * step;
            to[i] = -1;
            if (at < packs)
            {
                uint32_t const row = per_row(at);
                pack[i] = read_once(reinterpret_cast<Pack<T, N> const*>(updates) + at);
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

// --- choosing ---

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
    int64_t const bytes = updates * size_of(type);
    bool const dense = p.rows >= places / 8, wide = p.width * size_of(type) >= kGatherBytes;
    if (p.reduction == Reduction::kNone && dense && (p.in_order || (wide && bytes >= kClaimingPays)))
    {
        return ScatterWay::kClaims;
    }
    if (dense && wide && p.in_order)
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
template <Reduction How, class T, int N, class Target, class Small>
struct ScatterCall
{
    SortingDeviceRun& run;
    ScatterParams const& p;
    Target const& any_target; // right for every size
    Small const& target;      // for sizes below 2^31
    T const* data;
    T const* updates;
    T* y;
    int64_t places = p.total / p.width, per_row = p.width / N;

    static Pack<T, N> const* packs(T const* values)
    {
        return reinterpret_cast<Pack<T, N> const*>(values);
    }

    //! Several units per thread once there are enough threads without that.
    static unsigned blocks(int64_t units)
    {
        int64_t const one_each = (units + kThreads - 1) / kThreads, some_each = (one_each + kAtOnce - 1) / kAtOnce;
        int64_t const needed = one_each < kFullBlocks ? one_each : some_each > kFullBlocks ? some_each : kFullBlocks;
        return unsigned(needed < kMaxBlocks ? needed : kMaxBlocks);
    }

    void atomics()
    {
        int64_t const count = p.rows * per_row;
        run.copy(y, data, p.total * int64_t(sizeof(T)));
        if (run.status == cudaSuccess)
        {
            bool const many = count >= kAtOnce * kThreads * kFullBlocks;
            scatter_packs<How, T, N><<<blocks(count), kThreads, 0, run.stream>>>(
                target, FastDivision(per_row), uint32_t(count), many, updates, y, p.total);
            run.status = cudaGetLastError();
        }
    }

    template <class List>
    void gather(List const& list)
    {
        if (run.status == cudaSuccess)
        {
            gather_packs<How, T, N><<<blocks(places * per_row), kThreads, 0, run.stream>>>(
                list, per_row, places * per_row, packs(data), packs(updates), reinterpret_cast<Pack<T, N>*>(y));
            run.status = cudaGetLastError();
        }
    }

    void claims()
    {
        int32_t* const claims = static_cast<int32_t*>(run.workspace);
        run.zero(claims, places * int64_t(sizeof(int32_t)));
        run(ClaimUnit<Small>{target, claims}, p.rows);
        gather(Claims{claims});
    }

    //! use(keys, rows, nowhere) with the updates sorted by target.
    template <class Use>
    void sorted(Use&& use)
    {
        uint32_t const nowhere = uint32_t(places);
        run.template sorted<uint32_t, int32_t>(
            p.rows, nowhere, [&](uint32_t* keys, int32_t* rows)
            { run(ScatterKeyUnit<Small, uint32_t, int32_t>{target, nowhere, keys, rows}, p.rows); },
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
        case ScatterWay::kGather: return gather_sorted();
        case ScatterWay::kVisit: return visit_sorted();
        case ScatterWay::kGeneral: break;
        }
        run.copy(y, data, p.total * int64_t(sizeof(T)));
        scatter_typed<How, T, int64_t, int64_t>(run, p, any_target, updates, y);
    }
};

//! y = data with all updates combined in; `small` says the same as `target` for sizes below 2^31. cudaErrorInvalidValue
//! for a type that is not supported or a missing workspace.
template <class Target, class Small>
cudaError_t scatter_on_device(ScatterParams const& p, Target const& target, Small const& small, DataType type,
    void const* data, void const* updates, void* y, void* workspace, cudaStream_t stream)
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
                        ScatterCall<kHow, T, kPack, Target, Small>{
                            run, p, target, small, from, news, static_cast<T*>(y)}(way);
                    }
                    else
                    {
                        ScatterCall<kHow, T, 1, Target, Small>{run, p, target, small, from, news, static_cast<T*>(y)}(
                            way);
                    }
                });
        });
    return known ? run.status : cudaErrorInvalidValue;
}

} // namespace trb
