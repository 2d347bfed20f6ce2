// What ScatterND and ScatterElements share. Each operator says where update row r goes (`Target`); here rows are
// combined into the output: at once with atomics, or in the order of the indices after a stable sort by target
// (deterministic).
//
// A row is `width` consecutive elements: a slice for ScatterND, one element for ScatterElements.
#pragma once

#include "atomic.h"

namespace trb
{

struct ScatterParams
{
    int64_t rows;  // of updates
    int64_t width; // elements per row
    int64_t total; // elements of the output
    Reduction reduction;
    bool in_order; // combine in the order of the indices
};

//! Only float sums and products depend on the order, and which of two plain writes is last.
TRB_HD constexpr bool order_matters(Reduction reduction, bool floating)
{
    return reduction == Reduction::kNone || (floating && reduction <= Reduction::kMul);
}

//! One element of one update, at once.
template <Reduction How, class T, class Target>
struct ScatterUnit
{
    ScatterParams p;
    Target target;
    T const* updates;
    T* y;

    TRB_HD void operator()(int64_t index) const
    {
        Division const at = divide(index, p.width);
        int64_t const row = target(at.quotient);
        if (row >= 0)
        {
            combine_into<How>(y + row * p.width + at.remainder, updates[index]);
        }
    }
};

//! Writes the sort keys: the target of each row, rows that go nowhere behind all others.
template <class Target>
struct ScatterKeyUnit
{
    Target target;
    int64_t* keys;
    int64_t* rows;

    TRB_HD void operator()(int64_t row) const
    {
        int64_t const to = target(row);
        keys[row] = to < 0 ? INT64_MAX : to;
        rows[row] = row;
    }
};

//! One element of one run of equal targets: the thread at the head of the run combines all of it, in order.
template <Reduction How, class T>
struct ScatterRunUnit
{
    ScatterParams p;
    int64_t const* keys;
    int64_t const* rows;
    T const* updates;
    T* y;

    TRB_HD void operator()(int64_t index) const
    {
        Division const at = divide(index, p.width);
        int64_t const head = at.quotient, key = keys[head];
        if (key == INT64_MAX || (head > 0 && keys[head - 1] == key))
        {
            return;
        }
        T* const place = y + key * p.width + at.remainder;
        T value = *place;
        for (int64_t i = head; i < p.rows && keys[i] == key; ++i)
        {
            value = narrow<T>(combined<How>(widen(value), widen(updates[rows[i] * p.width + at.remainder])));
        }
        *place = value;
    }
};

template <Reduction How, class T, class Run, class Target>
void scatter_typed(Run& run, ScatterParams const& p, Target const& target, void const* updates, void* y)
{
    T const* const from = static_cast<T const*>(updates);
    T* const to = static_cast<T*>(y);
    if (!p.in_order)
    {
        run(ScatterUnit<How, T, Target>{p, target, from, to}, p.rows * p.width);
        return;
    }
    int64_t *keys = nullptr, *rows = nullptr; // sorted by key, equal keys in their first order
    run.sorted(p.rows, [&](int64_t* k, int64_t* r) { run(ScatterKeyUnit<Target>{target, k, r}, p.rows); }, keys, rows);
    run(ScatterRunUnit<How, T>{p, keys, rows, from, to}, p.rows * p.width);
}

//! y = data, then every row of `updates` combined into it; false if the type is not supported.
template <class Run, class Target>
bool scatter(Run& run, ScatterParams const& p, Target const& target, DataType type, void const* data,
    void const* updates, void* y)
{
    run.copy(y, data, p.total * size_of(type));
    return with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            switch (p.reduction)
            {
            case Reduction::kNone: return scatter_typed<Reduction::kNone, T>(run, p, target, updates, y);
            case Reduction::kAdd: return scatter_typed<Reduction::kAdd, T>(run, p, target, updates, y);
            case Reduction::kMul: return scatter_typed<Reduction::kMul, T>(run, p, target, updates, y);
            case Reduction::kMin: return scatter_typed<Reduction::kMin, T>(run, p, target, updates, y);
            case Reduction::kMax: return scatter_typed<Reduction::kMax, T>(run, p, target, updates, y);
            }
        });
}

} // namespace trb
