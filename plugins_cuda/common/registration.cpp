// How a plugin library meets TensorRT's registry. It links to no TensorRT library: the registry is looked up in the
// process that loads it, so one file serves every minor version, and a library for another major refuses politely.
//
// Two ways lead in, and both must work:
//   dlopen alone (Triton's `--backend-config=tensorrt,plugins=`, LD_PRELOAD, ctypes): static constructors register.
//   IPluginRegistry::loadLibrary: dlopen runs the static constructors, then TensorRT asks `getCreators` and registers
//   what it gets. A creator may be registered once, so `getCreators` first takes back what the constructors added.
#include "tensorrt_plugin.h"

#include <dlfcn.h>

#include <cstdio>
#include <mutex>

#define TRB_TEXT_OF(value) #value
#define TRB_TEXT(value) TRB_TEXT_OF(value)

namespace
{

constexpr int32_t kMajor = NV_TENSORRT_MAJOR;

struct State
{
    std::mutex mutex;
    std::vector<nvinfer1::IPluginCreatorV3One*> ours;      // every creator of this library, in order of registration
    std::vector<nvinfer1::IPluginCreatorV3One*> ourOwn;    // of these, the ones that this file put into the registry
    std::vector<nvinfer1::IPluginCreatorInterface*> given; // the ones that getCreators hands over
    nvinfer1::ILoggerFinder* finder = nullptr;
};

State& state()
{
    static State* const only = new State(); // never destroyed: TensorRT may ask during the process's own shutdown
    return *only;
}

//! The TensorRT of this process: already loaded if possible, else from the library path.
void* tensorrt()
{
    static void* const library = []
    {
        char const* const names[] = {
            "libnvinfer.so." TRB_TEXT(NV_TENSORRT_MAJOR),
#if NV_TENSORRT_MAJOR >= 11
            "libtensorrt_rtx.so.1", // TensorRT for RTX has the plugin interface of TensorRT 11
#endif
        };
        for (int const mode : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW | RTLD_GLOBAL})
        {
            for (char const* name : names)
            {
                if (void* found = dlopen(name, mode))
                {
                    return found;
                }
            }
        }
        return static_cast<void*>(nullptr);
    }();
    return library;
}

template <class Function>
Function* symbol(char const* name)
{
    void* const library = tensorrt();
    return library ? reinterpret_cast<Function*>(dlsym(library, name)) : nullptr;
}

nvinfer1::IPluginRegistry* registry()
{
    auto* const get = symbol<nvinfer1::IPluginRegistry*()>("getPluginRegistry");
    return get ? get() : nullptr;
}

nvinfer1::ILogger* logger()
{
    if (state().finder)
    {
        return state().finder->findLogger();
    }
    auto* const get = symbol<nvinfer1::ILogger*()>("getLogger");
    return get ? get() : nullptr;
}

void say(nvinfer1::ILogger::Severity severity, std::string const& text) noexcept
{
    if (nvinfer1::ILogger* to = logger())
    {
        to->log(severity, text.c_str());
    }
    else
    {
        std::fprintf(stderr, "%s\n", text.c_str());
    }
}

std::string title(nvinfer1::IPluginCreatorV3One const& creator)
{
    return std::string(creator.getPluginName()) + " version " + creator.getPluginVersion() + " namespace `"
           + creator.getPluginNamespace() + "`";
}

//! Looks through all creators instead of asking for one: asking for one that is absent logs an error.
bool taken(nvinfer1::IPluginRegistry& where, nvinfer1::IPluginCreatorV3One const& creator)
{
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const all = where.getAllCreators(&count);
    for (int32_t i = 0; all != nullptr && i < count; ++i)
    {
        if (std::strcmp(all[i]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0)
        {
            auto const& other = static_cast<nvinfer1::IPluginCreatorV3One const&>(*all[i]);
            if (std::strcmp(other.getPluginName(), creator.getPluginName()) == 0
                && std::strcmp(other.getPluginVersion(), creator.getPluginVersion()) == 0
                && std::strcmp(other.getPluginNamespace(), creator.getPluginNamespace()) == 0)
            {
                return true;
            }
        }
    }
    return false;
}

} // namespace

void trb::log_error(char const* where, char const* what) noexcept
{
    try
    {
        say(nvinfer1::ILogger::Severity::kERROR, std::string(where) + ": " + what);
    }
    catch (...)
    {
        std::fprintf(stderr, "%s: %s\n", where, what);
    }
}

void trb::add_creator(nvinfer1::IPluginCreatorV3One* creator) noexcept
{
    guarded(creator->getPluginName(), 0,
        [&]
        {
            std::lock_guard<std::mutex> const lock(state().mutex);
            state().ours.push_back(creator);
            nvinfer1::IPluginRegistry* const where = registry();
            require(where != nullptr,
                "no TensorRT " TRB_TEXT(NV_TENSORRT_MAJOR) " in this process: this library was built "
                                                           "for that major version; build it again for the server's");
            if (taken(*where, *creator))
            {
                say(nvinfer1::ILogger::Severity::kWARNING,
                    title(*creator) + " is registered already; this copy is ignored");
            }
            else if (where->registerCreator(*creator, creator->getPluginNamespace()))
            {
                state().ourOwn.push_back(creator);
            }
            return 0;
        });
}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    count = 0;
    return trb::guarded<nvinfer1::IPluginCreatorInterface* const*>("getCreators", nullptr,
        [&]
        {
            std::lock_guard<std::mutex> const lock(state().mutex);
            nvinfer1::IPluginRegistry* const where = registry();
            for (nvinfer1::IPluginCreatorV3One* own : state().ourOwn)
            {
                where->deregisterCreator(*own);
            }
            state().ourOwn.clear();
            state().given.clear();
            for (nvinfer1::IPluginCreatorV3One* creator : state().ours)
            {
                if (where == nullptr || !taken(*where, *creator))
                {
                    state().given.push_back(creator);
                }
            }
            count = int32_t(state().given.size());
            return state().given.data();
        });
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    state().finder = finder;
}

//! The TensorRT major version whose headers built this library; read by `triton-repo plugin test`.
extern "C" __attribute__((visibility("default"))) int32_t trb_tensorrt_major()
{
    return kMajor;
}
