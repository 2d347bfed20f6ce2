// What an operator says about itself: attributes, types, shapes. Plain C++17: shared by the TensorRT shell, by the
// host library of the tests and by the GPU harness, so that acceptance of shapes and types is tested without TensorRT.
//
// An operator is a struct with
//     static constexpr char const *kName, *kVersion, *kNamespace; static constexpr int kOutputs;
//     template <class Visitor> void visit(Visitor&);            every attribute, once: read, written and listed by it
//     void check() const;                                       throws Refused for attributes out of range
//     std::string signature() const;                            types, see below
//     template <class D> void shapes(Dims<D> const* in, int inputs, Dims<D>* out) const;   throws Refused
//     template <class Run> bool run(Run&, Tensor const* in, Tensor const* out) const;      the arithmetic; false: wrong
//     types
// and, next to its kernel's call, two functions: workspace(op, in, out) in bytes, and launch(op, in, out, workspace,
// stream).
#pragma once

#include "types.h"

#include <stdexcept>
#include <string>
#include <vector>

namespace trb
{

//! Thrown when an operator is asked for something it does not promise; the text says what and why.
class Refused : public std::runtime_error
{
public:
    using std::runtime_error::runtime_error;
};

inline void require(bool condition, std::string const& otherwise)
{
    if (!condition)
    {
        throw Refused(otherwise);
    }
}

struct Tensor
{
    void* data;
    DataType type;
    Shape shape;
};

// --- attributes -----------------------------------------------------------------------------------------------------

//! Numbered as nvinfer1::PluginFieldType.
enum class FieldType : int32_t
{
    kF32 = 1,
    kF64 = 2,
    kI32 = 5,
    kChar = 6,
    kI64 = 10,
};

//! One attribute as TensorRT passes it (nvinfer1::PluginField has the same members in the same order).
struct Field
{
    char const* name;
    void const* data;
    FieldType type;
    int32_t length;
};

enum class Need
{
    kRequired,
    kOptional,
};

//! Fills an operator's members from fields. Unknown, missing, null and wrongly typed ones are refused.
class FieldReader
{
public:
    FieldReader(Field const* fields, int32_t count) : mFields(fields), mCount(count)
    {
        require(count >= 0 && (count == 0 || fields != nullptr), "the field collection is a null pointer");
        for (int32_t i = 0; i < count; ++i)
        {
            require(fields[i].name != nullptr, "an attribute has no name (null pointer)");
            require(fields[i].length >= 0, std::string("attribute `") + fields[i].name + "` has a negative length");
        }
    }

    void integer(char const* name, int64_t& value, Need need)
    {
        if (Field const* field = find(name, need))
        {
            require(field->length == 1, text(name, "must be one integer"));
            value = integer_at(*field, 0);
        }
    }

    void number(char const* name, float& value, Need need)
    {
        if (Field const* field = find(name, need))
        {
            require(field->length == 1, text(name, "must be one number"));
            require(field->type == FieldType::kF32 || field->type == FieldType::kF64, text(name, "must be a float"));
            value = field->type == FieldType::kF32 ? *static_cast<float const*>(field->data)
                                                   : float(*static_cast<double const*>(field->data));
        }
    }

    //! A text attribute with a fixed list of meanings; `value` becomes the position in it.
    void choice(char const* name, int32_t& value, std::vector<char const*> const& choices, Need need)
    {
        if (Field const* field = find(name, need))
        {
            require(field->type == FieldType::kChar, text(name, "must be a string"));
            char const* begin = static_cast<char const*>(field->data);
            std::string word(begin, strnlen(begin, size_t(field->length)));
            std::string known;
            for (size_t i = 0; i < choices.size(); ++i)
            {
                if (word == choices[i])
                {
                    value = int32_t(i);
                    return;
                }
                known += std::string(i ? ", " : "") + choices[i];
            }
            throw Refused(text(name, "is `" + word + "`, must be one of: " + known));
        }
    }

