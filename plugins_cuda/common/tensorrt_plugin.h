// The TensorRT side of every operator: IPluginV3 and its creator, written once. Nothing here computes; each virtual
// method translates TensorRT's structs and asks the operator. Every method that can fail goes through `guarded`.
#pragma once

#include "operator.h"

#include <NvInferRuntime.h>
#include <NvInferVersion.h>

#include <memory>

namespace trb
{

//! TensorRT's logger in this process, if there is one; else standard error.
void log_error(char const* where, char const* what) noexcept;

//! Adds `creator` to the process-wide registry unless its name, version and namespace are taken.
void add_creator(nvinfer1::IPluginCreatorV3One* creator) noexcept;

//! Runs `body`, turns any exception into a log line and `failure`: no exception may leave a noexcept method.
template <class Result, class Body>
Result guarded(char const* where, Result failure, Body&& body) noexcept
{
    try
    {
        return body();
    }
    catch (std::exception const& error)
    {
        log_error(where, error.what());
    }
    catch (...)
    {
        log_error(where, "unknown failure");
    }
    return failure;
}

inline DataType data_type(nvinfer1::DataType type)
{
    switch (type)
    {
    case nvinfer1::DataType::kFLOAT: return DataType::kF32;
    case nvinfer1::DataType::kHALF: return DataType::kF16;
    case nvinfer1::DataType::kBF16: return DataType::kBF16;
    case nvinfer1::DataType::kINT32: return DataType::kI32;
    case nvinfer1::DataType::kINT64: return DataType::kI64;
    default: throw Refused("data type number " + show(int64_t(type)) + " is not supported");
    }
}

inline nvinfer1::DataType data_type(DataType type)
{
    switch (type)
    {
    case DataType::kF16: return nvinfer1::DataType::kHALF;
    case DataType::kBF16: return nvinfer1::DataType::kBF16;
    case DataType::kI32: return nvinfer1::DataType::kINT32;
    case DataType::kI64: return nvinfer1::DataType::kINT64;
    default: return nvinfer1::DataType::kFLOAT;
    }
}

//! A dimension that may be known only at run time. The builder is that of the call in progress.
struct Symbol
{
    nvinfer1::IDimensionExpr const* expression;
    nvinfer1::IExprBuilder* builder;
    int64_t value;

    static Symbol of(nvinfer1::IDimensionExpr const* expression, nvinfer1::IExprBuilder& builder)
    {
        require(expression != nullptr, "TensorRT gave a dimension without an expression");
        return {expression, &builder, expression->isConstant() ? int64_t(expression->getConstantValue()) : -1};
    }

    bool known() const
    {
        return expression->isConstant();
    }

    Symbol constant(int64_t number) const
    {
        return of(builder->constant(number), *builder);
    }

    Symbol join(nvinfer1::DimensionOperation operation, Symbol other) const
    {
        return of(builder->operation(operation, *expression, *other.expression), *builder);
    }
};

inline Symbol operator+(Symbol a, Symbol b)
{
    return a.join(nvinfer1::DimensionOperation::kSUM, b);
}

inline Symbol operator-(Symbol a, Symbol b)
{
    return a.join(nvinfer1::DimensionOperation::kSUB, b);
}

inline Symbol operator*(Symbol a, Symbol b)
{
    return a.join(nvinfer1::DimensionOperation::kPROD, b);
}

inline Symbol operator/(Symbol a, Symbol b)
{
    return a.join(nvinfer1::DimensionOperation::kFLOOR_DIV, b);
}

inline Tensor tensor(nvinfer1::PluginTensorDesc const& desc, void const* data)
{
    Tensor made{const_cast<void*>(data), data_type(desc.type), {desc.dims.nbDims, {}}};
    require(desc.dims.nbDims >= 0 && desc.dims.nbDims <= kMaxRank, "rank is not known or above 8");
    for (int axis = 0; axis < desc.dims.nbDims; ++axis)
    {
        made.shape.dims[axis] = desc.dims.d[axis];
    }
    return made;
}

template <class Operator>
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime
{
public:
    explicit Plugin(Operator const& op) : mOperator(op)
    {
    }

    // --- IPluginV3 ---

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    nvinfer1::IPluginV3* clone() noexcept override
    {
        return guarded<nvinfer1::IPluginV3*>(Operator::kName, nullptr, [&] { return new Plugin(mOperator); });
    }

    // --- Core ---

    char const* getPluginName() const noexcept override
    {
        return Operator::kName;
    }

    char const* getPluginVersion() const noexcept override
    {
        return Operator::kVersion;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return Operator::kNamespace;
    }

    // --- Build ---

    int32_t getNbOutputs() const noexcept override
    {
        return Operator::kOutputs;
    }

    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
        nvinfer1::DynamicPluginTensorDesc const* out, int32_t outputs) noexcept override
    {
        return guarded(Operator::kName, -1,
            [&]
            {
                require(in != nullptr && out != nullptr, "null pointer");
                require(inputs == inputs_of(mOperator.signature()) && outputs == Operator::kOutputs,
                    "wrong number of inputs or outputs");
                return 0;
            });
    }

