// uPlot 1.6.32 (npm registry, MIT), which the pages of `serve` draw their charts with where scripts run.
//
// The files are in third_party/uplot as they were published, with their checksums; CMake puts them into the program.
// Pure.
#pragma once

#include <string_view>

namespace pgbackfill::engine {

std::string_view uplot_script();
std::string_view uplot_style();

}  // namespace pgbackfill::engine
