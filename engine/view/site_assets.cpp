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
    if (element.querySelector(".u-over:hover")) return true;
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && element.contains(selection.anchorNode));
  }

  function put(element, html) {
    window.pgbackfillCharts?.drop(element);
    const open = [...element.querySelectorAll("details")].map((one) => one.open);
    element.innerHTML = html;
    element.querySelectorAll("details").forEach((one, at) => { one.open = open[at] || false; });
    const section = element.closest("section");
    if (section) section.hidden = html === "";
    window.pgbackfillCharts?.draw(element);
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
  document.addEventListener("mouseout", () => { if (waiting.size > 0) setTimeout(settle, 0); });
  document.addEventListener("selectionchange", () => { if (waiting.size > 0) setTimeout(settle, 0); });
  // Nobody looks at a page in the background.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  open();
})();
)js";

// The drawing of the server stays for those who do not see this one; its lines are read off it.
constexpr char kCharts[] = R"js("use strict";
(() => {
  const kHeight = 170;
  const kDrawn = { width: 1000, base: 99, height: 98 };  // the units of the drawing: chart_svg.cpp
  const plots = new Map();

  function grouped(value) {
    return value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : 0 });
  }

  function scaled(value, names, step) {
    let at = 0;
    while (Math.abs(value) >= step && at < names.length - 1) {
      value /= step;
      ++at;
    }
    return `${value.toLocaleString("en-US", { maximumSignificantDigits: 3 })} ${names[at]}`;
  }

  function duration(ms) {
    if (ms < 1000) return `${grouped(ms)} ms`;
    return ms < 60000 ? `${grouped(ms / 1000)} s` : `${grouped(ms / 60000)} min`;
  }

  const kForms = {
    "rows/s": (value) => `${grouped(value)} rows/s`,
    "bytes/s": (value) => `${scaled(value, ["B", "kB", "MB", "GB", "TB"], 1000)}/s`,
    "bytes": (value) => scaled(value, ["B", "kB", "MB", "GB", "TB"], 1000),
    "ms": duration,
    "times": (value) => `${value.toFixed(2)} times`,
    "": grouped,
  };

  // "M12.3 45.6H20V30.2H30": steps, in pieces with nothing between them.
  function stepsOf(path, timeOf, valueOf) {
    const times = [];
    const values = [];
    let x = 0;
    let y = 0;
    function add(at, value) {
      const time = timeOf(at);
      const last = times[times.length - 1];
      times.push(last !== undefined && time <= last ? last + 0.001 : time);
      values.push(value);
    }
    for (const [, letter, first, second] of path.matchAll(/([MVH])([-\d.]+)(?:\s([-\d.]+))?/g)) {
      if (letter === "H") {
        x = Number(first);
        continue;
      }
      if (letter === "M") {
        if (times.length > 0) add(x, null);
        x = Number(first);
      }
      y = Number(letter === "M" ? second : first);
      add(x, valueOf(y));
    }
    if (times.length > 0) add(x, valueOf(y));
    return [times, values];
  }

  function attribute(element, name) {
    return Number(element.getAttribute(name));
  }

  function shapesOf(figure) {
    const style = (element) => getComputedStyle(element);
    const labels = [...figure.querySelectorAll(".marks b")];
    return {
      bands: [...figure.querySelectorAll("rect.band")].map((one) => ({
        from: attribute(one, "x"), to: attribute(one, "x") + attribute(one, "width"), colour: style(one).fill,
      })),
      marks: [...figure.querySelectorAll("path.mark")].map((one) => ({
        at: Number(one.getAttribute("d").slice(1).split(" ")[0]), colour: style(one).stroke,
      })),
      labels: labels.map((one) => ({ at: parseFloat(one.style.left) * kDrawn.width / 100, text: one.textContent })),
      limits: [...figure.querySelectorAll("path.limit")].map((one) => ({
        y: Number(one.getAttribute("d").slice(1).split(/[ L]/)[1]), colour: style(one).stroke,
      })),
    };
  }

  function hooksOf(figure, timeOf, valueOf) {
    const { bands, marks, labels, limits } = shapesOf(figure);
    const text = getComputedStyle(figure).color;
    return {
      drawClear: [(plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.globalAlpha = 0.55;
        for (const band of bands) {
          const left = Math.max(plot.valToPos(timeOf(band.from), "x", true), bbox.left);
          const right = Math.min(plot.valToPos(timeOf(band.to), "x", true), bbox.left + bbox.width);
          ctx.fillStyle = band.colour;
          if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
        }
        ctx.restore();
      }],
      draw: [(plot) => {
        const { ctx, bbox } = plot;
        const line = (x0, y0, x1, y1, colour, dash) => {
          ctx.strokeStyle = colour;
          ctx.setLineDash(dash);
          ctx.beginPath();
          ctx.moveTo(x0, y0);
          ctx.lineTo(x1, y1);
          ctx.stroke();
        };
        ctx.save();
        ctx.beginPath();
        ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
        ctx.clip();
        ctx.lineWidth = devicePixelRatio;
        for (const mark of marks) {
          const x = plot.valToPos(timeOf(mark.at), "x", true);
          line(x, bbox.top, x, bbox.top + bbox.height, mark.colour, [2, 2]);
        }
        for (const limit of limits) {
          const y = plot.valToPos(valueOf(limit.y), "y", true);
          line(bbox.left, y, bbox.left + bbox.width, y, limit.colour, [5, 4]);
        }
        ctx.fillStyle = text;
        ctx.textBaseline = "top";
        ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
        for (const label of labels) {
          ctx.fillText(label.text, plot.valToPos(timeOf(label.at), "x", true) + 3 * devicePixelRatio, bbox.top + 2);
        }
        ctx.restore();
      }],
    };
  }

  function plotOf(figure) {
    const { from, to, top, unit } = figure.dataset;
    const [begin, end, most] = [Number(from) / 1000, Number(to) / 1000, Number(top)];
    const timeOf = (x) => begin + (x / kDrawn.width) * (end - begin);
    const valueOf = (y) => ((kDrawn.base - y) / kDrawn.height) * most;
    const lines = [...figure.querySelectorAll("path.line")];
    if (lines.length === 0 || !(end > begin)) return null;
    const tables = lines.map((one) => stepsOf(one.getAttribute("d"), timeOf, valueOf));
    const form = kForms[unit] || kForms[""];
    const root = getComputedStyle(document.documentElement);
    const faint = root.getPropertyValue("--faint").trim();
    const grid = { stroke: root.getPropertyValue("--line").trim(), width: 1 };
    const hour = (time, length) => {
      const text = new Date(time * 1000).toISOString();
      if (length > 2 * 86400) return text.slice(5, 10);
      return text.slice(11, length > 1800 ? 16 : 19);
    };
    const clock = (plot, time) => (time == null ? "" : `${new Date(time * 1000).toISOString().slice(5, 19)} UTC`);
    const isArea = figure.querySelector("path.area") !== null;
    return new uPlot({
      width: figure.clientWidth,
      height: kHeight,
      tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "UTC"),
      cursor: { sync: { key: "moment" }, y: false, drag: { x: true, y: false } },
      scales: { x: { range: (plot, low, high) => [low, high] }, y: { range: () => [0, most > 0 ? most : 1] } },
      axes: [
        { stroke: faint, grid, ticks: grid, values: (plot, all) => all.map((time) => hour(time, end - begin)) },
        { stroke: faint, grid, ticks: grid, size: 90, values: (plot, all) => all.map(form) },
      ],
      series: [{ label: "at", value: clock }, ...lines.map((one) => {
        const stroke = getComputedStyle(one).stroke;
        return {
          label: one.textContent || "value",
          stroke,
          fill: isArea ? stroke.replace("rgb(", "rgba(").replace(")", ", 0.18)") : undefined,
          width: 1.6,
          paths: uPlot.paths.stepped({ align: 1 }),
          points: { show: false },
          value: (plot, value) => (value == null ? "" : form(value)),
        };
      })],
      hooks: hooksOf(figure, timeOf, valueOf),
    }, tables.length === 1 ? tables[0] : uPlot.join(tables), figure);
  }

  function draw(element) {
    if (!window.uPlot) return;
    for (const figure of element.querySelectorAll("figure.chart")) {
      const plot = plotOf(figure);
      if (!plot) continue;
      // Read aloud and printed is what the server has drawn.
      plot.root.setAttribute("aria-hidden", "true");
      figure.classList.add("read");
      plots.set(figure, plot);
    }
  }

  function drop(element) {
    for (const [figure, plot] of plots) {
      if (!element.contains(figure)) continue;
      plot.destroy();
      figure.classList.remove("read");
      plots.delete(figure);
    }
  }

  function drawAgain() {
    drop(document.body);
    draw(document.body);
  }

  let resized = null;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      plots.forEach((plot, figure) => plot.setSize({ width: figure.clientWidth, height: kHeight }));
    }, 100);
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAgain);
  window.pgbackfillCharts = { draw, drop };
  draw(document.body);
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
@media screen{figure.read .plot,figure.read .marks{position:absolute;width:1px;height:1px;overflow:hidden;
clip-path:inset(50%)}}
figure.read~.axis{display:none}@media print{figure .uplot{display:none}figure.read~.axis{display:flex}}
figure.chart{position:relative;min-width:0}.uplot .u-legend{font-size:.8rem;text-align:left}
.u-legend th,.u-legend td{border:0;padding:0 .25rem}
@media (max-width:40rem){header{padding:.6rem .9rem}.bar{min-width:0}
td{overflow:hidden}.phases li{flex-basis:45%}}
@media (prefers-reduced-motion:no-preference){.bar i{transition:width .6s}}
)css";

}  // namespace

std::string_view site_script() {
  return kScript;
}

std::string_view site_charts() {
  return kCharts;
}

std::string_view site_style() {
  return kStyle;
}

}  // namespace pgbackfill::engine
