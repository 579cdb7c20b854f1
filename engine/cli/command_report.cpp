// report: all that is kept of a migration, as one file. Read only.

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <filesystem>

#include "engine/app/replay_reader.h"
#include "engine/app/report_reader.h"
#include "engine/app/status_reader.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/cli/output_file.h"
#include "engine/cli/version.h"
#include "engine/view/console.h"
#include "engine/view/report_view.h"
#include "engine/view/safe_output.h"

namespace pgbackfill::engine {

namespace {

std::optional<ReportFormat> format_of_ending(std::string const& path) {
  auto const ending = std::filesystem::path(path).extension().string();
  if (ending == ".html" || ending == ".htm") return ReportFormat::kHtml;
  if (ending == ".md" || ending == ".markdown") return ReportFormat::kMarkdown;
  if (ending == ".json") return ReportFormat::kJson;
  if (ending == ".txt") return ReportFormat::kText;
  return std::nullopt;
}

ReportFormat format_of(CommandContext const& context, ReportOptions const& options) {
  if (options.format) return *options.format;
  if (!is_standard_output(options.output)) {
    if (auto const format = format_of_ending(options.output)) return *format;
    if (!context.is_json()) {
      throw CommandError{kExitUsage,
                         fmt::format("--output {}: its ending says no format; end it with .html, .md, .json "
                                     "or .txt, or give --format",
                                     neutralised(options.output))};
    }
  }
  return context.is_json() ? ReportFormat::kJson : ReportFormat::kText;
}

std::string text_of(JobReport const& report, ReportFormat format, ViewOptions const& view) {
  switch (format) {
    case ReportFormat::kText:
      return report_text(report, view);
    case ReportFormat::kJson:
      break;
    case ReportFormat::kMarkdown:
      return report_markdown(report);
    case ReportFormat::kHtml:
      return report_html(report);
  }
  boost::json::value document(report_json(report));
  take_passwords_out(document);
  return boost::json::serialize(document) + "\n";
}

asio::awaitable<int> report(CommandContext& context, ReportOptions options) {
  auto const format = format_of(context, options);
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  std::string const name = co_await find_name(context, *connection, options.file_or_name);
  auto found = co_await read_report(*connection, name, context.owner());
  if (!options.replay.empty()) found.replay = read_replay(options.replay, limits_now(found.status.overview));
  found.program = program_text();
  if (is_standard_output(options.output)) {
    if (format == ReportFormat::kJson) {
      context.print(report_json(found));
    } else if (format == ReportFormat::kHtml) {
      // Each text in it is masked and harmless; what is masked as a whole may lose its tags.
      context.draw(report_html(found));
    } else {
      context.print(text_of(found, format, standard_output().view));
    }
    co_return kExitDone;
  }
  ViewOptions plain;
  plain.color = false;
  plain.columns = 120;
  bool const is_safe = format == ReportFormat::kJson || format == ReportFormat::kHtml;
  auto const text = text_of(found, format, plain);
  write_output(options.output, is_safe ? text : for_people(text));
  co_return kExitDone;
}

}  // namespace

int report_command(CommandContext& context, ReportOptions const& given) {
  auto const options = given;
  if (options.format == ReportFormat::kJson && is_standard_output(options.output)) context.set_json();
  return context.run(report(context, options));
}

}  // namespace pgbackfill::engine
