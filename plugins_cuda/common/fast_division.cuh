// Division without a division.
#pragma once

#include <cstdint>

namespace trb
{

//! Division by a number that is known before the launch, for values below 2^31: a multiplication and a shift.
struct FastDivision
{
    uint32_t by = 1, multiplier = 1, shift = 0;

    FastDivision() = default;

    //! A divisor outside [1, 2^31), of a shape that no one will ask for, becomes 1.
    explicit FastDivision(int64_t divisor) : by(divisor > 0 && divisor < INT32_MAX ? uint32_t(divisor) : 1)
    {
        while (shift < 31 && (1u << shift) < by)
        {
            ++shift;
        }
        multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - by)) / by + 1);
    }

    __device__ uint32_t operator()(uint32_t value) const
    {
        return (__umulhi(value, multiplier) + value) >> shift;
    }
};

} // namespace trb
