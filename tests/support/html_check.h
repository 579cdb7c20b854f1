// Whether a page is well-formed HTML that asks nobody for anything.
//
// Strict where browsers are not: every element is closed in its turn, every attribute is in double quotes.
#pragma once

#include <string>

namespace pgbackfill::tests {

enum class PageKind {
  kFile,    // one file, without scripts and links
  kServed,  // links, forms and scripts of its own server
};

// The first thing that is wrong, with what stands there; empty if nothing is.
std::string html_trouble(std::string const& html, PageKind kind = PageKind::kFile);

// The page without its markup, entities as what they stand for.
std::string html_words(std::string const& html);

}  // namespace pgbackfill::tests
