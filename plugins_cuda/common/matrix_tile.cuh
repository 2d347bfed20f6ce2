// Dense small matrices, one per lane, carried between global memory and registers by way of shared memory: a warp
// copies the 32 matrices of its lanes with neighbouring 16-byte accesses, then each lane takes its own.
#pragma once

#include "access.cuh"
#include "matrix.h"

namespace trb
{

constexpr int kMatrixThreads = 128; // matrices of 8 x 8 floats still fit the 48 KB that every block may have

template <int N, class T>
class MatrixTile
{
    static constexpr int kSize = N * N, kBytes = kSize * int(sizeof(T));
    static constexpr int kPart = kBytes % 16 == 0 ? 16 : kBytes % 8 == 0 ? 8 : kBytes % 4 == 0 ? 4 : 2;
    static constexpr int kParts = kBytes / kPart;
    // An odd pitch spreads the lanes over the banks. Only 16-byte parts can be even in number, so matrices whose parts
    // are smaller lie in shared memory as densely as outside.
    static constexpr int kPitch = kParts | 1;
    static constexpr int kVectors = kWarp * kBytes / kAccess; // of a full warp
    static constexpr int kRounds = (kVectors + kWarp - 1) / kWarp;
    using Part = typename Access<kPart>::Type;

public:
    struct Storage
    {
        alignas(kAccess) unsigned char bytes[kMatrixThreads / kWarp][kWarp * kPitch * kPart];
    };

    //! `first`: this warp's first matrix of `matrices`; `wide`: the data are aligned to 16 bytes.
    __device__ MatrixTile(Storage& storage, int64_t first, int64_t matrices, bool wide)
        : mStage(storage.bytes[threadIdx.x / kWarp])
        , mLane(threadIdx.x % kWarp)
        , mCount(matrices - first < kWarp ? int(matrices - first) : kWarp)
        , mWide(wide && mCount == kWarp)
    {
    }

    __device__ bool has_matrix() const
    {
        return mLane < mCount;
    }

    //! The lane's matrix; unspecified for a lane that has none. `from`: the warp's first matrix.
    __device__ Rows<N, N> load(T const* from)
    {
        copy_in(from);
        __syncwarp();
        T items[kSize];
        TRB_UNROLL
        for (int part = 0; part < kParts; ++part)
        {
            Part const value = *own(part);
            memcpy(reinterpret_cast<unsigned char*>(items) + part * kPart, &value, kPart);
        }
        Rows<N, N> m;
        TRB_UNROLL
        for (int i = 0; i < kSize; ++i)
        {
            m.a[i / N][i % N] = widen(items[i]);
        }
        return m;
    }

    //! Writes the matrices of all lanes; `to`: the warp's first matrix.
    __device__ void store(T* to, Rows<N, N> const& m)
    {
        T items[kSize];
        TRB_UNROLL
        for (int i = 0; i < kSize; ++i)
        {
            items[i] = narrow<T>(m.a[i / N][i % N]);
        }
        TRB_UNROLL
        for (int part = 0; part < kParts; ++part)
        {
            Part value;
            memcpy(&value, reinterpret_cast<unsigned char*>(items) + part * kPart, kPart);
            *own(part) = value;
        }
        __syncwarp();
        copy_out(to);
    }

private:
    __device__ void copy_in(T const* from)
    {
        if (!mWide)
        {
            for (int i = mLane; i < mCount * kSize; i += kWarp)
            {
                *element(i) = from[i];
            }
            return;
        }
        uint4 vectors[kRounds];
        TRB_UNROLL
        for (int round = 0; round < kRounds; ++round)
        {
            int const i = round * kWarp + mLane;
            vectors[round] = i < kVectors ? reinterpret_cast<uint4 const*>(from)[i] : uint4{};
        }
        TRB_UNROLL
        for (int round = 0; round < kRounds; ++round)
        {
            int const i = round * kWarp + mLane;
            if (i < kVectors)
            {
                *vector(i) = vectors[round];
            }
        }
    }

    __device__ void copy_out(T* to)
    {
        if (!mWide)
        {
            for (int i = mLane; i < mCount * kSize; i += kWarp)
            {
                to[i] = *element(i);
            }
            return;
        }
        TRB_UNROLL
        for (int round = 0; round < kRounds; ++round)
        {
            int const i = round * kWarp + mLane;
            if (i < kVectors)
            {
                reinterpret_cast<uint4*>(to)[i] = *vector(i);
            }
        }
    }

    __device__ Part* own(int part) const
    {
        return reinterpret_cast<Part*>(mStage) + mLane * kPitch + part;
    }

    //! Element `i` of the warp's matrices, counted as they lie in global memory.
    __device__ T* element(int i) const
    {
        return reinterpret_cast<T*>(mStage + i / kSize * (kPitch * kPart)) + i % kSize;
    }

    //! The `i`-th 16 bytes of the warp's matrices, counted as they lie in global memory.
    __device__ uint4* vector(int i) const
    {
        return reinterpret_cast<uint4*>(mStage) + (kPitch == kParts ? i : i / kParts * kPitch + i % kParts);
    }

    unsigned char* mStage;
    int mLane, mCount;
    bool mWide;
};

//! Launches `kernel` (arguments first, then the number of matrices) with one thread per matrix.
template <class... Parameters, class... Arguments>
cudaError_t launch_per_matrix(
    void (*kernel)(Parameters...), int64_t matrices, cudaStream_t stream, Arguments... arguments)
{
    int64_t const blocks = (matrices + kMatrixThreads - 1) / kMatrixThreads;
    if (blocks == 0)
    {
        return cudaSuccess; // an empty grid is an error in CUDA, but an empty batch is none
    }
    if (blocks > INT32_MAX)
    {
        return cudaErrorInvalidConfiguration;
    }
    kernel<<<unsigned(blocks), kMatrixThreads, 0, stream>>>(arguments..., matrices);
    return cudaGetLastError();
}

} // namespace trb
