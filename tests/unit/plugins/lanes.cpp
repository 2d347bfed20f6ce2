// LinearAttention as the GPU splits it: eight lanes per column, here eight threads that meet at a barrier for each sum.
// Compares with one lane that does all of it; exit status 0 if they agree.
#include "linear_attention/linear_attention_math.h"

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

constexpr int kLanes = 8;

struct Meeting
{
    std::mutex mutex;
    std::condition_variable changed;
    float values[kLanes] = {};
    int arrived = 0, left = kLanes, round = 0;
    float total = 0;

    float sum(int lane, float value)
    {
        std::unique_lock<std::mutex> lock(mutex);
        int const mine = round;
        values[lane] = value;
        if (++arrived == kLanes)
        {
            total = 0;
            for (float each : values)
            {
                total += each;
            }
            arrived = 0;
            ++round;
            changed.notify_all();
        }
        changed.wait(lock, [&] { return round != mine; });
        return total;
    }
};

struct ThreadLane
{
    int lane;
    Meeting* meeting;

    int first() const
    {
        return lane;
    }

    int step() const
    {
        return kLanes;
    }

    float sum(float value) const
    {
        return meeting->sum(lane, value);
    }
};

template <int Slice>
bool agrees(trb::LinearAttentionParams const& p, std::mt19937& random)
{
    std::normal_distribution<float> normal;
    auto filled = [&](int64_t count, float scale)
    {
        std::vector<float> made(static_cast<size_t>(count));
        for (float& value : made)
        {
            value = scale * normal(random);
        }
        return made;
    };
    int64_t const tokens = p.batch * p.length, states = p.batch * p.heads * p.key_size * p.value_size;
    auto query = filled(tokens * p.query_heads * p.key_size, 1), key = filled(tokens * p.heads * p.key_size, 0.2f);
    auto value = filled(tokens * p.heads * p.value_size, 1), past = filled(states, 1);
    auto decay = filled(tokens * p.heads * p.decay_size, 0.1f), beta = filled(tokens * p.beta_heads, 0.5f);
    std::vector<float> outputs[2], presents[2];
    for (int split = 0; split < 2; ++split)
    {
        outputs[split].assign(static_cast<size_t>(tokens * p.query_heads * p.value_size), NAN);
        presents[split].assign(static_cast<size_t>(states), NAN);
        trb::LinearAttentionTensors<float, float> const t{query.data(), key.data(), value.data(), past.data(),
            decay.data(), beta.data(), outputs[split].data(), presents[split].data()};
        for (int64_t unit = 0; unit < p.batch * p.heads * p.value_size; ++unit)
        {
            int64_t const head = unit / p.value_size, column = unit % p.value_size;
            if (split == 0)
            {
                trb::attend_column<trb::kMaxKeySize>(p, t, head / p.heads, head % p.heads, column, trb::Alone{});
                continue;
            }
            Meeting meeting;
            std::vector<std::thread> lanes;
            for (int lane = 0; lane < kLanes; ++lane)
            {
                lanes.emplace_back(
                    [&, lane]
                    {
                        trb::attend_column<Slice>(
                            p, t, head / p.heads, head % p.heads, column, ThreadLane{lane, &meeting});
                    });
            }
            for (std::thread& lane : lanes)
            {
                lane.join();
            }
        }
    }
    auto same = [](std::vector<float> const& a, std::vector<float> const& b)
    {
        for (size_t i = 0; i < a.size(); ++i)
        {
            if (!(std::fabs(a[i] - b[i]) <= 1e-4f * (1 + std::fabs(a[i]))))
            {
                return false;
            }
        }
        return true;
    };
    return same(outputs[0], outputs[1]) && same(presents[0], presents[1]);
}

int main()
{
    std::mt19937 random(7);
    for (int rule = 0; rule < 4; ++rule)
    {
        for (int64_t decay_size : {1, 0})
        {
            auto params = [&](int64_t keys, int64_t group)
            {
                return trb::LinearAttentionParams{1, 3, 2 * group, 2, keys, 3, rule == 1 || rule == 3, rule >= 2,
                    decay_size ? 1 : keys, decay_size ? 1 : 2, 0.3f};
            };
            bool const good = agrees<4>(params(1, 1), random) && agrees<4>(params(31, 2), random)
                              && agrees<4>(params(32, 1), random) && agrees<8>(params(33, 1), random)
                              && agrees<16>(params(128, 2), random) && agrees<32>(params(250, 1), random);
            if (!good)
            {
                std::fprintf(stderr, "rule %d, decay of size %d: the lanes disagree\n", rule, int(decay_size));
                return 1;
            }
        }
    }
    return 0;
}
