// What a plugin library exports: always the plain C interface of abi.h (tests without TensorRT), and the TensorRT
// creator where the library is compiled with TensorRT's headers (-DTRB_WITH_TENSORRT).
#pragma once

#include "abi.h"

#include <cuda_runtime_api.h>

#ifdef TRB_WITH_TENSORRT
#include "tensorrt_plugin.h"
#define TRB_EXPORT(Operator)                                                                                           \
    TRB_EXPORT_DEVICE(trb::Operator)                                                                                   \
    TRB_REGISTER(Operator);
#else
#define TRB_EXPORT(Operator) TRB_EXPORT_DEVICE(trb::Operator)
#endif
