// Waits for a condition of another process, which no event tells. Only for tests that use a server.
#pragma once

#include <chrono>
#include <thread>

namespace pgbackfill::tests {

// Returns whether the condition held before the time was over.
template <typename Condition>
bool poll_until(Condition&& condition, std::chrono::milliseconds timeout = std::chrono::seconds(30),
                std::chrono::milliseconds interval = std::chrono::milliseconds(5)) {
  auto const deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(interval);
  }
  return true;
}

}  // namespace pgbackfill::tests
