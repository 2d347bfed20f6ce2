// TopK: attributes, types and shapes.
#pragma once

#include "../common/operator.h"
#include "top_k_math.h"

#include <algorithm>

namespace trb
{

//! The host's sort of lines: what CUB does on the device, with the same order of equal keys.
struct TopKHostRun : HostRun
{
    std::vector<int32_t> places;

    template <class Key, class Fill>
    int32_t const* sorted(int64_t lines, int64_t length, Fill&& fill)
    {
        std::vector<Key> keys(static_cast<size_t>(lines * length));
        places.resize(keys.size());
        fill(keys.data(), places.data());
        for (int64_t line = 0; line < lines; ++line)
        {
            Key const* const own = keys.data() + line * length;
            std::stable_sort(places.begin() + line * length, places.begin() + (line + 1) * length,
                [&](int32_t a, int32_t b) { return own[a] < own[b]; });
        }
        return places.data();
    }
};

struct TopK
{
    static constexpr char const* kName = "TrbTopK";
    static constexpr char const* kVersion = "1";
    static constexpr char const* kNamespace = "";
    static constexpr int kOutputs = 2;

    int64_t k = 1, axis = -1, largest = 1, sorted = 1;

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integer("k", k, Need::kRequired);
        v.integer("axis", axis, Need::kOptional);
        v.integer("largest", largest, Need::kOptional);
        v.integer("sorted", sorted, Need::kOptional);
    }

    void check() const
    {
        require(k >= 0, "attribute `k` must not be negative");
        require(largest == 0 || largest == 1, "attribute `largest` must be 0 or 1");
        require(sorted == 0 || sorted == 1, "attribute `sorted` must be 0 or 1");
    }

    std::string signature() const
    {
        return "N>NL";
    }

    template <class D>
    void shapes(Dims<D> const* in, int, Dims<D>* out) const
    {
        require(axis >= -in[0].rank && axis < in[0].rank,
            "attribute `axis` is " + show(axis) + ", but `X` has rank " + show(in[0].rank));
        int const along = int(axis < 0 ? axis + in[0].rank : axis);
        D const size = in[0].dims[along];
        require(!size.known() || k <= size.value, "k is " + show(k) + ", but the axis has " + show(size.value));
        require(!size.known() || size.value <= INT32_MAX, "an axis of more than 2^31 elements");
        out[0] = in[0];
        out[0].dims[along] = size.constant(k);
        out[1] = out[0];
    }

    TopKParams params(Shape const& x) const
    {
        int const along = int(axis < 0 ? axis + x.rank : axis);
        return {x.count(0, along), x.dims[along], x.count(along + 1, x.rank), k, largest != 0};
    }

    template <class Run>
    bool run(Run&, Tensor const* in, Tensor const* out) const
    {
        TopKHostRun host;
        return top_k(host, params(in[0].shape), in[0].type, in[0].data, out[0].data, out[1].data);
    }
};

} // namespace trb
