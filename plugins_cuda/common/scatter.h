// What ScatterND and ScatterElements share. Each operator says where update row r goes (`Target`); here rows are
// combined into the output: at once with atomics, or in the order of the indices after a stable sort by target
// (deterministic). scatter_device.cuh has faster ways for the usual sizes.
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

//! Writes the sort keys: the target of each row; rows that go nowhere get `nowhere`, which is above all others.
template <class Target, class Key, class Row>
struct ScatterKeyUnit
{
    Target target;
    Key nowhere;
    Key* keys;
    Row* rows;

    TRB_HD void operator()(int64_t row) const
    {
        int64_t const to = target(row);
        keys[row] = to < 0 ? nowhere : Key(to);
        rows[row] = Row(row);
    }
};

//! One element of one run of equal targets: the thread at the head of the run combines all of it, in order.
template <Reduction How, class T, class Key, class Row>
struct ScatterRunUnit
{
    ScatterParams p;
    Key nowhere;
    Key const* keys;
    Row const* rows;
    T const* updates;
    T* y;

    TRB_HD void operator()(int64_t index) const
    {
        Division const at = divide(index, p.width);
        int64_t const head = at.quotient;
        Key const key = keys[head];
        if (key == nowhere || (head > 0 && keys[head - 1] == key))
        {
            return;
        }
        T* const place = y + int64_t(key) * p.width + at.remainder;
        T value = *place;
        for (int64_t i = head; i < p.rows && keys[i] == key; ++i)
        {
            value = narrow<T>(combined<How>(widen(value), widen(updates[int64_t(rows[i]) * p.width + at.remainder])));
        }
        *place = value;
    }
};

//! y, which holds the data, with every row combined in. `run.template sorted<Key, Row>(rows, nowhere, fill, use)` sorts
//! what `fill` writes and calls `use(keys, rows)` with the result.
template <Reduction How, class T, class Key, class Row, class Run, class Target>
void scatter_typed(Run& run, ScatterParams const& p, Target const& target, T const* updates, T* y)
{
    if (!p.in_order)
    {
        run(ScatterUnit<How, T, Target>{p, target, updates, y}, p.rows * p.width);
        return;
    }
    Key const nowhere = p.width > 0 ? Key(p.total / p.width) : Key(0);
    run.template sorted<Key, Row>(
        p.rows, nowhere,
        [&](Key* keys, Row* rows) { run(ScatterKeyUnit<Target, Key, Row>{target, nowhere, keys, rows}, p.rows); },
        [&](Key const* keys, Row const* rows)
        { run(ScatterRunUnit<How, T, Key, Row>{p, nowhere, keys, rows, updates, y}, p.rows * p.width); });
}

//! body(std::integral_constant<Reduction>) for the reduction that `how` names.
template <class Body>
void with_reduction(Reduction how, Body&& body)
{
    switch (how)
    {
    case Reduction::kNone: return body(std::integral_constant<Reduction, Reduction::kNone>{});
    case Reduction::kAdd: return body(std::integral_constant<Reduction, Reduction::kAdd>{});
    case Reduction::kMul: return body(std::integral_constant<Reduction, Reduction::kMul>{});
    case Reduction::kMin: return body(std::integral_constant<Reduction, Reduction::kMin>{});
    case Reduction::kMax: return body(std::integral_constant<Reduction, Reduction::kMax>{});
    }
}

//! y = data, then every row of `updates` combined into it; false if the type is not supported. The definition, and what
//! the host does.
template <class Run, class Target>
bool scatter(Run& run, ScatterParams const& p, Target const& target, DataType type, void const* data,
    void const* updates, void* y)
{
    run.copy(y, data, p.total * size_of(type));
    return with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            with_reduction(p.reduction,
                [&](auto how)
                {
                    scatter_typed<decltype(how)::value, T, int64_t, int64_t>(
                        run, p, target, static_cast<T const*>(updates), static_cast<T*>(y));
                });
        });
}

} // namespace trb
