// Runs a migration file from inside a program of one's own: embed FILE
#include <engine/app/embedded_run.h>

#include <iostream>

namespace engine = pgbackfill::engine;

// One line a second. It is called on the thread that runs the job, so it has to be quick.
class Lines : public engine::EventSink {
 public:
  void emit(engine::Event event) override {
    if (auto const* line = std::get_if<engine::LogLine>(&event)) std::cout << line->text << std::endl;
    auto const* progress = std::get_if<engine::Progress>(&event);
    if (progress == nullptr || progress->elapsed < next_) return;
    next_ = progress->elapsed + std::chrono::seconds(1);
    std::cout << progress->rows_done << " of about " << progress->rows_estimated << " rows" << std::endl;
  }

 private:
  std::chrono::milliseconds next_{0};
};

int main(int argc, char** argv) {
  Lines lines;
  engine::EmbeddedOptions options;
  options.run.file = argc > 1 ? argv[1] : "migration.yaml";
  options.run.sink = &lines;
  try {
    return engine::EmbeddedRun(options).go();
  } catch (engine::RunFailure const& error) {
    std::cerr << error.what() << std::endl;
    return error.exit_code;
  }
}
