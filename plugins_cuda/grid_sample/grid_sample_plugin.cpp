// GridSample for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "grid_sample.h"
#include "grid_sample_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(GridSample const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(GridSample const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    GridSampleParams const params = op.params(in[0].shape, in[1].shape);
    return trb_grid_sample(&params, in[0].type, in[1].type, in[0].data, in[1].data, out[0].data, stream);
}

} // namespace trb

TRB_EXPORT(GridSample)
