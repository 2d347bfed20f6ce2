// CumProd along the innermost axis: each thread multiplies up a few neighbouring packs; a power of two of lanes, a
// warp, or all warps of a block share a line. Where there are few long lines, each is cut into runs for blocks of their
// own: one launch forms the products of the runs, the next has what precedes a run from these.
#pragma once

#include "tile.cuh"

namespace trb
{

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kLineBlocks = 8; // per multiprocessor, which has 1024 threads
#else
constexpr int kLineBlocks = 10; // per multiprocessor
#endif
constexpr int kLineLoads = 8;     // packs of a thread where a warp has a line for itself
constexpr int64_t kPlenty = 4096; // warps that fill a GPU, so that each can have a line for itself however long it is,
constexpr int64_t kMany = 2048;   // and however short
constexpr int64_t kRuns = 2048;   // of a tensor: several blocks for each that finds room on the GPU
constexpr int64_t kTilesAtLeast = 128; // before tiles are made larger

//! How a launch divides the lines. `lanes`, `loads` and `team` are powers of two.
struct LineTiling
{
    int loads;     // packs of a thread per tile
    int lanes;     // neighbouring threads that share a line
    int team;      // warps that share a line, 1 or kTeam
    int64_t tiles; // of each line
    int64_t run;   // tiles of a block
    int64_t runs;  // of each line

    TRB_HD int pitch() const // between the packs of neighbouring threads: odd, which spreads them over the banks
    {
        return loads | 1;
    }
};

template <class W, int V>
__device__ void turn_if(bool reverse, W (&numbers)[V])
{
    TRB_UNROLL
    for (int v = 0; v < V / 2; ++v)
    {
        W const front = numbers[v], back = numbers[V - 1 - v];
        numbers[v] = reverse ? back : front;
        numbers[V - 1 - v] = reverse ? front : back;
    }
}

//! A warp's part of a tile: for each of its lines `lanes * loads` packs, neighbouring `loads` of which are a thread's.
template <class T, int V>
struct WarpPart
{
    using W = Wide<T>;

    CumProdParams const& p;
    LineTiling const& d;
    Pack<T, V>* packs;
    int64_t first_line, last_line; // of the warp's lines, and the end of all
    int64_t first;                 // place of the part in its lines, in elements

    //! Calls body(pack in shared memory, its place in the tensor, whether there is one) for all packs, neighbours
    //! first.
    template <class Body>
    __device__ void each(Body&& body)
    {
        int const loads_log = __ffs(d.loads) - 1, line_log = loads_log + __ffs(d.lanes) - 1;
        for (int i = threadIdx.x % kWarp; i < kWarp * d.loads; i += kWarp)
        {
            int64_t const line = first_line + (i >> line_log), at = first + (i & (1 << line_log) - 1) * V;
            int64_t const place = line * p.length + (p.reverse ? p.length - V - at : at);
            Pack<T, V>* const pack = packs + (i >> loads_log) * d.pitch() + (i & d.loads - 1);
            body(pack, place, line < last_line && at < p.length);
        }
    }

    __device__ Pack<T, V>* own() const
    {
        return packs + threadIdx.x % kWarp * d.pitch();
    }

    //! The product of the line's part; `before`: of what precedes this thread in it.
    __device__ W multiply(W& before) const
    {
        W product = 1;
#pragma unroll 4
        for (int i = 0; i < d.loads; ++i)
        {
            W numbers[V];
            own()[i].get(numbers);
            TRB_UNROLL
            for (W const number : numbers)
            {
                product *= number;
            }
        }
        int const lane = threadIdx.x % d.lanes;
        for (int distance = 1; distance < d.lanes; distance *= 2)
        {
            W const other = __shfl_up_sync(~0u, product, distance, d.lanes);
            product *= lane >= distance ? other : W(1);
        }
        W const other = __shfl_up_sync(~0u, product, 1, d.lanes);
        before = lane > 0 ? other : W(1);
        return __shfl_sync(~0u, product, d.lanes - 1, d.lanes);
    }

    //! Replaces this thread's numbers by the products up to them.
    __device__ void finish(W product) const
    {
#pragma unroll 4
        for (int i = 0; i < d.loads; ++i)
        {
            W numbers[V];
            own()[i].get(numbers);
            turn_if(p.reverse, numbers);
            TRB_UNROLL
            for (W& number : numbers)
            {
                W const with = product * number;
                number = p.exclusive ? product : with;
                product = with;
            }
            turn_if(p.reverse, numbers);
            own()[i].set(numbers);
        }
    }
};

//! What a block's warps know of each other: the product of those before this one, and that of all.
template <class W>
struct TeamProduct
{
    W before = 1, all = 1;

    __device__ explicit TeamProduct(W own)
    {
        __shared__ W products[kTeam];
        int const warp = threadIdx.x / kWarp;
        if (threadIdx.x % kWarp == 0)
        {
            products[warp] = own;
        }
        __syncthreads();
        TRB_UNROLL
        for (int w = 0; w < kTeam; ++w)
        {
            before = w == warp ? all : before;
            all *= products[w];
        }
        __syncthreads(); // they are written again
    }
};

//! The product of a number of each thread, for all threads of a block.
template <class W>
__device__ W product_of_block(W product)
{
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
    {
        product *= __shfl_xor_sync(~0u, product, distance);
    }
    return TeamProduct<W>(product).all;
}

//! The product of `count` numbers in memory, for all threads of a block.
template <class W>
__device__ W product_of_all(W const* numbers, int64_t count)
{
    W product = 1;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < count; i += kScanThreads)
    {
        product *= numbers[i];
    }
    return product_of_block(product);
}

