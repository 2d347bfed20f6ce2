// Inverse for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "inverse.h"
#include "inverse_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(Inverse const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(Inverse const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    return trb_inverse(op.matrices(in[0].shape), op.order(in[0].shape), in[0].type, in[0].data, out[0].data, stream);
}

} // namespace trb

TRB_EXPORT(Inverse)
