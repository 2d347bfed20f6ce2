// Det for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "det.h"
#include "det_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(Det const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(Det const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    return trb_det(op.matrices(in[0].shape), op.order(in[0].shape), in[0].type, in[0].data, out[0].data, stream);
}

} // namespace trb

TRB_EXPORT(Det)
