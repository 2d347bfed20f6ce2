// SoftClip for TensorRT: from tensors to the kernel's C interface, and nothing else.
#include "soft_clip.h"
#include "soft_clip_operator.h"

#include "common/export.h"

namespace trb
{

static int64_t workspace(SoftClip const&, Tensor const*, Tensor const*)
{
    return 0;
}

static cudaError_t launch(SoftClip const& op, Tensor const* in, Tensor const* out, void*, cudaStream_t stream)
{
    SoftClipParams const params = op.params(in);
    return trb_soft_clip(&params, in[0].type, in[0].data, out[0].data, stream);
}

} // namespace trb

TRB_EXPORT(SoftClip)
