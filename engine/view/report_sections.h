// The parts of a migration's page in HTML: those of a report, and of the pages that are served.
//
// Pure. Each text that came from the database or the file is masked and escaped here. A part is empty where there is
// nothing to say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/view/job_report.h"
#include "engine/view/report_parts.h"

namespace pgbackfill::engine {

// With a heading; nothing where there is no content.
std::string section_html(std::string const& title, std::string const& content);

using CellRow = std::vector<std::string>;
// Cells hold HTML already; titles and the caption, which is for those who do not see the heading above, are ours.
std::string table_html(std::string const& caption, CellRow const& titles, std::vector<CellRow> const& rows);
std::string duration_html(std::optional<std::int64_t> ms);
std::string code_html(std::string const& text);
std::string list_html(std::vector<std::string> const& texts);

// A class of the style sheet: "good", "warn" or "bad".
char const* state_style(StatusOverview const& one);

std::string facts_html(JobReport const& report);
std::string costs_html(JobReport const& report);
std::string charts_html(JobReport const& report, std::vector<Mark> const& marks);
std::string marks_html(JobReport const& report, std::vector<Mark> const& marks);
std::string standstills_html(JobReport const& report);
std::string steps_html(JobReport const& report);
std::string gate_html(JobReport const& report);
std::string approvals_html(JobReport const& report);
std::string hooks_html(JobReport const& report);
std::string set_aside_html(JobReport const& report);

}  // namespace pgbackfill::engine
