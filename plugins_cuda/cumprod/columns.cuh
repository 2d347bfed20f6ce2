// CumProd along any but the innermost axis: each thread multiplies up the rows of a pack's columns, and a block the
// rows of its threads. Few long columns: their tiles go to different blocks, which hand products on.
#pragma once

#include "lookback.cuh"
#include "tile.cuh"

namespace trb
{

constexpr int kMostLanes = 8;    // packs of neighbouring columns: 128 bytes of each row
constexpr int kGroup = 16;       // tiles whose products are handed on together
constexpr int kSlots = 8;        // slots that a thread asks for at once
constexpr int64_t kFewTiles = 4; // up to here a block that does them all is done before others could help

//! How a launch divides the tensor. A chain is what one block, or a chain of blocks, multiplies up: the neighbouring
//! columns that a block covers. All but the counts of chains and tiles are powers of two.
struct ColumnTiling
{
    int threads;    // of a block
    int loads;      // rows of a thread per tile
    int lanes;      // neighbouring threads that cover neighbouring columns
    int64_t strips; // of columns
    int64_t chains; // outer * strips
    int64_t tiles;  // of each chain
    bool handed_on; // blocks hand products on; else one block does all tiles of a chain
};

//! The product of all tiles before `tile` of a chain, for column `column` of `columns`, whose own product is `own`.
template <class W>
__device__ W column_before(
    void* slots, ColumnTiling const& d, int64_t chain, int64_t tile, int column, int columns, W own)
{
    int64_t const groups = ceil_divide(d.tiles, kGroup), group = tile / kGroup;
    Slot<W>* const tiles = static_cast<Slot<W>*>(slots) + chain * (d.tiles + groups) * columns + column;
    Slot<W>* const starts = tiles + d.tiles * columns;
    publish(tiles + tile * columns, own);
    W start = 1, product = 1;
    bool const known = group == 0 || look(starts + group * columns, start); // asked for early, waited for last
    int const place = int(tile % kGroup);
    if (place > 0)
    {
        await(tiles - column + (tile - 1) * columns); // likely the last: until it is there, a warp looks at one word
    }
    for (int i = 0; i < place; i += kSlots)
    {
        int const count = place - i < kSlots ? place - i : kSlots;
        product *= product_of<kSlots>(tiles + (group * kGroup + i) * columns, columns, count);
    }
    start = known ? start : await(starts + group * columns);
    if (place == kGroup - 1 && group + 1 < groups)
    {
        publish(starts + (group + 1) * columns, start * product * own);
    }
    return start * product;
}

//! Makes of each row group's products those of what precedes it, for all columns of a block. `carried`: the products of
//! the tiles before, which become those up to this tile's end.
template <class W>
__device__ void scan_groups(
    W* products, W* carried, int columns, ColumnTiling const& d, int64_t chain, int64_t tile, ScanState const& state)
{
    int const size = d.threads / d.lanes * columns;
    for (int column = threadIdx.x; column < columns; column += d.threads)
    {
        W product = 1;
        if (state)
        {
            for (int at = column; at < size; at += columns)
            {
                product *= products[at];
            }
            product = column_before(state.slots, d, chain, tile, column, columns, product);
        }
        else if (tile > 0)
        {
            product = carried[column];
        }
        for (int at = column; at < size; at += columns)
        {
            W const own = products[at];
            products[at] = product;
            product *= own;
        }
        carried[column] = product;
    }
}

template <class T, int V>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_columns(CumProdParams p, ColumnTiling d, T const* x, T* y, ScanState state)
{
    using W = Wide<T>;
    __shared__ W products[kScanThreads * V];
    __shared__ W carried[kMostLanes * V];
    Pack<T, V>* const packs = tile_memory<T, V>() + threadIdx.x; // this thread's are `threads` apart
    int const lane = threadIdx.x % d.lanes, group = threadIdx.x / d.lanes, columns = d.lanes * V;
    int64_t const step = p.reverse ? -p.inner : p.inner;
    // Tickets run over all chains before the next tile, so that chains advance together.
    Division const ticket = divide(state ? draw_ticket(state.counter) : 0, d.chains);
    int64_t const last_tile = state ? ticket.quotient + 1 : d.tiles;
    int64_t const last_chain = state ? ticket.remainder + 1 : d.chains;
    for (int64_t chain = state ? ticket.remainder : blockIdx.x; chain < last_chain; chain += gridDim.x)
    {
        Division const strip = divide(chain, d.strips);
        int64_t const column = strip.remainder * columns + lane * V;
        for (int64_t tile = ticket.quotient; tile < last_tile; ++tile)
        {
            int64_t const row = (tile * (d.threads / d.lanes) + group) * d.loads;
            int64_t const left = column < p.inner ? p.length - row : 0;
            int64_t const first =
                (strip.quotient * p.length + (p.reverse ? p.length - 1 - row : row)) * p.inner + column;
            for (int i = 0; i < d.loads; ++i)
            {
                fetch(packs + i * d.threads, x + first + i * step, i < left);
            }
            await_fetched();
            W product[V], numbers[V];
            packs->get(product);
            for (int i = 1; i < d.loads; ++i)
            {
                packs[i * d.threads].get(numbers);
                TRB_UNROLL
                for (int v = 0; v < V; ++v)
                {
                    product[v] *= numbers[v];
                }
            }
            TRB_UNROLL
            for (int v = 0; v < V; ++v)
            {
                products[threadIdx.x * V + v] = product[v];
            }
            __syncthreads();
            scan_groups(products, carried, columns, d, chain, tile, state);
            __syncthreads();
            TRB_UNROLL
            for (int v = 0; v < V; ++v)
            {
                product[v] = products[threadIdx.x * V + v];
            }
            for (int i = 0; i < d.loads; ++i)
            {
                packs[i * d.threads].get(numbers);
                TRB_UNROLL
                for (int v = 0; v < V; ++v)
                {
                    W const with = product[v] * numbers[v];
                    numbers[v] = p.exclusive ? product[v] : with;
                    product[v] = with;
                }
                Pack<T, V> results;
                results.set(numbers);
                if (i < left)
                {
                    results.store(y + first + i * step);
                }
            }
        }
    }
}

inline ColumnTiling divide_columns(CumProdParams const& p, int vector)
{
    int const lanes = power_of_two_from(ceil_divide(p.inner, vector), kMostLanes);
    int const groups = power_of_two_from(p.length, kScanThreads / lanes);
    int const threads = lanes * groups < kWarp ? kWarp : lanes * groups;
    int const loads = power_of_two_from(ceil_divide(p.length, threads / lanes), kMostLoads);
    int64_t const strips = ceil_divide(p.inner, int64_t(lanes) * vector), chains = p.outer * strips;
    int64_t const tiles = ceil_divide(p.length, int64_t(threads / lanes) * loads);
    return {threads, loads, lanes, strips, chains, tiles, chains < kEnough && tiles > kFewTiles};
}

template <class T, int V>
cudaError_t launch_columns(CumProdParams const& p, T const* x, T* y, void* workspace, cudaStream_t stream)
{
    ColumnTiling const d = divide_columns(p, V);
    ScanState state{};
    int64_t blocks = d.chains;
    if (d.handed_on)
    {
        int64_t const slots = d.chains * (d.tiles + ceil_divide(d.tiles, kGroup)) * d.lanes * V;
        size_t const bytes = size_t(ScanState::kHead + slots * int64_t(sizeof(Slot<Wide<T>>)));
        cudaError_t const cleared = cudaMemsetAsync(workspace, 0, bytes, stream);
        if (cleared != cudaSuccess)
        {
            return cleared;
        }
        state = {static_cast<unsigned long long*>(workspace), static_cast<char*>(workspace) + ScanState::kHead};
        blocks = d.chains * d.tiles;
    }
    unsigned const grid = unsigned(blocks < INT32_MAX ? blocks : INT32_MAX);
    size_t const memory = size_t(d.threads) * size_t(d.loads) * sizeof(Pack<T, V>);
    scan_columns<T, V><<<grid, unsigned(d.threads), memory, stream>>>(p, d, x, y, state);
    return cudaGetLastError();
}

} // namespace trb