    int32_t getOutputDataTypes(nvinfer1::DataType* types, int32_t outputs, nvinfer1::DataType const* in,
        int32_t inputs) const noexcept override
    {
        return guarded(Operator::kName, -1,
            [&]
            {
                std::string const signature = mOperator.signature();
                require(types != nullptr && in != nullptr, "null pointer");
                require(inputs == inputs_of(signature) && outputs == Operator::kOutputs,
                    "wrong number of inputs or outputs");
                std::vector<DataType> known;
                for (int32_t i = 0; i < inputs; ++i)
                {
                    known.push_back(data_type(in[i]));
                    require(
                        accepts(signature, i, known.data()), "input " + show(i) + " has a type that is not supported");
                }
                for (int32_t i = 0; i < outputs; ++i)
                {
                    types[i] = data_type(output_type(signature, i, known.data()));
                }
                return 0;
            });
    }

    int32_t getOutputShapes(nvinfer1::DimsExprs const* in, int32_t inputs, nvinfer1::DimsExprs const*, int32_t,
        nvinfer1::DimsExprs* out, int32_t outputs, nvinfer1::IExprBuilder& builder) noexcept override
    {
        return guarded(Operator::kName, -1,
            [&]
            {
                require(in != nullptr && out != nullptr, "null pointer");
                require(inputs == inputs_of(mOperator.signature()) && outputs == Operator::kOutputs,
                    "wrong number of inputs or outputs");
                std::vector<Dims<Symbol>> known(static_cast<size_t>(inputs)), made(Operator::kOutputs);
                for (int32_t i = 0; i < inputs; ++i)
                {
                    known[i].rank = in[i].nbDims;
                    for (int axis = 0; axis < in[i].nbDims; ++axis)
                    {
                        known[i].dims[axis] = Symbol::of(in[i].d[axis], builder);
                    }
                }
                mOperator.shapes(known.data(), inputs, made.data());
                for (int32_t i = 0; i < outputs; ++i)
                {
                    out[i].nbDims = made[i].rank;
                    for (int axis = 0; axis < made[i].rank; ++axis)
                    {
                        out[i].d[axis] = made[i].dims[axis].expression;
                    }
                }
                return 0;
            });
    }

    bool supportsFormatCombination(
        int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override
    {
        // No log line for a refusal: asking for what is not supported is how TensorRT searches.
        try
        {
            std::vector<DataType> types;
            for (int32_t i = 0; i <= position; ++i)
            {
                types.push_back(data_type(tensors[i].desc.type));
            }
            return tensors[position].desc.format == nvinfer1::TensorFormat::kLINEAR
                   && accepts(mOperator.signature(), position, types.data());
        }
        catch (std::exception const&)
        {
            return false;
        }
    }

    size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
        nvinfer1::DynamicPluginTensorDesc const* out, int32_t outputs) const noexcept override
    {
        return guarded<size_t>(Operator::kName, 0,
            [&]
            {
                std::vector<Tensor> given, made;
                for (int32_t i = 0; i < inputs; ++i)
                {
                    given.push_back(largest(in[i]));
                }
                for (int32_t i = 0; i < outputs; ++i)
                {
                    made.push_back(largest(out[i]));
                }
                return size_t(workspace(mOperator, given.data(), made.data()));
            });
    }

