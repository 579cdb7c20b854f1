#include "engine/plan/compute_sample.h"

#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>
#include <utility>

#include "engine/base/events.h"
#include "engine/compute/programs.h"
#include "engine/pg/catalog.h"
#include "planner/model/short_line.h"
#include "planner/work/compute_sql.h"

namespace pgbackfill::engine {

namespace {

constexpr int kRowsAsked = 5;
constexpr std::size_t kMostShown = 400;

// What the program says on standard error is a part of what is wrong with it, and is shown there.
class Silence : public EventSink {
 public:
  void emit(Event /*event*/) override {}
};

}  // namespace

asio::awaitable<std::vector<std::string>> sample_answers(PgConnection& connection, planner::WorkTarget target,
                                                         planner::Interval interval, std::string migration) {
  std::vector<std::string> lines;
  std::string statement = planner::compute_shown_sql(target, interval) + fmt::format(" LIMIT {}", kRowsAsked);
  auto read = co_await query_read_only(connection, users_sql(std::move(statement)));
  if (!read) {
    lines.push_back("the rows could not be read: " + read.error().message);
    co_return lines;
  }
  std::vector<RowToCompute> rows;
  std::vector<std::size_t> chosen;
  for (auto& fields : read->rows) {
    chosen.push_back(rows.size());
    fields.emplace_back("");  // nothing of it is written
    rows.push_back(row_to_compute(fields, target.backfill.compute->read, target.traits.input_forms).value());
  }
  if (rows.empty()) co_return lines;
  Silence silence;
  auto const executor = co_await asio::this_coro::executor;
  Programs programs(executor, *target.backfill.compute, migration, target.relation, silence);
  auto const missing = programs.missing();
  if (!missing.empty()) {
    lines.push_back(missing);
    co_return lines;
  }
  programs.set_most_failures(1);
  auto request = make_request("plan", rows, chosen);
  auto answers = co_await programs.ask(std::move(request));
  co_await programs.stop();
  if (!answers) {
    lines.push_back(answers.error().message);
    co_return lines;
  }
  for (auto const number : chosen) {
    lines.push_back(fmt::format("{}: {} gives {}", key_for_people(rows[number].key),
                                planner::short_line(rows[number].inputs, kMostShown),
                                planner::short_line((*answers)[number].text, kMostShown)));
  }
  co_return lines;
}

}  // namespace pgbackfill::engine
