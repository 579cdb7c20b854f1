// Watches and steers a run in a real browser: node tests/browser/steer_by_clicks.mjs
// What it needs comes by variables: TOOLS (tools/fetch-browser-tools), ORIGIN and TOKEN of a `serve --allow-control`,
// PROGRAM, FILE and DSN of the run, NAME of its migration, PSQL; SHOTS, if set, is a folder for screenshots. It prints
// what it has seen, and ends with 1 and a sentence where that is not what it should be.
import { execFileSync, spawn } from "node:child_process";
import { createRequire } from "node:module";

const { TOOLS, ORIGIN, TOKEN, PROGRAM, FILE, DSN, NAME, PSQL, SHOTS } = process.env;
const require = createRequire(`${TOOLS}/node_modules/`);
const puppeteer = require("puppeteer-core");
const axePath = require.resolve("axe-core/axe.min.js");

const kPatience = 60_000;
const complaints = [];
const runs = [];

function say(text) {
  console.log(text);
}

function expect(holds, text) {
  if (!holds) throw new Error(text);
  say(`ok: ${text}`);
}

function psql(sql) {
  return execFileSync(PSQL, ["-XAtqc", sql, DSN], { encoding: "utf8" }).trim();
}

function startRun() {
  const run = spawn(PROGRAM, ["run", FILE, "--dsn", DSN], { stdio: ["ignore", "ignore", "pipe"] });
  runs.push(run);
  let told = "";
  run.stderr.on("data", (text) => { told += text; });
  const ended = new Promise((resolve) => run.on("exit", (code) => resolve({ code, told })));
  return { run, ended };
}

// Nothing of another origin, and nothing that a console would call an error.
function watchOver(page) {
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warn") complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${ORIGIN}/`) && !url.startsWith("data:")) complaints.push(`asked elsewhere: ${url}`);
  });
}

async function axe(page, where) {
  // Injected by the test, past the policy of the page, which has no place for it.
  const session = await page.createCDPSession();
  await session.send("Page.setBypassCSP", { enabled: true });
  await page.reload({ waitUntil: "domcontentloaded" });
  await page.addScriptTag({ path: axePath });
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    const found = await page.evaluate(async () => {
      const result = await globalThis.axe.run(document, { resultTypes: ["violations"] });
      return result.violations.map((one) => ({
        id: one.id,
        impact: one.impact,
        nodes: one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)),
      }));
    });
    for (const one of found) say(`axe, ${where}, ${scheme}: ${one.impact} ${one.id} ${JSON.stringify(one.nodes)}`);
    const bad = found.filter((one) => one.impact === "serious" || one.impact === "critical");
    expect(bad.length === 0, `axe finds nothing serious in ${where}, ${scheme}`);
  }
  await session.send("Page.setBypassCSP", { enabled: false });
  await page.reload({ waitUntil: "domcontentloaded" });
}