    // --- Runtime ---

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t inputs, nvinfer1::PluginTensorDesc const* out,
        int32_t outputs) noexcept override
    {
        return guarded(Operator::kName, -1,
            [&]
            {
                require(in != nullptr && out != nullptr, "null pointer");
                std::vector<Tensor> const given = tensors(in, inputs, nullptr), made = tensors(out, outputs, nullptr);
                check_tensors(mOperator, given.data(), inputs, made.data(), outputs);
                return 0;
            });
    }

    int32_t enqueue(nvinfer1::PluginTensorDesc const* in, nvinfer1::PluginTensorDesc const* out,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override
    {
        return guarded(Operator::kName, -1,
            [&]
            {
                require(in && out && inputs && outputs, "null pointer");
                std::vector<Tensor> const given = tensors(in, inputs_of(mOperator.signature()), inputs);
                std::vector<Tensor> const made = tensors(out, Operator::kOutputs, outputs);
                cudaError_t const status = launch(mOperator, given.data(), made.data(), workspace, stream);
                require(status == cudaSuccess, std::string("the kernel did not start: ") + cudaGetErrorString(status));
                return 0;
            });
    }

    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override
    {
        return clone();
    }

    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override
    {
        return guarded<nvinfer1::PluginFieldCollection const*>(Operator::kName, nullptr,
            [&]
            {
                FieldWriter writer;
                mOperator.visit(writer);
                mFields.clear();
                for (Field const& field : writer.fields())
                {
                    mFields.emplace_back(field.name, field.data, nvinfer1::PluginFieldType(field.type), field.length);
                }
                mCollection = {int32_t(mFields.size()), mFields.data()};
                return &mCollection;
            });
    }

private:
    static Tensor largest(nvinfer1::DynamicPluginTensorDesc const& dynamic)
    {
        nvinfer1::PluginTensorDesc desc = dynamic.desc;
        desc.dims = dynamic.max;
        return tensor(desc, nullptr);
    }

    template <class Pointer>
    static std::vector<Tensor> tensors(nvinfer1::PluginTensorDesc const* descs, int32_t count, Pointer* data)
    {
        std::vector<Tensor> made;
        for (int32_t i = 0; i < count; ++i)
        {
            made.push_back(tensor(descs[i], data[i]));
        }
        return made;
    }

    static std::vector<Tensor> tensors(nvinfer1::PluginTensorDesc const* descs, int32_t count, std::nullptr_t)
    {
        std::vector<void*> const none(static_cast<size_t>(count), nullptr);
        return tensors(descs, count, none.data());
    }

    Operator mOperator;
    std::vector<nvinfer1::PluginField> mFields;
    nvinfer1::PluginFieldCollection mCollection{};
};

template <class Operator>
class Creator final : public nvinfer1::IPluginCreatorV3One
{
public:
    Creator()
    {
        FieldWriter writer;
        Operator example{};
        example.visit(writer);
        for (Field const& field : writer.fields())
        {
            mFields.emplace_back(field.name, nullptr, nvinfer1::PluginFieldType(field.type), 1);
        }
        mCollection = {int32_t(mFields.size()), mFields.data()};
    }

    char const* getPluginName() const noexcept override
    {
        return Operator::kName;
    }

    char const* getPluginVersion() const noexcept override
    {
        return Operator::kVersion;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return Operator::kNamespace;
    }

    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &mCollection;
    }

    nvinfer1::IPluginV3* createPlugin(
        char const*, nvinfer1::PluginFieldCollection const* collection, nvinfer1::TensorRTPhase) noexcept override
    {
        return guarded<nvinfer1::IPluginV3*>(Operator::kName, nullptr,
            [&]
            {
                require(collection != nullptr, "the field collection is a null pointer");
                require(collection->nbFields == 0 || collection->fields != nullptr, "the fields are a null pointer");
                std::vector<Field> fields;
                for (int32_t i = 0; i < collection->nbFields; ++i)
                {
                    nvinfer1::PluginField const& field = collection->fields[i];
                    fields.push_back({field.name, field.data, FieldType(field.type), field.length});
                }
                return new Plugin<Operator>(make<Operator>(fields.data(), int32_t(fields.size())));
            });
    }

private:
    std::vector<nvinfer1::PluginField> mFields;
    nvinfer1::PluginFieldCollection mCollection{};
};

//! A global of this type makes the library offer `Operator`, both when it is merely dlopen()ed (Triton's `plugins=`,
//! LD_PRELOAD) and when TensorRT loads it (`loadLibrary`).
template <class Operator>
struct Registered
{
    Registered() noexcept
    {
        guarded(Operator::kName, 0,
            [&]
            {
                add_creator(new Creator<Operator>()); // lives as long as the process: the registry keeps the pointer
                return 0;
            });
    }
};

} // namespace trb

#define TRB_REGISTER(Operator) static trb::Registered<trb::Operator> const registered_##Operator
