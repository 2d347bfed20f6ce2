// Inputs that a node may leave out. TensorRT passes only those that are there, so the attribute `present` (one 0 or 1
// per input of the ONNX operator, written by the toolkit's graph rewrite) says which they are.
#pragma once

#include "operator.h"

namespace trb
{

struct OptionalInputs
{
    IntList present{};

    template <class Visitor>
    void visit(Visitor& v)
    {
        v.integers("present", present, Need::kOptional);
    }

    void check(int all, int required) const
    {
        require(present.size == 0 || present.size == all, "attribute `present` must have " + show(all) + " values");
        for (int input = 0; input < present.size; ++input)
        {
            require(present.values[input] == 0 || present.values[input] == 1, "attribute `present` holds 0 and 1 only");
            require(input >= required || present.values[input], "input " + show(input) + " cannot be left out");
        }
    }

    //! Without the attribute every input is there.
    TRB_HD bool has(int input) const
    {
        return present.size == 0 || present.values[input] != 0;
    }

    //! The letters of the inputs that are there.
    std::string only(std::string const& letters) const
    {
        std::string kept;
        for (size_t input = 0; input < letters.size(); ++input)
        {
            kept += has(int(input)) ? letters.substr(input, 1) : "";
        }
        return kept;
    }

    //! Where input `input` stands among those that are there, or -1.
    TRB_HD int position(int input) const
    {
        int place = 0;
        for (int before = 0; before < input; ++before)
        {
            place += has(before) ? 1 : 0;
        }
        return has(input) ? place : -1;
    }

    template <class Item>
    TRB_HD Item const* find(Item const* items, int input) const
    {
        return has(input) ? items + position(input) : nullptr;
    }
};

TRB_HD inline void* data_of(Tensor const* tensor)
{
    return tensor ? tensor->data : nullptr;
}

} // namespace trb
