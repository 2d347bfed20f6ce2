// Drives a plugin library's TensorRT shell without TensorRT: everything that the builder and the runtime would ask of
// it.
//
//     trb_harness LIBRARY CASE cpu|gpu
//
// CASE is a text file, one item per line; numbers separated by spaces:
//     field NAME i64|f32|char VALUES…       an attribute
//     in  TYPE FILE DIMS…                   an input: TYPE as in trb::DataType, FILE with its bytes
//     out TYPE FILE DIMS…                   an output; with `gpu`, FILE receives its bytes
// `cpu` checks all that needs no device: refusals, types, shapes, serialization. `gpu` also runs `enqueue` on a stream,
// a second time inside a captured graph, with poisoned outputs, and requires the same bits. Exit status 0: all is well.
#include "common/tensorrt_plugin.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

namespace
{

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;

void expect(bool condition, std::string const& what)
{
    trb::require(condition, what);
}

void cuda(cudaError_t status, char const* what)
{
    expect(status == cudaSuccess, std::string(what) + ": " + cudaGetErrorString(status));
}

struct StoredField
{
    std::string name, type, text;
    std::vector<int64_t> integers;
    std::vector<float> floats;

    PluginField field() const
    {
        if (type == "char")
        {
            return {name.c_str(), text.data(), nvinfer1::PluginFieldType::kCHAR, int32_t(text.size())};
        }
        if (type == "f32")
        {
            return {name.c_str(), floats.data(), nvinfer1::PluginFieldType::kFLOAT32, int32_t(floats.size())};
        }
        return {name.c_str(), integers.data(), nvinfer1::PluginFieldType::kINT64, int32_t(integers.size())};
    }
};

struct StoredTensor
{
    std::string file;
    nvinfer1::PluginTensorDesc desc{};

