// Writes what the throttle was shown to a file, a moment a line (engine/tell/reading_json.h), for bench/replay.
//
// A sink that hands every event on to the next one. A thread of its own writes, from a bounded lock-free queue: a slow
// disk never delays a batch. When a write fails it says so once, as a warning, and records no more; the run goes on.
// Thread rule: emit() from any thread; construction and destruction from one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/events.h"

namespace pgbackfill::engine {

class ReadingRecorder final : public EventSink {
 public:
  // Above this, moments are dropped, and a warning says so once.
  static constexpr std::int64_t kQueuedMax = 1'000;

  // Makes the file, or empties it; throws std::system_error when that fails. `next` is borrowed.
  ReadingRecorder(std::string const& path, EventSink& next);
  ~ReadingRecorder() override;  // writes what is queued

  ReadingRecorder(ReadingRecorder const&) = delete;
  ReadingRecorder& operator=(ReadingRecorder const&) = delete;

  void emit(Event event) override;

 private:
  struct Workshop;
  std::unique_ptr<Workshop> workshop_;
};

}  // namespace pgbackfill::engine
