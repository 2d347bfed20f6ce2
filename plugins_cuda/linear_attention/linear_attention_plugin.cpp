// LinearAttention for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "linear_attention.h"
#include "linear_attention_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(LinearAttention const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(LinearAttention const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    LinearAttentionParams const params = op.params(in);
    void const* inputs[6];
    op.pointers(in, inputs);
    return trb_linear_attention(&params, in[0].type, out[1].type, inputs, out[0].data, out[1].data, stream);
}

} // namespace trb

TRB_EXPORT(LinearAttention)
