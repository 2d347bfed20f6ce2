// MaxUnpool for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "max_unpool.h"
#include "max_unpool_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(MaxUnpool const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(MaxUnpool const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    MaxUnpoolParams const params = op.params(in[0].shape, out[0].shape);
    return trb_max_unpool(&params, in[0].type, in[0].data, in[1].data, out[0].data, stream);
}

} // namespace trb

TRB_EXPORT(MaxUnpool)