    void integers(char const* name, IntList& value, Need need)
    {
        if (Field const* field = find(name, need))
        {
            require(field->length <= 2 * kMaxRank, text(name, "has too many values"));
            value.size = field->length;
            for (int32_t i = 0; i < field->length; ++i)
            {
                value.values[i] = integer_at(*field, i);
            }
        }
    }

    //! To be called after the visit: a name that no visitor asked for is a misspelling, not a wish.
    void finish() const
    {
        for (int32_t i = 0; i < mCount; ++i)
        {
            bool known = false;
            for (char const* name : mKnown)
            {
                known = known || std::strcmp(name, mFields[i].name) == 0;
            }
            require(known, std::string("unknown attribute `") + mFields[i].name + "`");
        }
    }

private:
    Field const* find(char const* name, Need need)
    {
        mKnown.push_back(name);
        for (int32_t i = 0; i < mCount; ++i)
        {
            if (std::strcmp(mFields[i].name, name) == 0)
            {
                require(mFields[i].data != nullptr || mFields[i].length == 0, text(name, "has no data (null pointer)"));
                return &mFields[i];
            }
        }
        require(need == Need::kOptional, text(name, "is missing"));
        return nullptr;
    }

    static int64_t integer_at(Field const& field, int32_t index)
    {
        // ONNX attributes are 64-bit, TensorRT's parser hands them on as 32-bit.
        require(field.type == FieldType::kI32 || field.type == FieldType::kI64, text(field.name, "must be an integer"));
        return field.type == FieldType::kI32 ? static_cast<int32_t const*>(field.data)[index]
                                             : static_cast<int64_t const*>(field.data)[index];
    }

    static std::string text(char const* name, std::string const& rest)
    {
        return std::string("attribute `") + name + "` " + rest;
    }

    Field const* mFields;
    int32_t mCount;
    std::vector<char const*> mKnown;
};

//! Collects an operator's members as fields: to serialize them, and to list their names and types.
class FieldWriter
{
public:
    void integer(char const* name, int64_t& value, Need)
    {
        mFields.push_back({name, &value, FieldType::kI64, 1});
    }

    void number(char const* name, float& value, Need)
    {
        mFields.push_back({name, &value, FieldType::kF32, 1});
    }

    void choice(char const* name, int32_t& value, std::vector<char const*> const& choices, Need)
    {
        char const* word = choices.at(size_t(value));
        mFields.push_back({name, word, FieldType::kChar, int32_t(std::strlen(word))});
    }

    void integers(char const* name, IntList& value, Need)
    {
        mFields.push_back({name, value.values, FieldType::kI64, value.size});
    }

    std::vector<Field> const& fields() const
    {
        return mFields;
    }

private:
    std::vector<Field> mFields;
};

//! The operator that `fields` describe; throws Refused.
template <class Operator>
Operator make(Field const* fields, int32_t count)
{
    Operator made{};
    FieldReader reader(fields, count);
    made.visit(reader);
    reader.finish();
    made.check();
    return made;
}

// --- types
// ------------------------------------------------------------------------------------------------------------

//! A signature such as "FGL>F": one letter per input, then per output. Equal letters have equal types.
//!   F, G, S  FP32, FP16 or BF16        N  these or INT32, INT64        L  INT64        I  INT32 or INT64
inline bool letter_allows(char letter, DataType type)
{
    bool const floating = type == DataType::kF32 || type == DataType::kF16 || type == DataType::kBF16;
    switch (letter)
    {
    case 'N': return true;
    case 'L': return type == DataType::kI64;
    case 'I': return !floating;
    default: return floating;
    }
}

//! True if the tensor at `position` (inputs, then outputs) may have its type, given the types before it.
inline bool accepts(std::string const& signature, int position, DataType const* types)
{
    std::string letters = signature;
    letters.erase(letters.find('>'), 1);
    if (position < 0 || size_t(position) >= letters.size() || !letter_allows(letters[position], types[position]))
    {
        return false;
    }
    size_t const first = letters.find(letters[size_t(position)]);
    return types[first] == types[position];
}

inline int inputs_of(std::string const& signature)
{
    return int(signature.find('>'));
}

//! Type of output `index`: that of the first input with its letter, or INT64 for `L`.
inline DataType output_type(std::string const& signature, int index, DataType const* inputs)
{
    char const letter = signature.at(signature.find('>') + 1 + size_t(index));
    size_t const source = signature.find(letter);
    return source < signature.find('>') ? inputs[source] : DataType::kI64;
}

// --- shapes
// -----------------------------------------------------------------------------------------------------------

//! A shape over any kind of dimension: numbers here, TensorRT's symbolic expressions in the shell.
template <class D>
struct Dims
{
    int rank;
    D dims[kMaxRank];
};

//! A known dimension. `known` lets shape rules check what they can and leave the rest to the moment it is known.
struct Number
{
    int64_t value;

