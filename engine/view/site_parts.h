// The sections of a migration's page that a report does not have: progress, work, rows that are not done, controls.
//
// Pure; see site_pages.h.
#pragma once

#include <string>

#include "engine/view/site_model.h"

namespace pgbackfill::engine {

// 45.2, of a hundred.
double percent_done(StatusOverview const& one);
std::string bar_html(StatusOverview const& one);
// "about 12 min left (9 min to 20 min)"; empty where nothing is known.
std::string eta_words(StatusPace const& pace);

std::string progress_html(MigrationSeen const& seen);
std::string workers_html(MigrationSeen const& seen, SiteFrame const& frame);
std::string rows_html(MigrationSeen const& seen, SiteFrame const& frame);
// Empty for whoever may change nothing.
std::string controls_html(MigrationSeen const& seen, SiteFrame const& frame);
std::string settings_html(MigrationSeen const& seen, SiteFrame const& frame);

}  // namespace pgbackfill::engine
