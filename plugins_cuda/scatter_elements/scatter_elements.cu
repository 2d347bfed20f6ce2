// ScatterElements on the device: where an update goes is here, the ways of combining are in
// ../common/scatter_device.cuh.
//
// Traffic: data, indices and updates once in, the output once out. The way of atomics adds a copy of the data and a
// read and a write of each target's sector; a sort of rows moves 8 bytes per row in each of up to four passes.
// Deterministic: integers, min and max always; float sums and products, and plain writes to one place, only with the
// attribute: then the updates of a place are combined one after the other, so a place that gets very many is slow.
#include "scatter_elements.h"

#include "../common/scatter_device.cuh"

namespace trb
{

//! ScatterElementsTarget for fewer than 2^31 updates: axes joined where that is possible, divisions prepared.
struct SmallTarget
{
    int32_t rank = 0, axis = 0;
    FastDivision sizes[kMaxRank];  // of the updates, from the last axis on
    int64_t scales[kMaxRank] = {}; // of the data, from the last axis on
    int64_t size;                  // of the data along the axis
    bool wide;                     // 64-bit indices
    void const* indices;

    explicit SmallTarget(ScatterElementsTarget const& from)
        : size(from.data.dims[from.axis]), wide(from.index_type == DataType::kI64), indices(from.indices)
    {
        int64_t scale = 1, joined = 1;
        for (int at = from.data.rank - 1; at >= 0; --at)
        {
            bool const beside_axis = at == from.axis || at + 1 == from.axis;
            bool const joins = rank > 0 && !beside_axis && from.updates.dims[at + 1] == from.data.dims[at + 1];
            if (!joins)
            {
                axis = at == from.axis ? rank : axis;
                scales[rank++] = scale;
                joined = 1;
            }
            joined *= from.updates.dims[at];
            sizes[rank - 1] = FastDivision(joined);
            scale *= from.data.dims[at];
        }
    }

    __device__ int64_t operator()(int64_t row) const
    {
        int64_t const given = wide ? read_once(static_cast<int64_t const*>(indices) + row)
                                   : read_once(static_cast<int32_t const*>(indices) + row);
        int64_t const index = given < 0 ? given + size : given;
        int64_t offset = 0;
        uint32_t rest = uint32_t(row);
        for (int at = 0; at < rank; ++at)
        {
            uint32_t const next = at + 1 < rank ? sizes[at](rest) : 0;
            offset += (at == axis ? index : int64_t(rest - next * sizes[at].by)) * scales[at];
            rest = next;
        }
        return index < 0 || index >= size ? -1 : offset;
    }
};

} // namespace trb

extern "C" int64_t trb_scatter_elements_workspace(trb::ScatterParams const* params, trb::DataType type) noexcept
{
    return trb::scatter_workspace(*params, type);
}

extern "C" cudaError_t trb_scatter_elements(trb::ScatterParams const* params, trb::ScatterElementsTarget const* target,
    trb::DataType type, void const* data, void const* updates, void* y, void* workspace, cudaStream_t stream) noexcept
{
    return trb::scatter_on_device(
        *params, *target, trb::SmallTarget(*target), type, data, updates, y, workspace, stream);
}