async function shoot(page, name) {
  if (!SHOTS) return;
  for (const width of [390, 1280, 1920]) {
    for (const scheme of ["light", "dark"]) {
      await page.setViewport({ width, height: 900, deviceScaleFactor: 1 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.screenshot({ path: `${SHOTS}/${name}-${width}-${scheme}.png`, fullPage: true });
    }
  }
  await page.setViewport({ width: 1280, height: 900 });
}

async function narrowFits(page, where) {
  await page.setViewport({ width: 390, height: 900 });
  await page.waitForFunction(() => document.documentElement.clientWidth <= 390);
  const wide = await page.evaluate(() => {
    const room = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= room) return [];
    return [...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > room)
      .map((one) => one.outerHTML.slice(0, 120));
  });
  expect(wide.length === 0, `${where} is no wider than a phone ${wide.slice(0, 5).join("; ")}`);
  await page.setViewport({ width: 1280, height: 900 });
}

const percent = (page) =>
  page.$eval("[role=progressbar]", (bar) => Number(bar.getAttribute("aria-valuenow"))).catch(() => -1);
const stateOf = (page) => page.$eval("[data-state]", (one) => one.dataset.state).catch(() => "");

async function waitFor(page, what, holds) {
  const deadline = Date.now() + kPatience;
  while (Date.now() < deadline) {
    if (await holds()) return say(`ok: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what}: not within ${kPatience} ms; state '${await stateOf(page)}', ${await percent(page)} %`);
}

async function clickAndLoad(page, selector) {
  await Promise.all([page.waitForNavigation({ waitUntil: "domcontentloaded" }), page.click(selector)]);
}

async function logIn(page) {
  await clickAndLoad(page, "a[href='/login']");
  await axe(page, "the login");
  await page.type("input[name=token]", TOKEN);
  await clickAndLoad(page, "form.login button");
  expect((await page.$eval(".who", (one) => one.textContent)).includes("alice"), "she is known");
}

async function pauseAndResume(page) {
  await waitFor(page, "it is past the beginning", async () => (await percent(page)) > 1);
  const before = await percent(page);
  await waitFor(page, "it moves without a reload", async () => (await percent(page)) > before);
  await waitFor(page, "charts can be read", () => page.$eval("figure.read .u-over", () => true).catch(() => false));
  await page.hover("figure.read .u-over");
  await waitFor(page, "a chart tells its value where the pointer is", () =>
    page.$$eval("figure.read .u-series .u-value", (all) => all.some((one) => /rows\/s$/.test(one.textContent))));
  const drawn = await page.$eval("figure.read svg", (one) => one.getAttribute("aria-label"));
  expect(drawn.includes("rows per second"), "the drawing is still there for who does not see it");
  await page.mouse.move(0, 0);
  await page.type("form[action$='/pause'] input[name=reason]", "lunch <b>now</b>");
  // What is typed stays while the page is live.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const typed = await page.$eval("form[action$='/pause'] input[name=reason]", (one) => one.value);
  expect(typed === "lunch <b>now</b>", "what is typed is not overwritten");
  await shoot(page, "running");
  await clickAndLoad(page, "form[action$='/pause'] button");
  const notice = await page.$eval(".notice", (one) => one.textContent);
  expect(notice.includes("is paused"), "the page says that it is paused");
  await waitFor(page, "the state is paused", async () => (await stateOf(page)) === "paused");
  expect((await page.content()).includes("lunch &lt;b&gt;now&lt;/b&gt;"), "the reason is shown as it was typed");
  await shoot(page, "paused");
  await axe(page, "a migration that is paused");
  await clickAndLoad(page, "form[action$='/resume'] button");
  await waitFor(page, "the state is running", async () => (await stateOf(page)) === "running");
}

async function letItGoFaster(page) {
  await page.select("select[name=key]", "throttle.max_rows_per_second");
  await page.type("form[action$='/set'] input[name=value]", "none");
  await clickAndLoad(page, "form[action$='/set'] button");
  expect((await page.$eval(".notice", (one) => one.textContent)).includes("max_rows_per_second=none"), "it may go faster");
}

async function retryQuarantine(page) {
  await waitFor(page, "a row is set aside", async () => Boolean(await page.$("form[action$='/retry-quarantine']")));
  expect(!(await page.content()).includes("not a number"), "its value is not shown");
  await axe(page, "a migration with a row that is set aside");
  await shoot(page, "quarantine");
  psql("UPDATE numbers SET note = '7' WHERE id = 7");
  await clickAndLoad(page, "form[action$='/retry-quarantine'] button");
  expect((await page.$eval(".notice", (one) => one.textContent)).includes("1 row(s)"), "it is to be tried again");
}

async function approve(page) {
  await clickAndLoad(page, "a[href$='/approve']");
  expect((await page.$eval("pre", (one) => one.textContent)).includes("set_not_null"), "the steps are shown");
  await axe(page, "the approval");
  await shoot(page, "approve");
  await page.type("input[name=reason]", "it is Friday");
  await clickAndLoad(page, "main form button");
  expect((await page.$eval(".notice", (one) => one.textContent)).includes("approved by"), "the approval is recorded");
}

async function readWithoutScripts(browser) {
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(false);
  await page.goto(`${ORIGIN}/migrations/${NAME}`, { waitUntil: "domcontentloaded" });
  const words = await page.content();
  expect(words.includes("aria-valuenow") && words.includes("<svg"), "it can be read without scripts");
  await page.close();
}

async function go(browser) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  watchOver(page);
  const first = startRun();
  // Before there is a schema the list says so, with 404, which a console calls an error.
  await waitFor(page, "the run has begun", async () => psql("SELECT to_regclass('pgbackfill.jobs')") !== "" &&
    psql(`SELECT count(*) FROM pgbackfill.jobs WHERE name = '${NAME}'`) === "1");
  await page.goto(`${ORIGIN}/`, { waitUntil: "domcontentloaded" });
  await waitFor(page, "the list has it", async () => Boolean(await page.$(`a[href='/migrations/${NAME}']`)));
  await axe(page, "the list");
  await shoot(page, "list");
  await narrowFits(page, "the list");
  await logIn(page);
  await clickAndLoad(page, `a[href='/migrations/${NAME}']`);
  await narrowFits(page, "a migration");
  await pauseAndResume(page);
  await letItGoFaster(page);
  await waitFor(page, "it is at 100 %", async () => (await percent(page)) === 100);
  const told = await first.ended;
  expect(told.code === 0 || told.code === 3, `the run ended, code ${told.code}`);
  await readWithoutScripts(browser);
  await retryQuarantine(page);
  const second = await startRun().ended;
  expect(second.code === 0, `the second run did the row, code ${second.code}\n${second.told}`);
  expect(psql("SELECT n FROM numbers WHERE id = 7") === "7", "the row is done");
  await page.goto(`${ORIGIN}/migrations/${NAME}`, { waitUntil: "domcontentloaded" });
  await approve(page);
  await axe(page, "a migration that is complete");
  await shoot(page, "complete");
  const size = await page.evaluate(() =>
    performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
      .filter((one) => !one.name.includes("/live/")).reduce((sum, one) => sum + (one.decodedBodySize || 0), 0));
  expect(size > 0 && size < 300_000, `the page has ${size} bytes in all`);
  expect(complaints.length === 0, `no complaint of the browser: ${complaints.join("; ")}`);
}

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
try {
  await go(browser);
} catch (error) {
  console.error(`FAILED: ${error.message}\n${complaints.join("\n")}`);
  process.exitCode = 1;
} finally {
  for (const run of runs) run.kill();
  await browser.close();
}
