// CausalConvWithState: one unit = one output value, or (behind those) one value of the carried state.
#pragma once

#include "../common/types.h"

namespace trb
{

struct CausalConvParams
{
    int64_t batch, channels, length, kernel;
    bool silu;
};

TRB_HD inline float silu(float value)
{
#ifdef __CUDA_ARCH__ // within a few units in the last place, in a fifth of the instructions
    float power, inverse;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(value * -1.4426950408889634f)); // e^-value
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
    return value * inverse;
#else
    return value / (1.0f + expf(-value));
#endif
}

template <class T>
struct CausalConvUnit
{
    CausalConvParams p;
    T const* x;      // [batch, channels, length]
    T const* weight; // [channels, 1, kernel]
    T const* bias;   // [channels], or null
    T const* past;   // [batch, channels, kernel - 1], or null: zeros
    T* y;            // [batch, channels, length]
    T* present;      // [batch, channels, kernel - 1]

    TRB_HD void operator()(int64_t index) const
    {
        int64_t const outputs = p.batch * p.channels * p.length;
        if (index < outputs)
        {
            Division const at = divide(index, p.length);
            y[index] = output(at.quotient, at.remainder);
        }
        else
        {
            Division const at = divide(index - outputs, p.kernel - 1);
            present[index - outputs] = padded(at.quotient, p.length + at.remainder);
        }
    }

    //! Element `place` of one line of [past, x].
    TRB_HD T padded(int64_t line, int64_t place) const
    {
        int64_t const carried = p.kernel - 1;
        if (place >= carried)
        {
            return x[line * p.length + place - carried];
        }
        return past ? past[line * carried + place] : narrow<T>(0.0f);
    }

    TRB_HD T output(int64_t line, int64_t place) const
    {
        int64_t const channel = divide(line, p.channels).remainder;
        float total = bias ? widen(bias[channel]) : 0.0f;
        for (int64_t tap = 0; tap < p.kernel; ++tap)
        {
            total += widen(weight[channel * p.kernel + tap]) * widen(padded(line, place + tap));
        }
        return activated(total);
    }

    TRB_HD T activated(float total) const
    {
        T const convolved = narrow<T>(total); // the standard rounds here, before the activation
        return p.silu ? narrow<T>(silu(widen(convolved))) : convolved;
    }
};

//! Runs the whole operator; false if the type is not supported.
template <class Run>
TRB_HD bool causal_conv(Run& run, CausalConvParams const& p, DataType type, void const* x, void const* weight,
    void const* bias, void const* past, void* y, void* present)
{
    return with_float(type,
        [&](auto element)
        {
            using T = decltype(element);
            run(CausalConvUnit<T>{p, static_cast<T const*>(x), static_cast<T const*>(weight),
                    static_cast<T const*>(bias), static_cast<T const*>(past), static_cast<T*>(y),
                    static_cast<T*>(present)},
                p.batch * p.channels * (p.length + p.kernel - 1));
        });
}

} // namespace trb
