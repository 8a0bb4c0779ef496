// Every page of the Control UI: opened by its own address, looked at, and the texts that say that
// something failed.
import { fault, seconds, step } from "./browser.mjs";

const SETTINGS = "about advanced agents ai-agents appearance approvals automation channels " +
  "cloud-workers communications connection device devices infrastructure labs mcp memory " +
  "model-providers notifications plugins profile search secrets security skills talk updates";
const OTHERS = "activity agents automations chat custodian dashboards debug logs meetings " +
  "memory-import new plugins portals sessions skills skills/workshop systems tasks terminal usage " +
  "workboard worktrees";
export const PAGES = [
  ...OTHERS.split(" ").map((name) => `/${name}`),
  ...SETTINGS.split(" ").map((name) => `/settings/${name}`),
];

/** What no page may say. */
const BROKEN = [
  /unknown method[^\n]*/i,
  /invalid [\w.]+ params[^\n]*/i,
  /[^\n]*invalid inventory page[^\n]*/i,
  /unsupported schema node[^\n]*/i,
  /control ui did not start[^\n]*/i,
  /missing scope[^\n]*/i,
  /page not found[^\n]*/i,
  /[^\n]*cannot read propert[^\n]*/i,
];

/** Complaints of the console that are known, each with its reason. */
const KNOWN = [
  // The page asks for the picture of each agent and draws initials when there is none.
  /404[^\n]*\/avatar\/[\w-]+/,
];

/** What a page may warn of, each with its reason. */
const ALERTS = [
  // There is no such setup here.
  /^Update the Gateway to continue setup with OpenClaw\.$/,
  // The agent fails on purpose.
  /simulated failure/,
];
const CHARACTERS_MIN = 120;

/** Complains of what the page shows and of what its console said since the last look. */
export async function look({ page, text, complaints }, where) {
  const shown = await text();
  for (const broken of BROKEN) {
    const [said] = shown.match(broken) ?? [];
    if (said) fault(`${where} shows: ${said.slice(0, 200)}`);
  }
  for (const complaint of complaints.splice(0)) {
    if (!KNOWN.some((known) => known.test(complaint))) fault(`${where}: ${complaint}`);
  }
  const alerts = await page.locator('[role="alert"]:visible').allInnerTexts().catch(() => []);
  for (const alert of alerts) {
    const line = alert.replace(/\s+/g, " ").trim();
    if (line && !ALERTS.some((known) => known.test(line))) fault(`${where} alerts: ${line.slice(0, 160)}`);
  }
  return shown;
}

export async function visitPages(ui, base) {
  for (const path of PAGES) {
    step(`page ${path}`);
    await ui.page.goto(`${base}${path}`);
    await ui.settled();
    const shown = await look(ui, path);
    const landed = new URL(ui.page.url()).pathname;
    const size = shown.replace(/\s+/g, " ").length;
    console.log(`   ${path}: ${size} characters${landed === path ? "" : `, at ${landed}`}`);
    if (size < CHARACTERS_MIN) fault(`${path} is empty`);
  }
  console.log(`${PAGES.length} pages (${seconds()})`);
}
