// The sort of the host's runs: what CUB does on the device, with the same order of equal keys.
#pragma once

#include "types.h"

#include <algorithm>
#include <vector>

namespace trb
{

struct SortingHostRun : HostRun
{
    std::vector<int64_t> keys, rows;

    template <class Fill>
    void sorted(int64_t count, Fill&& fill, int64_t*& sorted_keys, int64_t*& sorted_rows)
    {
        std::vector<int64_t> unsorted(static_cast<size_t>(count)), order(static_cast<size_t>(count));
        fill(unsorted.data(), order.data());
        std::stable_sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return unsorted[size_t(a)] < unsorted[size_t(b)]; });
        rows = order;
        keys.clear();
        for (int64_t row : order)
        {
            keys.push_back(unsorted[size_t(row)]);
        }
        sorted_keys = keys.data();
        sorted_rows = rows.data();
    }
};

} // namespace trb