    bool known() const
    {
        return true;
    }

    Number constant(int64_t number) const
    {
        return {number};
    }
};

inline Number operator+(Number a, Number b)
{
    return {a.value + b.value};
}

inline Number operator-(Number a, Number b)
{
    return {a.value - b.value};
}

inline Number operator*(Number a, Number b)
{
    return {a.value * b.value};
}

inline Number operator/(Number a, Number b)
{
    require(b.value != 0, "division by a dimension of size 0");
    return {a.value / b.value};
}

inline std::string show(int64_t value)
{
    return std::to_string(value);
}

template <class D>
void require_rank(Dims<D> const& dims, int rank, char const* name)
{
    require(dims.rank == rank, std::string("`") + name + "` has rank " + show(dims.rank) + ", must be " + show(rank));
}

//! Two dimensions that must agree; unknown ones are taken to, and looked at again when they are known.
template <class D>
void require_equal(D const& a, D const& b, std::string const& what)
{
    if (a.known() && b.known())
    {
        require(a.value == b.value, what + ": " + show(a.value) + " and " + show(b.value) + " differ");
    }
}

inline Dims<Number> numbers(Shape const& shape)
{
    Dims<Number> dims{shape.rank, {}};
    for (int axis = 0; axis < shape.rank; ++axis)
    {
        dims.dims[axis] = {shape.dims[axis]};
    }
    return dims;
}

//! Number, types and shapes of the tensors, all checked; throws Refused. `out` gives the shapes that must come out.
template <class Operator>
void check_tensors(Operator const& op, Tensor const* in, int inputs, Tensor const* out, int outputs)
{
    std::string const signature = op.signature();
    require(inputs == inputs_of(signature),
        std::string(Operator::kName) + " takes " + show(inputs_of(signature)) + " inputs, got " + show(inputs));
    require(outputs == Operator::kOutputs, "wrong number of outputs");
    std::vector<DataType> types;
    std::vector<Dims<Number>> shapes;
    for (int i = 0; i < inputs + outputs; ++i)
    {
        types.push_back(i < inputs ? in[i].type : out[i - inputs].type);
        require(accepts(signature, i, types.data()), "tensor " + show(i) + " has a type that is not supported");
    }
    for (int i = 0; i < inputs; ++i)
    {
        require(in[i].shape.rank >= 0 && in[i].shape.rank <= kMaxRank, "rank above 8");
        shapes.push_back(numbers(in[i].shape));
    }
    std::vector<Dims<Number>> expected(Operator::kOutputs);
    op.shapes(shapes.data(), inputs, expected.data());
    for (int i = 0; i < outputs; ++i)
    {
        bool same = expected[i].rank == out[i].shape.rank;
        for (int axis = 0; same && axis < expected[i].rank; ++axis)
        {
            same = expected[i].dims[axis].value == out[i].shape.dims[axis];
        }
        require(same, "output " + show(i) + " has another shape than the inputs give");
    }
}

} // namespace trb
