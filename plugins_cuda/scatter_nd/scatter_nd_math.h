// ScatterND: where an update goes. Row r of the updates is the slice that index tuple r names.
#pragma once

#include "../common/scatter.h"

namespace trb
{

struct ScatterNDTarget
{
    int32_t depth;           // length of an index tuple
    int64_t sizes[kMaxRank]; // of the indexed axes
    int64_t const* indices;  // [rows, depth]

    //! Number of the slice, or -1 for an index outside.
    TRB_HD int64_t operator()(int64_t row) const
    {
        int64_t slice = 0;
        for (int axis = 0; axis < depth; ++axis)
        {
            int64_t const given = indices[row * depth + axis];
            int64_t const index = given < 0 ? given + sizes[axis] : given;
            if (index < 0 || index >= sizes[axis])
            {
                return -1;
            }
            slice = slice * sizes[axis] + index;
        }
        return slice;
    }
};

} // namespace trb
