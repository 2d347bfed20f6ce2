// ScatterElements: where an update goes. Row r of the updates is one element: its own coordinates, with the one along
// the axis replaced by the index.
#pragma once

#include "../common/scatter.h"

namespace trb
{

struct ScatterElementsTarget
{
    int32_t axis;
    Shape data, updates;
    DataType index_type;
    void const* indices; // shape of the updates

    //! Offset in the data, or -1 for an index outside.
    TRB_HD int64_t operator()(int64_t row) const
    {
        int64_t const given = index_type == DataType::kI32 ? static_cast<int32_t const*>(indices)[row]
                                                           : static_cast<int64_t const*>(indices)[row];
        int64_t const size = data.dims[axis], index = given < 0 ? given + size : given;
        if (index < 0 || index >= size)
        {
            return -1;
        }
        int64_t offset = 0, scale = 1, rest = row;
        for (int at = data.rank - 1; at >= 0; --at)
        {
            Division const by = divide(rest, updates.dims[at]);
            offset += (at == axis ? index : by.remainder) * scale;
            scale *= data.dims[at];
            rest = by.quotient;
        }
        return offset;
    }
};

} // namespace trb
