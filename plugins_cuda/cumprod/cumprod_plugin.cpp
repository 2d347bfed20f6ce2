// CumProd for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "cumprod.h"
#include "cumprod_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(CumProd const& op, Tensor const* in, Tensor const*)
{
    CumProdParams const params = op.params(in[0].shape);
    return trb_cumprod_workspace(&params);
}

static cudaError_t launch(CumProd const& op, Tensor const* in, Tensor const* out, void* workspace, cudaStream_t stream)
{
    CumProdParams const params = op.params(in[0].shape);
    return trb_cumprod(&params, in[0].type, in[0].data, out[0].data, workspace, stream);
}

} // namespace trb

TRB_EXPORT(CumProd)
