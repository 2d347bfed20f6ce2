// ScatterElements for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "scatter_elements.h"
#include "scatter_elements_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(ScatterElements const& op, Tensor const* in, Tensor const*)
{
    ScatterParams const params = op.params(in);
    int64_t const bytes = trb_scatter_elements_workspace(&params, in[0].type);
    require(bytes >= 0, "CUDA cannot say how much memory the sort needs");
    return bytes;
}

static cudaError_t launch(
    ScatterElements const& op, Tensor const* in, Tensor const* out, void* workspace, cudaStream_t stream)
{
    ScatterParams const params = op.params(in);
    ScatterElementsTarget const target = op.target(in);
    return trb_scatter_elements(&params, &target, in[0].type, in[0].data, in[2].data, out[0].data, workspace, stream);
}

} // namespace trb

TRB_EXPORT(ScatterElements)
