// TopK: values as unsigned integers whose ascending order is the wanted one, and what is written for each winner.
// The sort itself is stable, so equal values keep the order of their indices, as the standard says.
#pragma once

#include "../common/types.h"

namespace trb
{

struct TopKParams
{
    int64_t outer, length, inner; // the tensor seen as [outer, length, inner]; the winners are sought along `length`
    int64_t k;
    bool largest;

    //! Lines along the axis.
    TRB_HD int64_t lines() const
    {
        return outer * inner;
    }

    //! Offset of element `place` of a line in a tensor whose axis has `size` elements.
    TRB_HD int64_t offset(int64_t line, int64_t place, int64_t size) const
    {
        Division const at = divide(line, inner);
        return (at.quotient * size + place) * inner + at.remainder;
    }
};

//! The unsigned integer that holds the order of T.
template <class T>
using SortKey = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;

//! Ascending keys are ascending values: -0 equals 0, every NaN is the greatest. With `largest` the order is reversed.
template <class T>
TRB_HD inline SortKey<T> sort_key(T value, bool largest)
{
    using Key = SortKey<T>;
    constexpr Key kSign = Key(Key(1) << (8 * sizeof(T) - 1));
    Key key = bit_cast<Key>(value);
    if constexpr (std::is_same_v<T, int32_t> || std::is_same_v<T, int64_t>)
    {
        key = Key(key ^ kSign);
    }
    else
    {
        constexpr Key kInfinity = std::is_same_v<T, float>  ? Key(0x7f800000u)
                                  : std::is_same_v<T, Half> ? Key(0x7c00u)
                                                            : Key(0x7f80u);
        Key const magnitude = Key(key & ~kSign);
        if (magnitude > kInfinity) // NaN
        {
            key = Key(~Key(0));
        }
        else
        {
            key = key & kSign ? Key(kSign - magnitude) : Key(kSign + magnitude); // both zeros are kSign
        }
    }
    return largest ? Key(~key) : key;
}

//! Fills keys and places of one element of the input; lines are stored one after the other.
template <class T>
struct TopKKeyUnit
{
    TopKParams p;
    T const* x;
    SortKey<T>* keys;
    int32_t* places;

    TRB_HD void operator()(int64_t index) const
    {
        Division const at = divide(index, p.length);
        keys[index] = sort_key(x[p.offset(at.quotient, at.remainder, p.length)], p.largest);
        places[index] = int32_t(at.remainder);
    }
};

//! Writes one winner; the value is read from the input, so that its bits (NaN, -0) are those of the input.
template <class T>
struct TopKWriteUnit
{
    TopKParams p;
    T const* x;
    int32_t const* places; // sorted
    int64_t stride;        // from one line's places to the next
    T* values;
    int64_t* indices;

    TRB_HD void operator()(int64_t index) const
    {
        Division const at = divide(index, p.k);
        int64_t const place = places[at.quotient * stride + at.remainder];
        int64_t const target = p.offset(at.quotient, at.remainder, p.k);
        values[target] = x[p.offset(at.quotient, place, p.length)];
        indices[target] = place;
    }
};

//! Runs the whole operator by sorting whole lines: the definition, and what the host does.
//! `run.template sorted<Key>(lines, length, fill)` gives the sorted places.
template <class Run>
bool top_k(Run& run, TopKParams const& p, DataType type, void const* x, void* values, void* indices)
{
    return with_number(type,
        [&](auto element)
        {
            using T = decltype(element);
            T const* const from = static_cast<T const*>(x);
            if (p.lines() == 0 || p.k == 0)
            {
                return;
            }
            int32_t const* const places =
                run.template sorted<SortKey<T>>(p.lines(), p.length, [&](SortKey<T>* keys, int32_t* order)
                    { run(TopKKeyUnit<T>{p, from, keys, order}, p.lines() * p.length); });
            run(TopKWriteUnit<T>{p, from, places, p.length, static_cast<T*>(values), static_cast<int64_t*>(indices)},
                p.lines() * p.k);
        });
}

} // namespace trb