    size_t bytes() const
    {
        size_t count = size_t(trb::size_of(trb::data_type(desc.type)));
        for (int axis = 0; axis < desc.dims.nbDims; ++axis)
        {
            count *= size_t(desc.dims.d[axis]);
        }
        return count;
    }
};

struct Case
{
    std::vector<StoredField> fields;
    std::vector<StoredTensor> in, out;
};

Case read_case(char const* path)
{
    Case made;
    std::ifstream file(path);
    expect(file.good(), std::string("cannot read ") + path);
    for (std::string line; std::getline(file, line);)
    {
        std::istringstream words(line);
        std::string kind;
        words >> kind;
        if (kind == "field")
        {
            StoredField field;
            words >> field.name >> field.type;
            if (field.type == "char")
            {
                words >> field.text;
            }
            else if (field.type == "f32")
            {
                field.floats.assign(std::istream_iterator<float>(words), {});
            }
            else
            {
                field.integers.assign(std::istream_iterator<int64_t>(words), {});
            }
            made.fields.push_back(field);
        }
        else
        {
            StoredTensor tensor;
            int32_t type = 0;
            words >> type >> tensor.file;
            tensor.desc.type = trb::data_type(trb::DataType(type));
            tensor.desc.format = nvinfer1::TensorFormat::kLINEAR;
            for (int64_t dim = 0; words >> dim;)
            {
                tensor.desc.dims.d[tensor.desc.dims.nbDims++] = dim;
            }
            (kind == "in" ? made.in : made.out).push_back(tensor);
        }
    }
    return made;
}

nvinfer1::IPluginV3* create(nvinfer1::IPluginCreatorV3One& creator, std::vector<PluginField> const& fields)
{
    PluginFieldCollection const collection{int32_t(fields.size()), fields.data()};
    return creator.createPlugin("case", &collection, nvinfer1::TensorRTPhase::kBUILD);
}

void check_refusals(nvinfer1::IPluginCreatorV3One& creator, std::vector<PluginField> const& fields)
{
    expect(!creator.createPlugin("case", nullptr, nvinfer1::TensorRTPhase::kBUILD), "a null collection was accepted");
    PluginFieldCollection const hollow{1, nullptr};
    expect(!creator.createPlugin("case", &hollow, nvinfer1::TensorRTPhase::kBUILD), "null fields were accepted");
    std::vector<PluginField> changed = fields;
    int64_t const value = 1;
    changed.emplace_back("no_such_attribute", &value, nvinfer1::PluginFieldType::kINT64, 1);
    expect(!create(creator, changed), "an unknown attribute was accepted");
    changed = fields;
    changed.emplace_back(nullptr, &value, nvinfer1::PluginFieldType::kINT64, 1);
    expect(!create(creator, changed), "an attribute without a name was accepted");
    for (size_t i = 0; i < fields.size(); ++i)
    {
        changed = fields;
        changed[i].type = nvinfer1::PluginFieldType::kDIMS;
        expect(!create(creator, changed) || changed[i].length == 0, "an attribute of a wrong type was accepted");
        changed = fields;
        changed[i].data = nullptr;
        expect(!create(creator, changed) || changed[i].length == 0, "an attribute without data was accepted");
    }
}

template <class Capability>
Capability& capability(nvinfer1::IPluginV3& plugin, nvinfer1::PluginCapabilityType type)
{
    auto* const found = static_cast<Capability*>(plugin.getCapabilityInterface(type));
    expect(found != nullptr, "a capability is missing");
    return *found;
}

void check_build(nvinfer1::IPluginV3& plugin, Case const& given)
{
    auto& build = capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
    int32_t const inputs = int32_t(given.in.size()), outputs = int32_t(given.out.size());
    expect(build.getNbOutputs() == outputs, "another number of outputs");
    std::vector<nvinfer1::DataType> in, out(given.out.size());
    std::vector<nvinfer1::DynamicPluginTensorDesc> all;
    for (StoredTensor const& tensor : given.in)
    {
        in.push_back(tensor.desc.type);
        all.push_back({tensor.desc, tensor.desc.dims, tensor.desc.dims, tensor.desc.dims});
    }
    for (StoredTensor const& tensor : given.out)
    {
        all.push_back({tensor.desc, tensor.desc.dims, tensor.desc.dims, tensor.desc.dims});
    }
    expect(build.getOutputDataTypes(out.data(), outputs, in.data(), inputs) == 0, "output types refused");
    for (int32_t i = 0; i < outputs; ++i)
    {
        expect(out[i] == given.out[i].desc.type, "an output has another type");
    }
    for (int32_t i = 0; i < inputs + outputs; ++i)
    {
        expect(build.supportsFormatCombination(i, all.data(), inputs, outputs), "a type is not supported");
        auto vectorized = all;
        vectorized[i].desc.format = nvinfer1::TensorFormat::kCHW32;
        expect(!build.supportsFormatCombination(i, vectorized.data(), inputs, outputs), "a foreign format is accepted");
    }
    expect(build.configurePlugin(all.data(), inputs, all.data() + inputs, outputs) == 0, "configurePlugin refused");
    expect(build.configurePlugin(nullptr, inputs, nullptr, outputs) != 0, "configurePlugin took null pointers");
    expect(build.getOutputDataTypes(nullptr, outputs, nullptr, inputs) != 0, "output types of null pointers");
}

void check_runtime(nvinfer1::IPluginV3& plugin, nvinfer1::IPluginCreatorV3One& creator, Case const& given)
{
    auto& runtime = capability<nvinfer1::IPluginV3OneRuntime>(plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
    std::vector<nvinfer1::PluginTensorDesc> in, out;
    for (StoredTensor const& tensor : given.in)
    {
        in.push_back(tensor.desc);
    }
    for (StoredTensor const& tensor : given.out)
    {
        out.push_back(tensor.desc);
    }
    int32_t const inputs = int32_t(in.size()), outputs = int32_t(out.size());
    expect(runtime.onShapeChange(in.data(), inputs, out.data(), outputs) == 0, "the shapes were refused");
    expect(runtime.onShapeChange(nullptr, inputs, nullptr, outputs) != 0, "null shapes were accepted");
    auto wrong = out;
    wrong[0].dims.d[wrong[0].dims.nbDims++ % 8] = 77;
    expect(runtime.onShapeChange(in.data(), inputs, wrong.data(), outputs) != 0, "a wrong output shape was accepted");
    expect(
        runtime.enqueue(in.data(), out.data(), nullptr, nullptr, nullptr, nullptr) != 0, "enqueue took null pointers");
    PluginFieldCollection const* const stored = runtime.getFieldsToSerialize();
    expect(stored != nullptr, "nothing to serialize");
    nvinfer1::IPluginV3* const again = creator.createPlugin("case", stored, nvinfer1::TensorRTPhase::kRUNTIME);
    expect(again != nullptr, "the serialized fields do not make a plugin");
    delete again;
    nvinfer1::IPluginV3* const attached = runtime.attachToContext(nullptr);
    expect(attached != nullptr, "attachToContext gave nothing");
    delete attached;
}

struct DeviceMemory
{
    explicit DeviceMemory(size_t size, int poison) : bytes(size ? size : 1)
    {
        cuda(cudaMalloc(&data, bytes), "cudaMalloc");
        cuda(cudaMemset(data, poison, bytes), "cudaMemset");
    }

    ~DeviceMemory()
    {
        cudaFree(data);
    }

    DeviceMemory(DeviceMemory const&) = delete;
    DeviceMemory& operator=(DeviceMemory const&) = delete;

    size_t bytes;
    void* data = nullptr;
};

std::vector<char> contents(std::string const& path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

//! Runs enqueue on a stream of its own, with fresh poisoned outputs; in a captured graph if asked. Output bytes.
std::vector<std::vector<char>> run(nvinfer1::IPluginV3& plugin, Case const& given, bool captured, int poison)
{
    auto& build = capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
    auto& runtime = capability<nvinfer1::IPluginV3OneRuntime>(plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
    std::vector<std::unique_ptr<DeviceMemory>> memory;
    std::vector<nvinfer1::PluginTensorDesc> in_desc, out_desc;
    std::vector<nvinfer1::DynamicPluginTensorDesc> in_range, out_range;
    std::vector<void const*> in;
    std::vector<void*> out;
    for (StoredTensor const& tensor : given.in)
    {
        std::vector<char> const bytes = contents(tensor.file);
        expect(bytes.size() == tensor.bytes(), tensor.file + " has another size than its shape says");
        memory.push_back(std::make_unique<DeviceMemory>(bytes.size(), 0));
        cuda(cudaMemcpy(memory.back()->data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copy to device");
        in.push_back(memory.back()->data);
        in_desc.push_back(tensor.desc);
        in_range.push_back({tensor.desc, tensor.desc.dims, tensor.desc.dims, tensor.desc.dims});
    }
    for (StoredTensor const& tensor : given.out)
    {
        memory.push_back(std::make_unique<DeviceMemory>(tensor.bytes(), poison));
        out.push_back(memory.back()->data);
        out_desc.push_back(tensor.desc);
        out_range.push_back({tensor.desc, tensor.desc.dims, tensor.desc.dims, tensor.desc.dims});
    }
    size_t const workspace =
        build.getWorkspaceSize(in_range.data(), int32_t(in.size()), out_range.data(), int32_t(out.size()));
    DeviceMemory scratch(workspace, poison);
    cuda(cudaDeviceSynchronize(), "poisoning"); // the stream below does not wait for the default one
    cudaStream_t stream = nullptr;
    cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    if (captured)
    {
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t executable = nullptr;
        cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
        expect(runtime.enqueue(in_desc.data(), out_desc.data(), in.data(), out.data(), scratch.data, stream) == 0,
            "enqueue failed in a capture");
        cuda(cudaStreamEndCapture(stream, &graph), "end capture");
        cuda(cudaGraphInstantiate(&executable, graph, 0), "instantiate");
        cuda(cudaGraphLaunch(executable, stream), "graph launch");
        cuda(cudaStreamSynchronize(stream), "graph");
        cudaGraphExecDestroy(executable);
        cudaGraphDestroy(graph);
    }
    else
    {
        expect(runtime.enqueue(in_desc.data(), out_desc.data(), in.data(), out.data(), scratch.data, stream) == 0,
            "enqueue failed");
        cuda(cudaStreamSynchronize(stream), "enqueue");
    }
    std::vector<std::vector<char>> results;
    for (size_t i = 0; i < out.size(); ++i)
    {
        results.emplace_back(given.out[i].bytes());
        cuda(cudaMemcpy(results[i].data(), out[i], results[i].size(), cudaMemcpyDeviceToHost), "copy from device");
    }
    cudaStreamDestroy(stream);
    return results;
}

int drive(char const* library, char const* path, bool gpu)
{
    void* const handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    expect(handle != nullptr, std::string("cannot load: ") + dlerror());
    using GetCreators = nvinfer1::IPluginCreatorInterface* const*(int32_t&);
    auto* const get = reinterpret_cast<GetCreators*>(dlsym(handle, "getCreators"));
    expect(get != nullptr, "the library exports no getCreators");
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const creators = get(count);
    expect(count == 1 && creators != nullptr, "the library does not offer one creator");
    auto& creator = static_cast<nvinfer1::IPluginCreatorV3One&>(*creators[0]);
    Case const given = read_case(path);
    std::vector<PluginField> fields;
    for (StoredField const& field : given.fields)
    {
        fields.push_back(field.field());
    }
    check_refusals(creator, fields);
    std::unique_ptr<nvinfer1::IPluginV3> const plugin(create(creator, fields));
    expect(plugin != nullptr, "the attributes were refused");
    std::unique_ptr<nvinfer1::IPluginV3> const copy(plugin->clone());
    expect(copy != nullptr, "clone gave nothing");
    check_build(*copy, given);
    check_runtime(*copy, creator, given);
    if (gpu)
    {
        auto const first = run(*copy, given, false, 0xA5), second = run(*copy, given, true, 0x5A);
        bool const bits = std::getenv("TRB_ANY_ORDER") == nullptr; // atomics in float: equal only within rounding
        expect(!bits || first == second, "a captured graph, or another poison, gives other bits");
        for (size_t i = 0; i < first.size(); ++i)
        {
            std::ofstream(given.out[i].file, std::ios::binary).write(first[i].data(), std::streamsize(first[i].size()));
        }
    }
    return 0;
}

} // namespace

void trb::log_error(char const* where, char const* what) noexcept
{
    std::fprintf(stderr, "%s: %s\n", where, what);
}

void trb::add_creator(nvinfer1::IPluginCreatorV3One*) noexcept
{
}

int main(int argc, char** argv)
{
    if (argc != 4)
    {
        std::fprintf(stderr, "usage: trb_harness LIBRARY CASE cpu|gpu\n");
        return 2;
    }
    try
    {
        return drive(argv[1], argv[2], std::string(argv[3]) == "gpu");
    }
    catch (std::exception const& error)
    {
        std::fprintf(stderr, "FAILED: %s\n", error.what());
        return 1;
    }
}
