// The pages of `serve`: all migrations, one of them, what to agree to, who comes in, and why there is no page.
//
// Pure functions. They work without scripts; where there is one, the sections of a page are put in place again as they
// change. Nothing of another origin is in them. Where a form needs the secret of its viewer, a page has kSecretPlace,
// so that all viewers can share what was drawn once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/view/site_model.h"

namespace pgbackfill::engine {

// No text that came from elsewhere has it: controls are made visible.
inline constexpr char kSecretPlace = '\x01';

struct SiteSection {
  std::string id;    // of the element whose content it is
  std::string html;  // empty: there is nothing to say
};

std::vector<SiteSection> overview_sections(std::vector<DatabaseSeen> const& databases, SiteFrame const& frame);
std::vector<SiteSection> migration_sections(MigrationSeen const& seen, SiteFrame const& frame);

// `live` is the address that tells what has changed; empty: nothing will.
std::string overview_page(std::vector<SiteSection> const& sections, SiteFrame const& frame, std::string const& live);
std::string migration_page(MigrationSeen const& seen, std::vector<SiteSection> const& sections, SiteFrame const& frame,
                           std::string const& live);

struct ContractSeen {
  std::string label;
  std::string name;
  std::string plan;
  std::string plan_hash;
  std::vector<std::string> destructive;
};
std::string approval_page(ContractSeen const& seen, SiteFrame const& frame);
// `back` is where the viewer goes afterwards.
std::string login_page(SiteFrame const& frame, std::string const& back, std::string const& trouble);
// The title is a heading; the text says what to do.
std::string trouble_page(SiteFrame const& frame, std::string const& title, std::string const& text);

// "/migrations/NAME?database=LABEL", or with "/WORD" behind the name.
std::string migration_path(std::string const& name, std::string const& label, SiteFrame const& frame,
                           std::string_view word = "");

// The script, and what the style sheet has beside that of a report.
std::string_view site_script();
// Draws the charts of a page with uPlot (uplot.h), so that their values can be read and stretches be looked at closely.
std::string_view site_charts();
std::string_view site_style();

}  // namespace pgbackfill::engine
