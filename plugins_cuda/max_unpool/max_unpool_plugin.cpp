// MaxUnpool for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "max_unpool.h"
#include "max_unpool_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(MaxUnpool const& op, Tensor const* in, Tensor const* out)
{
    MaxUnpoolParams const params = op.params(in[0].shape, out[0].shape);
    return trb_max_unpool_workspace(&params);
}

static cudaError_t launch(
    MaxUnpool const& op, Tensor const* in, Tensor const* out, void* workspace, cudaStream_t stream)
{
    MaxUnpoolParams const params = op.params(in[0].shape, out[0].shape);
    return trb_max_unpool(&params, in[0].type, in[0].data, in[1].data, out[0].data, workspace, stream);
}

} // namespace trb

TRB_EXPORT(MaxUnpool)
