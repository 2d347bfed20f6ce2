// CausalConvWithState for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "causal_conv_with_state.h"
#include "causal_conv_with_state_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(CausalConvWithState const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(
    CausalConvWithState const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    CausalConvParams const params = op.params(in[0].shape, in[1].shape);
    return trb_causal_conv_with_state(&params, in[0].type, in[0].data, in[1].data, data_of(op.inputs.find(in, 2)),
        data_of(op.inputs.find(in, 3)), out[0].data, out[1].data, stream);
}

} // namespace trb

TRB_EXPORT(CausalConvWithState)
