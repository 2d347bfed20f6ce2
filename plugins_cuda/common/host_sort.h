// The sort of the host's runs: what CUB does on the device, with the same order of equal keys.
#pragma once

#include "types.h"

#include <algorithm>
#include <vector>

namespace trb
{

struct SortingHostRun : HostRun
{
    template <class Key, class Row, class Fill, class Use>
    void sorted(int64_t count, Key, Fill&& fill, Use&& use)
    {
        std::vector<Key> keys(static_cast<size_t>(count)), sorted_keys;
        std::vector<Row> rows(static_cast<size_t>(count));
        fill(keys.data(), rows.data());
        std::stable_sort(rows.begin(), rows.end(), [&](Row a, Row b) { return keys[size_t(a)] < keys[size_t(b)]; });
        for (Row row : rows)
        {
            sorted_keys.push_back(keys[size_t(row)]);
        }
        use(sorted_keys.data(), rows.data());
    }
};

} // namespace trb
