// TopK for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "top_k.h"
#include "top_k_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(TopK const& op, Tensor const* in, Tensor const*)
{
    TopKParams const params = op.params(in[0].shape);
    int64_t const bytes = trb_top_k_workspace(&params, in[0].type);
    require(bytes >= 0, "CUDA cannot say how much memory the sort needs");
    return bytes;
}

static cudaError_t launch(TopK const& op, Tensor const* in, Tensor const* out, void* workspace, cudaStream_t stream)
{
    TopKParams const params = op.params(in[0].shape);
    return trb_top_k(&params, in[0].type, in[0].data, out[0].data, out[1].data, workspace, stream);
}

} // namespace trb

TRB_EXPORT(TopK)
