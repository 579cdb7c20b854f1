#include "engine/tell/reading_recorder.h"

#include <concurrentqueue/blockingconcurrentqueue.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <thread>
#include <utility>

#include "engine/base/thread_signals.h"
#include "engine/tell/reading_json.h"

namespace pgbackfill::engine {

namespace {

using Told = std::shared_ptr<HealthTold const>;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::int64_t clock_ms_of(throttle::TimePoint at) {
  auto const age = std::chrono::steady_clock::now() - at;
  auto const clock = std::chrono::system_clock::now().time_since_epoch() - age;
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock).count();
}

}  // namespace

struct ReadingRecorder::Workshop {
  Workshop(std::string path_of_file, EventSink& next_sink)
      : next(next_sink), path(std::move(path_of_file)), file(std::fopen(path.c_str(), "we")) {
    if (!file) throw std::system_error(errno, std::generic_category());
    thread = std::thread([this] {
      block_all_signals();
      write_all();
    });
  }

  ~Workshop() {
    queue.enqueue(nullptr);
    thread.join();
  }

  void write_all() {
    while (true) {
      Told told;
      queue.wait_dequeue(told);
      if (!told) return;
      --queued;
      if (!has_failed) write(*told);
    }
  }

  // A line at a time, so that a process that is killed leaves whole ones.
  void write(HealthTold const& told) {
    std::string const line =
        to_json_line({told.decision.at, clock_ms_of(told.decision.at), told.reading, told.work}) + '\n';
    bool const is_written = std::fwrite(line.data(), 1, line.size(), file.get()) == line.size();
    if (is_written && std::fflush(file.get()) == 0) return;
    has_failed = true;
    warn("recording of readings ends: cannot write " + path + ": " +
         std::error_code(errno, std::generic_category()).message());
  }

  void warn(std::string text) { next.emit(log_line(Severity::kWarning, std::move(text))); }

  EventSink& next;
  std::string const path;
  std::unique_ptr<std::FILE, CloseFile> file;
  moodycamel::BlockingConcurrentQueue<Told> queue;  // null: the end
  std::atomic<std::int64_t> queued{0};
  std::atomic<bool> has_dropped{false};
  bool has_failed = false;  // of the thread alone
  std::thread thread;
};

ReadingRecorder::ReadingRecorder(std::string const& path, EventSink& next)
    : workshop_(std::make_unique<Workshop>(path, next)) {}

ReadingRecorder::~ReadingRecorder() = default;

void ReadingRecorder::emit(Event event) {
  auto& shop = *workshop_;
  if (auto const* told = std::get_if<Told>(&event)) {
    if (shop.queued.fetch_add(1) < kQueuedMax) {
      shop.queue.enqueue(*told);
    } else {
      --shop.queued;
      if (!shop.has_dropped.exchange(true)) {
        shop.warn("the recording of readings has gaps: " + shop.path + " cannot be written fast enough");
      }
    }
  }
  shop.next.emit(std::move(event));
}

}  // namespace pgbackfill::engine
