#include "engine/view/page_style.h"

namespace pgbackfill::engine {

namespace {

constexpr char kStyle[] =
    R"css(:root{--page:#fff;--text:#1b1f24;--faint:#57606a;--line:#d0d7de;--soft:#f3f5f8;--good:#116329;--bad:#b3261e;
--warn:#7a4a00;
--c0:#0b5cad;--c1:#a4570a;--c2:#3b7a1e;--c3:#8a3ea8;--c4:#0f7a7a;--c5:#a02050;--paused:#e9c46a;--window:#9fb3c8;
--gone:#b9bec4}
@media (prefers-color-scheme:dark){:root{--page:#11151a;--text:#e6e9ed;--faint:#a3adb8;--line:#343c46;--soft:#1a2027;
--good:#6fcf87;--bad:#ff8a80;--warn:#e3b341;--c0:#6cb2ff;--c1:#ffb066;--c2:#8fd46f;--c3:#d79bf0;--c4:#62d3d3;
--c5:#ff93b8;
--paused:#6b5414;--window:#36485c;--gone:#454c54}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:1.25rem}
h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
p{margin:.4rem 0}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.state{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.faint,footer,figcaption span,em{color:var(--faint);font-style:normal}
dl{display:grid;grid-template-columns:minmax(6rem,auto) 1fr;gap:.25rem 1rem;margin:0}
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
th{color:var(--faint);font-weight:600}
code,pre{font:.875rem/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
pre{background:var(--soft);padding:.75rem;white-space:pre-wrap;margin:.5rem 0;border-radius:.25rem}
ol.marks-list{padding-left:2.2rem}ol.marks-list li{overflow-wrap:anywhere}
figure{margin:1rem 0 0}figcaption{display:flex;flex-wrap:wrap;gap:0 .75rem}
.plot{position:relative;height:7rem;border-bottom:1px solid var(--line);border-left:1px solid var(--line);
background:var(--soft)}
.plot svg{position:absolute;inset:0;width:100%;height:100%}
.plot span{position:absolute;font-size:.75rem;color:var(--faint);background:var(--page);padding:0 .25rem;
border-radius:.2rem;opacity:.9}
.plot .top{left:.25rem;top:.25rem}.plot span.limit{right:.25rem;transform:translateY(-50%)}
path{fill:none;vector-effect:non-scaling-stroke}
.line{stroke-width:1.6;stroke-linejoin:round}.area{fill-opacity:.18;stroke:none}
.limit{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4}
.mark{stroke:var(--faint);stroke-width:1;stroke-dasharray:2 2}.mark.gone,.mark.failed{stroke:var(--bad);
stroke-width:1.6;stroke-dasharray:none}
path.c0{stroke:var(--c0)}path.c1{stroke:var(--c1)}path.c2{stroke:var(--c2)}path.c3{stroke:var(--c3)}
path.c4{stroke:var(--c4)}path.c5{stroke:var(--c5)}
.area.c0{fill:var(--c0)}.area.c1{fill:var(--c1)}.area.c2{fill:var(--c2)}.area.c3{fill:var(--c3)}
.area.c4{fill:var(--c4)}.area.c5{fill:var(--c5)}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}
i.c4{background:var(--c4)}i.c5{background:var(--c5)}
rect.paused{fill:var(--paused)}rect.window{fill:var(--window)}rect.gone{fill:var(--gone)}
i.paused{background:var(--paused)}i.window{background:var(--window)}i.gone{background:var(--gone)}
.band{fill-opacity:.55}.legend{font-size:.85rem;display:flex;flex-wrap:wrap;gap:.25rem 1rem}
.legend i{display:inline-block;width:.9rem;height:.7rem;margin-right:.35rem;border-radius:.15rem}
.marks{position:relative;height:1.2rem;font-size:.75rem}
.marks b{position:absolute;transform:translateX(-50%);font-weight:600;color:var(--faint)}
.marks b.gone,.marks b.failed{color:var(--bad)}
.lane{display:grid;gap:.1rem;margin:.3rem 0;font-size:.875rem}
.lane svg{width:100%;height:1rem;background:var(--soft)}.lane rect{fill:var(--c1)}
.axis{display:flex;justify-content:space-between;font-size:.8rem;color:var(--faint);margin:.2rem 0}
footer{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:.5rem;font-size:.85rem;overflow-wrap:anywhere}
@media (max-width:40rem){main{padding:.9rem}dl{grid-template-columns:1fr}
dd{margin-bottom:.4rem}
thead{display:none}tr{display:block;border-bottom:1px solid var(--line);padding:.35rem 0}td{display:block;border:0;
padding:.1rem 0}
td:empty{display:none}td::before{content:attr(data-label)": ";color:var(--faint)}
td[data-label=""]::before{content:""}}
@media print{:root{--page:#fff;--text:#000;--faint:#444;--line:#bbb;--soft:#f6f6f6;--good:#116329;--bad:#b3261e;
--warn:#7a4a00;
--c0:#0b5cad;--c1:#a4570a;--c2:#3b7a1e;--c3:#8a3ea8;--c4:#0f7a7a;--c5:#a02050;--paused:#e9c46a;--window:#9fb3c8;
--gone:#b9bec4}
body{font-size:10.5pt}main{max-width:none;padding:0}figure,tr,li{break-inside:avoid}h2{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)css";

}  // namespace

std::string_view page_style() {
  return kStyle;
}

}  // namespace pgbackfill::engine
