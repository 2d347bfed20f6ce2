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
        bool inside = true;
        TRB_UNROLL
        for (int axis = 0; axis < kMaxRank; ++axis) // a fixed bound keeps `sizes` out of local memory
        {
            if (axis < depth)
            {
                int64_t const given = indices[row * depth + axis];
                int64_t const index = given < 0 ? given + sizes[axis] : given;
                inside = inside && index >= 0 && index < sizes[axis];
                slice = slice * sizes[axis] + index;
            }
        }
        return inside ? slice : -1;
    }
};

} // namespace trb