//! The products of the runs but the last of each line: [outer, runs].
template <class T, int V>
__global__ void __launch_bounds__(kScanThreads)
    multiply_runs(CumProdParams p, LineTiling d, T const* x, Wide<T>* products)
{
    using W = Wide<T>;
    Division const at = divide(blockIdx.x, d.runs); // a line and its run
    if (at.remainder + 1 == d.runs)
    {
        return;
    }
    int64_t const size = d.run * d.loads * kScanThreads * V, first = at.remainder * size;
    T const* const from = x + at.quotient * p.length + (p.reverse ? p.length - first - size : first);
    W product = 1;
#pragma unroll 8
    for (int64_t i = int64_t(threadIdx.x) * V; i < size; i += kScanThreads * V)
    {
        W numbers[V];
        Pack<T, V>::load(from + i).get(numbers);
        TRB_UNROLL
        for (W const number : numbers)
        {
            product *= number;
        }
    }
    product = product_of_block(product);
    if (threadIdx.x == 0)
    {
        products[blockIdx.x] = product;
    }
}

//! `products`: of the runs, [outer, runs], or null if a block does all of a line.
template <class T, int V>
__global__ void __launch_bounds__(kScanThreads, kLineBlocks)
    scan_lines(CumProdParams p, LineTiling d, T const* x, T* y, Wide<T> const* products)
{
    using W = Wide<T>;
    int const warp = threadIdx.x / kWarp, of_warp = kWarp / d.lanes; // lines
    int64_t const chunk = int64_t(d.lanes) * d.loads * V;
    // A line and its run; the runs in opposite order, since the cache still holds what was multiplied last.
    Division const at = divide(gridDim.x - 1 - blockIdx.x, d.runs);
    int64_t const first_tile = at.remainder * d.run, end = first_tile + d.run;
    int64_t const last_tile = end < d.tiles ? end : d.tiles;
    int64_t const step = d.team > 1 ? gridDim.x / d.runs : int64_t(gridDim.x) * kTeam * of_warp;
    int64_t const first_line = d.team > 1 ? at.quotient : (int64_t(blockIdx.x) * kTeam + warp) * of_warp;
    for (int64_t line = first_line; line < p.outer; line += step)
    {
        W carry = products ? product_of_all(products + line * d.runs, at.remainder) : W(1);
        for (int64_t tile = first_tile; tile < last_tile; ++tile)
        {
            WarpPart<T, V> part{p, d, tile_memory<T, V>() + warp * kWarp * d.pitch(), line, p.outer,
                (tile * d.team + (d.team > 1 ? warp : 0)) * chunk};
            part.each([&](Pack<T, V>* pack, int64_t place, bool there) { fetch(pack, x + place, there); });
            await_fetched();
            __syncwarp();
            W before, start = carry;
            W const product = part.multiply(before);
            if (d.team > 1)
            {
                TeamProduct<W> const team(product);
                start *= team.before;
                carry *= team.all;
            }
            else
            {
                carry *= product;
            }
            part.finish(start * before);
            __syncwarp();
            part.each(
                [&](Pack<T, V>* pack, int64_t place, bool there)
                {
                    if (there)
                    {
                        pack->store(y + place);
                    }
                });
            __syncwarp(); // the packs are written again
        }
    }
}

inline LineTiling divide_lines(CumProdParams const& p, int vector)
{
    int64_t const packs = ceil_divide(p.length, vector);
    bool const many = p.outer >= kMany;
    if (packs <= (many ? kWarp * kLineLoads : kScanThreads) || p.outer >= kPlenty) // a warp, or less, does a line
    {
        int const loads = power_of_two_from(many ? packs : ceil_divide(packs, kWarp), kLineLoads);
        int const lanes = power_of_two_from(ceil_divide(packs, loads), kWarp);
        int64_t const tiles = ceil_divide(packs, int64_t(lanes) * loads);
        return {loads, lanes, 1, tiles, tiles, 1};
    }
    int loads = power_of_two_from(ceil_divide(packs, kScanThreads), kMostLoads);
    while (loads > kLineLoads / 2 && p.outer * packs < kTilesAtLeast * kScanThreads * loads)
    {
        loads /= 2;
    }
    int64_t const tiles = ceil_divide(packs, int64_t(kScanThreads) * loads);
    int64_t const most = p.outer < kEnough ? kRuns / p.outer : 1, run = ceil_divide(tiles, most);
    return {loads, kWarp, kTeam, tiles, run, ceil_divide(tiles, run)};
}

template <class T, int V>
cudaError_t launch_lines(CumProdParams const& p, T const* x, T* y, void* workspace, cudaStream_t stream)
{
    LineTiling const d = divide_lines(p, V);
    int64_t const lines = d.team > 1 ? p.outer : ceil_divide(p.outer, int64_t(kTeam) * (kWarp / d.lanes));
    unsigned const blocks = unsigned(lines * d.runs < INT32_MAX ? lines * d.runs : INT32_MAX / d.runs * d.runs);
    size_t const memory = size_t(kScanThreads) * size_t(d.pitch()) * sizeof(Pack<T, V>);
    auto* const products = d.runs > 1 ? static_cast<Wide<T>*>(workspace) : nullptr;
    if (products)
    {
        multiply_runs<T, V><<<blocks, kScanThreads, 0, stream>>>(p, d, x, products);
    }
    scan_lines<T, V><<<blocks, kScanThreads, memory, stream>>>(p, d, x, y, products);
    return cudaGetLastError();
}

} // namespace trb
