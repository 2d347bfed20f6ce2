// A C interface that is the same for every operator, so that one small ctypes driver tests all of them.
// Every function returns null, or the reason of the refusal in a buffer that lives until the thread's next call.
#pragma once

#include "operator.h"

#define TRB_VISIBLE __attribute__((visibility("default")))

namespace trb
{

template <class Body>
char const* answered(Body&& body) noexcept
{
    static thread_local std::string reason;
    try
    {
        body();
        return nullptr;
    }
    catch (std::exception const& error)
    {
        reason = error.what();
        return reason.c_str();
    }
    catch (...)
    {
        return "unknown failure";
    }
}

//! Types and shapes of the outputs, written into `out` (its data pointers are not touched).
template <class Operator>
char const* describe(Field const* fields, int32_t count, Tensor const* in, int32_t inputs, Tensor* out) noexcept
{
    return answered(
        [&]
        {
            Operator const op = make<Operator>(fields, count);
            std::string const signature = op.signature();
            require(inputs == inputs_of(signature),
                std::string(Operator::kName) + " takes " + show(inputs_of(signature)) + " inputs, got " + show(inputs));
            std::vector<DataType> types;
            std::vector<Dims<Number>> shapes;
            for (int i = 0; i < inputs; ++i)
            {
                types.push_back(in[i].type);
                require(accepts(signature, i, types.data()), "input " + show(i) + " has a type that is not supported");
                shapes.push_back(numbers(in[i].shape));
            }
            std::vector<Dims<Number>> made(Operator::kOutputs);
            op.shapes(shapes.data(), inputs, made.data());
            for (int i = 0; i < Operator::kOutputs; ++i)
            {
                out[i].type = output_type(signature, i, types.data());
                out[i].shape.rank = made[i].rank;
                for (int axis = 0; axis < made[i].rank; ++axis)
                {
                    out[i].shape.dims[axis] = made[i].dims[axis].value;
                }
            }
        });
}

} // namespace trb

#define TRB_EXPORT_DESCRIBE(Operator)                                                                                  \
    extern "C" TRB_VISIBLE char const* trb_describe(                                                                   \
        trb::Field const* fields, int32_t count, trb::Tensor const* in, int32_t inputs, trb::Tensor* out)              \
    {                                                                                                                  \
        return trb::describe<Operator>(fields, count, in, inputs, out);                                                \
    }

//! Exports the arithmetic of `Operator` run on the host (memory of the host).
#define TRB_EXPORT_HOST(Operator)                                                                                      \
    TRB_EXPORT_DESCRIBE(Operator)                                                                                      \
    extern "C" TRB_VISIBLE char const* trb_run_host(trb::Field const* fields, int32_t count, trb::Tensor const* in,    \
        int32_t inputs, trb::Tensor const* out, int32_t outputs)                                                       \
    {                                                                                                                  \
        return trb::answered(                                                                                          \
            [&]                                                                                                        \
            {                                                                                                          \
                Operator const op = trb::make<Operator>(fields, count);                                                \
                trb::check_tensors(op, in, inputs, out, outputs);                                                      \
                trb::HostRun run;                                                                                      \
                trb::require(op.run(run, in, out), "this combination of types is not supported");                      \
            });                                                                                                        \
    }

//! Exports the kernels of `Operator` (memory of the device) for tests without TensorRT.
#define TRB_EXPORT_DEVICE(Operator)                                                                                    \
    TRB_EXPORT_DESCRIBE(Operator)                                                                                      \
    extern "C" TRB_VISIBLE char const* trb_workspace(trb::Field const* fields, int32_t count, trb::Tensor const* in,   \
        int32_t, trb::Tensor const* out, int64_t* bytes)                                                               \
    {                                                                                                                  \
        return trb::answered([&] { *bytes = workspace(trb::make<Operator>(fields, count), in, out); });                \
    }                                                                                                                  \
    extern "C" TRB_VISIBLE char const* trb_run_device(trb::Field const* fields, int32_t count, trb::Tensor const* in,  \
        int32_t inputs, trb::Tensor const* out, int32_t outputs, void* workspace, cudaStream_t stream)                 \
    {                                                                                                                  \
        return trb::answered(                                                                                          \
            [&]                                                                                                        \
            {                                                                                                          \
                Operator const op = trb::make<Operator>(fields, count);                                                \
                trb::check_tensors(op, in, inputs, out, outputs);                                                      \
                cudaError_t const status = launch(op, in, out, workspace, stream);                                     \
                trb::require(status == cudaSuccess, cudaGetErrorString(status));                                       \
            });                                                                                                        \
    }
