// Col2Im for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "col2im.h"
#include "col2im_operator.h"

#include "../common/export.h"

namespace trb
{

static int64_t workspace(Col2Im const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(Col2Im const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    Col2ImParams const params = op.params(out[0].shape);
    return trb_col2im(&params, op.image_shape.size, in[0].type, in[0].data, out[0].data, stream);
}

} // namespace trb

TRB_EXPORT(Col2Im)
