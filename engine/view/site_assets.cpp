#include "engine/view/site_pages.h"

namespace pgbackfill::engine {

namespace {

// A section is left alone while its viewer types or selects in it, and gets what is new when he is through.
constexpr char kScript[] = R"js("use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  const told = document.getElementById("live");
  if (!main || !window.EventSource) return;
  const waiting = new Map();
  let since = "";
  let source = null;
  let again = null;
  let state = stateOf();

  function stateOf() {
    const shown = main.querySelector("[data-state]");
    return shown ? shown.dataset.state : "";
  }

  function isInUse(element) {
    const active = document.activeElement;
    if (active && active !== element && element.contains(active)) return true;
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && element.contains(selection.anchorNode));
  }

  function put(element, html) {
    const open = [...element.querySelectorAll("details")].map((one) => one.open);
    element.innerHTML = html;
    element.querySelectorAll("details").forEach((one, at) => { one.open = open[at] || false; });
    const section = element.closest("section");
    if (section) section.hidden = html === "";
  }

  function settle() {
    for (const [id, html] of waiting) {
      const element = document.getElementById("s-" + id);
      if (!element || isInUse(element)) continue;
      waiting.delete(id);
      put(element, html);
    }
  }

  function take(event) {
    const news = JSON.parse(event.data);
    since = news.version;
    if (news.trouble) {
      told.textContent = news.trouble;
      told.className = "bad";
      return;
    }
    for (const [id, html] of Object.entries(news.sections)) waiting.set(id, html);
    settle();
    told.className = "";
    const now = stateOf();
    // Said aloud when it changes, and not each second.
    if (now !== state || told.textContent !== "live") told.textContent = now === state ? "live" : "it is " + now;
    state = now;
  }

  function open() {
    clearTimeout(again);
    if (source) source.close();
    const separator = main.dataset.live.includes("?") ? "&" : "?";
    source = new EventSource(main.dataset.live + (since === "" ? "" : separator + "since=" + since));
    source.onmessage = take;
    source.onerror = () => {
      told.textContent = "the connection was lost; trying again";
      told.className = "bad";
      source.close();
      again = setTimeout(open, 3000);
    };
  }

  function close() {
    clearTimeout(again);
    if (source) source.close();
  }

  document.addEventListener("focusout", () => setTimeout(settle, 0));
  document.addEventListener("selectionchange", () => { if (waiting.size > 0) setTimeout(settle, 0); });
  // Nobody looks at a page in the background.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  open();
})();
)js";

constexpr char kStyle[] = R"css(
main{max-width:80rem;overflow-wrap:anywhere}
main:focus{outline:none}
a{color:var(--c0)}
h3{font-size:1rem;margin:1rem 0 .25rem}
:focus-visible{outline:3px solid var(--c0);outline-offset:2px}
.skip{position:absolute;left:-100rem}.skip:focus{left:.5rem;top:.5rem;background:var(--page);padding:.5rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;justify-content:space-between;
padding:.6rem 1.25rem;border-bottom:1px solid var(--line);background:var(--soft)}
header nav a{font-weight:700;text-decoration:none;color:var(--text)}
header form{display:inline;margin:0}
.who{display:flex;gap:.75rem;align-items:center}
body>footer{max-width:80rem;margin:2.5rem auto 0;padding:.5rem 1.25rem;display:flex;flex-wrap:wrap;gap:.25rem 1.5rem}
p.state{font-size:1.2rem}
.wide{overflow-x:auto}
.trouble{white-space:pre-wrap}
.notice{border-left:.3rem solid currentColor;padding:.5rem .75rem;background:var(--soft)}
.bar{position:relative;height:1.5rem;min-width:7rem;background:var(--soft);border:1px solid var(--line);
border-radius:.25rem;overflow:hidden}
.bar.good,.bar.warn,.bar.bad{color:var(--text)}
.bar i{position:absolute;inset:0 auto 0 0;background:var(--c0);opacity:.3}
.bar.good i{background:var(--good)}.bar.warn i{background:var(--warn)}.bar.bad i{background:var(--bad)}
.bar span{position:relative;display:block;text-align:center;font-size:.85rem;line-height:1.4rem}
.eta{position:relative;height:1.6rem;margin:.4rem 0;border-bottom:1px solid var(--line);font-size:.75rem;
color:var(--faint);display:flex;justify-content:space-between;align-items:flex-start}
.eta i{position:absolute;bottom:0;height:.6rem;background:var(--c0);opacity:.4;border-radius:.15rem}
.eta b{position:absolute;bottom:0;height:.6rem;width:2px;background:var(--c0)}
.phases{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem;padding:0;margin:.75rem 0}
.phases li{flex:1 1 8rem;border-top:.25rem solid var(--line);padding:.25rem .25rem 0 0;font-size:.875rem}
.phases li.done{border-color:var(--good)}.phases li.now{border-color:var(--c0)}
.phases strong{display:block}.phases li.open strong{font-weight:400}.phases span{color:var(--faint)}
dd p{margin:0}
rect.open{fill:var(--line)}rect.held{fill:var(--c1);fill-opacity:.45}rect.done{fill:var(--c2)}
.ranges .lane rect.open{fill:var(--line)}.ranges .lane rect.held{fill:var(--c1)}.ranges .lane rect.done{fill:var(--c2)}
i.done{background:var(--c2)}i.held{background:var(--c1)}i.open{background:var(--line)}
form{display:flex;flex-wrap:wrap;gap:.5rem .75rem;align-items:center;margin:.5rem 0}
label{display:inline-flex;flex-wrap:wrap;gap:.35rem;align-items:center}
input,select,button{font:inherit;color:inherit;background:var(--page);border:1px solid var(--faint);
border-radius:.25rem;padding:.3rem .6rem;max-width:100%}
input[type=checkbox]{width:1.1rem;height:1.1rem}
button{background:var(--soft);cursor:pointer;font-weight:600}button.danger{color:var(--bad);border-color:var(--bad)}
summary{cursor:pointer;padding:.25rem 0}
td form{margin:0}
@media (max-width:40rem){header{padding:.6rem .9rem}.bar{min-width:0}
td{overflow:hidden}.phases li{flex-basis:45%}}
@media (prefers-reduced-motion:no-preference){.bar i{transition:width .6s}}
)css";

}  // namespace

std::string_view site_script() {
  return kScript;
}

std::string_view site_style() {
  return kStyle;
}

}  // namespace pgbackfill::engine
