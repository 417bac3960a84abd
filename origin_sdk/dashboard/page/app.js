// The page: asks for the board every second or two, and shows it.

import { TimeChart, bar, spark } from "/charts.js";
import { h, prose, put } from "/dom.js";
import * as as from "/format.js";
import { openSheet } from "/sheet.js";

const $ = (id) => document.getElementById(id);
const TIERS = ["memory", "kv", "stale", "validated", "collapsed", "miss", "pass", "own"];
const TIER_TEXT = {
  memory: "memory", kv: "KV", stale: "stale", validated: "validated (304)", collapsed: "waited for another",
  miss: "origin (miss)", pass: "origin (passed by)", own: "the Worker itself",
};
const EVERY_MS = { "10m": 1250, "1h": 2000, "6h": 2000 };
const PATIENCE_MS = 20000;
const OLD_MS = 15000;
const FEW = { rules: 10, reasons: 6 };

const state = { range: "1h", source: "", unit: "share", order: "busiest", all: {}, board: null, at: 0, error: "" };
const charts = {
  tiers: new TimeChart($("tiers-chart"), { stacked: true, label: "Answers by tier", format: as.percent }),
  ratio: new TimeChart($("ratio-chart"), { label: "Hit ratio by rule", format: as.percent, most: 1 }),
  origin: new TimeChart($("origin-chart"), { label: "Origin requests and errors", format: as.rate }),
  latency: new TimeChart($("latency-chart"), { label: "Origin latency", format: as.seconds }),
};

// Asking

let timer = 0;
let asking = null;

async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  const patience = setTimeout(() => mine.abort(), PATIENCE_MS);
  try {
    const query = new URLSearchParams({ range: state.range, source: state.source });
    const response = await fetch(`/api/board?${query}`, { signal: mine.signal });
    const board = await response.json();
    if (!response.ok) throw new Error(board.error ?? `the dashboard answered ${response.status}`);
    if (asking !== mine) return;
    Object.assign(state, { board, at: Date.now(), error: "" });
    show();
  } catch (error) {
    if (asking !== mine) return;
    state.error = error.name === "AbortError" ? `no answer within ${PATIENCE_MS / 1000} s` : String(error.message ?? error);
    showHealth();
  } finally {
    clearTimeout(patience);
    if (asking === mine && !document.hidden) timer = setTimeout(ask, EVERY_MS[state.range] ?? 5000);
  }
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
setInterval(showHealth, 1000);

// Showing

function show() {
  const { board } = state;
  showControls(board);
  const isEmpty = !board.totals.requests;
  $("empty").hidden = !isEmpty;
  $("panels").hidden = isEmpty && !board.purges.length && !board.services.length;
  showTiles(board);
  if (isEmpty) showEmpty(board);
  if (!$("panels").hidden) {
    for (const panel of [showTiers, showReasons, showRules, showRatios, showOrigin, showLatency, showPurges, showUrls, showStore, showStale, showCost, showServices]) panel(board);
  }
  showHealth();
  const kept = board.keeps ? `History: ${board.keeps}` : "";
  put($("footer"), h("span", null, `The last ${board.range.title}, in steps of ${as.seconds(board.range.step)}.`), h("span", null, kept),
    h("span", null, "Keys: / looks up a URL, 1 to 7 choose a range, t the theme."));
  document.title = isEmpty ? "Edge cache" : `${as.percent(board.totals.hit_ratio)} hits · Edge cache`;
}

function showControls(board) {
  put($("ranges"), h("legend.hidden", null, "Range"), board.ranges.map(({ name, title }) => h("label", { title: `the last ${title}` },
    h("input", { type: "radio", name: "range", value: name, checked: name === state.range }), h("span", null, name))));
  $("ranges").querySelector(`input[value="${state.range}"]`).checked = true;
  $("source-label").hidden = board.sources.length < 2;
  put($("source"), board.sources.map(({ name, title }) => h("option", { value: name }, title)));
  $("source").value = board.source;
}

function showHealth() {
  const { board, error } = state;
  const source = board?.sources.find(({ name }) => name === board.source);
  const age = Date.now() - state.at;
  const isOld = Boolean(board) && (age > OLD_MS || source.health.state === "failing");
  $("main").classList.toggle("old", isOld);
  const [kind, text] = error ? ["bad", "no answer"] : !board ? ["", "connecting"] : source.health.state === "failing" ? ["bad", "failing"]
    : age > OLD_MS ? ["slow", as.ago(state.at / 1000, Date.now() / 1000)] : source.health.state === "waiting" ? ["slow", "waiting"] : ["ok", "live"];
  $("live").className = `live ${kind}`;
  if ($("live").textContent !== text) $("live").textContent = text;
  put($("notices"), error && notice("The dashboard doesn’t answer.", `${error}. Is the command still running?`), ...failures(board));
}

function failures(board) {
  if (!board) return [];
  const failing = board.sources.filter(({ health }) => health.state === "failing").map(({ title, health }) =>
    notice(`${title}: no numbers${health.good_at ? ` since ${as.clock(health.good_at)}` : " yet"}.`, health.message));
  const kv = board.kv_health?.state === "failing" ? [notice("KV’s API:", board.kv_health.message, "mild")] : [];
  const services = board.services.filter(({ health }) => health.state === "failing").map(({ health }) => notice("A service:", health.message, "mild"));
  const faults = board.faults.length ? [notice("Faults of the cache itself, in its log:", board.faults.map(({ where, count }) => `${where} ${as.count(count)}`).join(", "), "mild")] : [];
  return [...failing, ...kv, ...services, ...faults];
}

function notice(title, text, kind = "") {
  return h(`div.notice${kind && `.${kind}`}`, null, h("b", null, title), " ", text);
}

function showEmpty(board) {
  const origin = "http://127.0.0.1:8787";
  put($("empty"), h("h2", null, "Nothing was counted yet"),
    h("p", null, `No request came through the Worker within the last ${board.range.title}, or none that this source knows of. Send some, and look here:`),
    h("pre", null, h("code", null, `curl -i ${origin}/products/17`)));
}

function perStep(board, values) {
  const last = values.length - 1;
  const elapsed = Math.max(1, board.now - board.times[last]);
  const isCounted = board.times.map((at) => at + board.range.step > board.now - board.seconds);
  // The last step isn't over: what came so far, over the time that it has lasted, once that says something.
  return values.map((value, at) => (!isCounted[at] ? null : at < last ? value / board.range.step
    : elapsed >= board.range.step / 4 ? value / Math.min(elapsed, board.range.step) : null));
}

// The values since something was counted, and at least ten: a young history fills its line.
function recent(board, values) {
  const first = board.times.findIndex((at) => at + board.range.step > board.now - board.seconds);
  return values.slice(Math.max(0, Math.min(first, values.length - 10)));
}

function delta(now, before, { isGood = "up", relative = true } = {}) {
  if (now == null || before == null || (relative && !before)) return null;
  const change = relative ? now / before - 1 : now - before;
  if (Math.abs(change) < (relative ? 0.02 : 0.001)) return h("span.delta.even", { title: "as in the span before" }, "±0");
  const size = relative ? `${Math.abs(change) >= 10 ? ">10×" : `${(Math.abs(change) * 100).toFixed(0)} %`}` : `${(Math.abs(change) * 100).toFixed(1)} pt`;
  const kind = isGood === "none" ? "even" : (change > 0) === (isGood === "up") ? "good" : "bad";
  return h(`span.delta.${kind}`, { title: "against the span before" }, `${change > 0 ? "▲" : "▼"} ${size}`);
}

function tile(title, value, sub, line, extra = "") {
  return h(`div.tile${extra}`, null, h("h2", null, title), h("div.value", null, value), h("div.sub", null, sub), line);
}

function showTiles(board) {
  const { totals, before, series, cost } = board;
  const over = (total) => (board.totals.requests ? total / board.seconds : null);
  put($("tiles"),
    tile("Hit ratio", [as.percent(totals.hit_ratio), before && delta(totals.hit_ratio, before.hit_ratio, { relative: false })],
      `${as.count(totals.hits)} of ${as.count(totals.requests)} answered without waiting for the origin`, spark(recent(board, series.hit_ratio), { most: 1 }), ".hero"),
    tile("Requests", [as.rate(over(totals.requests)), before && delta(totals.requests, before.requests, { isGood: "none" })],
      `${as.count(totals.requests)}, ${as.bytes(totals.bytes)}`, spark(recent(board, perStep(board, series.requests)), { className: "calm" })),
    tile("Origin requests", [as.rate(over(totals.origin_requests)), before && delta(totals.origin_requests, before.origin_requests, { isGood: "down" })],
      totals.requests ? `${as.percent(Math.max(0, 1 - totals.origin_requests / totals.requests))} spared` : "–", spark(recent(board, perStep(board, series.origin_requests)), { className: "bad" })),
    tile("Origin p95", [as.seconds(totals.origin.p95), before && delta(totals.origin.p95, before.origin.p95, { isGood: "down" })],
      `p50 ${as.seconds(totals.origin.p50)}, p99 ${as.seconds(totals.origin.p99)}`, spark(recent(board, series.latency.p95), { className: "grey" })),
    tile("Origin errors", h(totals.origin_errors ? "span.alarm" : "span", null, as.count(totals.origin_errors)),
      board.away.length ? `${board.away[0].origin}: no answer since ${as.clock(board.away[0].since_ms / 1000)}` : totals.stale ? `${as.count(totals.stale)} stale served` : totals.breaker_openings ? `breaker opened ${as.count(totals.breaker_openings)}×` : "nothing stale served",
      spark(recent(board, perStep(board, series.origin_errors)), { className: "bad" })),
    tile("A month like this", totals.requests ? as.dollars(cost.month) : "–", `${as.dollars(cost.so_far)} so far this month`, spark([])),
  );
}

function legend(id, lines, format) {
  put($(id), lines.map(({ name, color, total }) => h("span.key", { title: name }, h(`i.dot.${color.slice(2)}`), h("span.name", null, name), total == null ? null : h("b", null, format(total)))));
}

function showTiers(board) {
  const { tiers, requests } = board.series;
  const isShare = state.unit === "share";
  const lines = TIERS.filter((tier) => board.totals.tiers[tier]).map((tier) => ({
    name: TIER_TEXT[tier], color: `--${tier}`, total: board.totals.tiers[tier] / (board.totals.requests || 1),
    values: isShare ? tiers[tier].map((value, at) => (requests[at] ? value / requests[at] : null)) : perStep(board, tiers[tier]),
  }));
  legend("tiers-legend", lines, as.percent);
  charts.tiers.show(board.times, lines, { step: board.range.step, since: board.now - board.seconds, format: isShare ? as.percent : as.rate, most: isShare ? 1 : null });
}

function showRatios(board) {
  const lines = board.rules.filter(({ hit_ratios }) => hit_ratios.length).map((rule, at) => ({ name: rule.name, color: `--line-${at + 1}`, values: rule.hit_ratios, total: rule.hit_ratio }));
  legend("ratio-legend", lines, as.percent);
  charts.ratio.show(board.times, lines, { step: board.range.step, since: board.now - board.seconds });
}

function showOrigin(board) {
  const { origin_requests, origin_errors } = board.series;
  const lines = [
    { name: "requests", color: "--line-2", values: perStep(board, origin_requests), total: board.totals.origin_requests },
    { name: "errors", color: "--line-5", values: perStep(board, origin_errors), total: board.totals.origin_errors },
  ];
  legend("origin-legend", lines, as.count);
  charts.origin.show(board.times, lines, { step: board.range.step, since: board.now - board.seconds });
}

function showLatency(board) {
  const { latency } = board.series;
  const lines = ["p50", "p95", "p99"].map((name, at) => ({ name, color: ["--line-1", "--line-3", "--line-5"][at], values: latency[name], total: board.totals.origin[name] }));
  legend("latency-legend", lines, as.seconds);
  charts.latency.show(board.times, lines, { step: board.range.step, since: board.now - board.seconds });
}

function more(name, count) {
  if (count <= FEW[name]) return null;
  const text = state.all[name] ? "show fewer" : `show all ${count}`;
  return h("button.link.more", { type: "button", "data-more": name, "aria-expanded": String(Boolean(state.all[name])) }, text);
}

function few(name, rows) {
  return state.all[name] ? rows : rows.slice(0, FEW[name]);
}

function showReasons(board) {
  const all = board.reasons;
  const missed = all.reduce((sum, { requests }) => sum + requests, 0);
  put($("reasons-note"), missed ? `${as.count(missed)} requests` : "");
  if (!all.length) return put($("reasons"), h("p.muted", null, "Every request was a hit."));
  put($("reasons"), few("reasons", all).map((each) => h("div.reason", null,
    h("div.head", null, h("code", null, each.reason), h("span.note", null, TIER_TEXT[each.tier]), h("b", null, as.percent(each.share)), h("span.note", null, as.count(each.requests))),
    bar(each.share, each.tier),
    h("p", null, prose(each.what), " ", h("span", null, each.rules.map(({ name, requests }) => `${name} ${as.count(requests)}`).join(", ") + (each.rule_count > each.rules.length ? ", …" : ""))),
    each.remedy && h("p.remedy", null, prose(each.remedy)))), more("reasons", all.length));
}

const head = (...names) => h("thead", null, h("tr", null, names.map((name) => h(name.startsWith("#") ? "th.number" : "th", { scope: "col" }, name.replace("#", "")))));
const number = (text, isZero, kind = "") => h(`td.number${isZero ? ".zero" : kind}`, null, text);

function showRules(board) {
  put($("rules-note"), board.hosts.length > 1 ? `${board.hosts.length} hosts` : board.hosts[0]?.name ?? "");
  const rows = few("rules", board.rules).map((rule) => h("tr", null,
    h("td", null, rule.name),
    number(as.count(rule.requests)),
    h("td", null, h("div.ratio", null, h("b", null, as.percent(rule.hit_ratio)), bar(rule.hit_ratio))),
    h("td", null, rule.hit_ratios.length ? spark(recent(board, rule.hit_ratios), { most: 1 }) : ""),
    number(as.count(rule.origin_requests), !rule.origin_requests),
    number(as.count(rule.origin_errors), !rule.origin_errors, ".alarm"),
    number(as.seconds(rule.origin.p50)), number(as.seconds(rule.origin.p95)), number(as.seconds(rule.origin.p99)),
    number(as.count(rule.stale), !rule.stale), number(as.bytes(rule.bytes))));
  put($("rules"), h("table", null, head("rule", "#requests", "hit ratio", "", "#to the origin", "#errors", "#p50", "#p95", "#p99", "#stale", "#sent"), h("tbody", null, rows)), more("rules", board.rules.length));
}

function showPurges(board) {
  const lag = board.purge_lag;
  put($("purges-note"), lag.count ? `seen after ${as.seconds(lag.p50)}, p95 ${as.seconds(lag.p95)}` : "");
  if (!board.purges.length) return put($("purges"), h("p.muted", null, "No purge in this range."));
  const rows = board.purges.map((purge) => h("tr", null,
    h("td", { title: as.clock(purge.at, true) }, as.ago(purge.at, board.now)),
    h("td", null, h(`span.badge.${purge.kind === "hard" ? "hard" : "soft"}`, null, purge.kind)),
    h("td", null, h("span.url", { title: purge.target }, purge.target || "(not shown)"), purge.targets > 1 ? h("span.note", null, `and ${purge.targets - 1} more`) : null),
    h("td", null, purge.by || h("span.muted", null, "unnamed"), purge.why ? h("div.note", null, purge.why) : null),
    number(as.seconds(purge.lag))));
  put($("purges"), h("table", null, head("when", "", "what", "who and why", "#seen after"), h("tbody", null, rows)));
}

function showUrls(board) {
  const rows = board.urls[state.order].map((row) => h("tr", null,
    h("td", null, h("button.link.url", { type: "button", "data-url": row.url, title: row.url }, shortUrl(row.url)), h("span.note", null, row.rule)),
    number(as.count(row.requests)), number(as.count(row.origin_requests), !row.origin_requests), number(as.seconds(row.origin_seconds), !row.origin_seconds), number(as.bytes(row.bytes))));
  put($("urls"), rows.length ? h("table", null, head("URL", "#requests", "#to the origin", "#origin time", "#sent"), h("tbody", null, rows))
    : h("p.muted", null, "No URLs are counted: METRICS_URLS says whether the Worker may tell them."));
}

function shortUrl(url) {
  try {
    const { pathname, search } = new URL(url);
    return pathname + search;
  } catch {
    return url;
  }
}

function facts(rows) {
  return h("dl.facts", null, rows.filter(Boolean).map(([name, value, kind]) => [h(`dt${kind ?? ""}`, null, name), h(`dd${kind ?? ""}`, null, value)]));
}

function showStore(board) {
  const { stored, memory, kv } = board;
  const keys = (operation) => kv.keys.filter((each) => each.operation === operation).reduce((sum, { count }) => sum + count, 0);
  put($("store"),
    h("p.big", null, stored ? `${stored.is_whole ? "" : "over "}${as.bytes(stored.bytes)}` : "–", h("small", null, stored ? `in KV, ${as.count(stored.responses)} responses, ${as.ago(stored.at, board.now)}` : "in KV: not counted yet")),
    h("div.gauge", null, bar(memory.limit ? memory.bytes / memory.limit : 0)),
    facts([
      ["memory of the isolates", memory.limit ? `${as.bytes(memory.bytes)} of ${as.bytes(memory.limit)}` : "–"],
      ["responses in memory", as.count(memory.entries)],
      ["evicted", memory.evictions ? `${as.count(memory.evictions)}, half of them younger than ${as.seconds(memory.age.p50)}` : "none"],
      ["KV keys read, written", `${as.count(keys("read"))}, ${as.count(keys("write"))}`],
      ["KV keys read for each request", board.totals.requests ? (keys("read") / board.totals.requests).toFixed(3) : "–"],
      Object.keys(kv.errors).length ? ["KV failed", h("span.alarm", null, Object.entries(kv.errors).map(([name, count]) => `${name} ${as.count(count)}`).join(", "))] : null,
    ]));
}

function showStale(board) {
  const { stale, totals } = board;
  const rows = Object.entries(stale.by_reason).map(([name, count]) => [h("code", null, name), as.count(count)]);
  put($("stale"),
    h("p.big", null, as.count(totals.stale), h("small", null, totals.requests ? `${as.percent(totals.stale / totals.requests)} of all requests` : "")),
    h("div.gauge"),
    facts([...rows, stale.age.count ? ["stale for", `${as.seconds(stale.age.p50)}, p99 ${as.seconds(stale.age.p99)}`] : null,
      ["found past their lifetime", as.count(totals.expiries)], ...Object.entries(totals.refreshes).map(([name, count]) => [`refreshes: ${name}`, as.count(count)]),
      totals.breaker_openings ? ["breaker opened", h("span.alarm", null, as.count(totals.breaker_openings))] : null]));
}

function showCost(board) {
  const { cost, seconds } = board;
  put($("cost"),
    h("p.big", null, as.dollars(cost.month), h("small", null, `a month, if it goes on as in the last ${as.seconds(seconds)}`)),
    h("div.gauge"),
    facts([...cost.lines.filter(({ units }) => units).map(({ what, units, dollars }) => [`${as.count(what.startsWith("GB") ? Number(units.toFixed(2)) : Math.round(units))} ${what}`, as.dollars(dollars)]),
      ["beyond what the paid plan includes", as.dollars(cost.beyond_included), ".total"],
      [`spent since ${as.clock(cost.since, true)}`, as.dollars(cost.so_far)]]));
}

function showServices(board) {
  $("services-panel").hidden = !board.services.length;
  put($("services"), board.services.map((service) => h("article.service", null,
    h("header", null, h("h3", null, service.url), h(`span.badge.${service.health.state === "ok" ? "up" : "down"}`, null, service.health.state)),
    h("div.columns", null, service.layers && showLayers(service.layers), service.outbox && showOutbox(service.outbox)),
    !service.layers && !service.outbox && service.health.state === "ok" ? h("p.muted", null, "It exports neither a layered cache nor an outbox.") : null)));
}

function showLayers(layers) {
  const rows = layers.families.map((family) => h("tr", null, h("td", null, family.name || "–"), number(as.count(family.gets)),
    h("td", null, h("div.ratio", null, h("b", null, as.percent(family.hit_ratio)), bar(family.hit_ratio))),
    number(as.count(family.memory)), number(as.count(family.redis)), number(as.count(family.loads), !family.loads), number(as.count(family.failed), !family.failed, ".alarm"), number(as.seconds(family.load.p95)), number(as.count(family.stale), !family.stale)));
  return h("div", null, h("div.scroll", null, h("table", null, head("family", "#gets", "hit ratio", "#memory", "#Redis", "#loads", "#failed", "#load p95", "#stale"), h("tbody", null, rows))),
    h("p.note", null, `Redis ${layers.redis_up ? "is" : "isn’t"} used; ${as.count(layers.entries)} values in memory; invalidations heard after ${as.seconds(layers.invalidation_lag.p95)} (p95)`));
}

function showOutbox(outbox) {
  return h("div", null, h("h3", null, "Outbox"), facts([
    ["waiting", outbox.waiting ? h("b", null, as.count(outbox.waiting)) : "0"], ["dead", outbox.dead ? h("span.alarm", null, as.count(outbox.dead)) : "0"],
    ["oldest waits for", as.seconds(outbox.oldest)], ["delivered", as.count(outbox.done)], ["tries that failed", as.count(outbox.failed)], ["from commit to delivery, p95", as.seconds(outbox.lag.p95)]]));
}

// Choosing

function choose(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", `#${new URLSearchParams({ range: state.range, ...(state.source && { source: state.source }) })}`);
  ask();
}

$("ranges").addEventListener("change", (event) => choose({ range: event.target.value }));
$("source").addEventListener("change", (event) => choose({ source: event.target.value }));
$("tiers-unit").addEventListener("change", (event) => { state.unit = event.target.value; if (state.board) showTiers(state.board); });
$("urls-order").addEventListener("change", (event) => { state.order = event.target.value; if (state.board) showUrls(state.board); });
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = $("url").value.trim();
  if (url) openSheet(url, state.board?.may_purge);
});
document.addEventListener("click", (event) => {
  const { more: name, url } = event.target.closest("[data-more], [data-url]")?.dataset ?? {};
  if (name) { state.all[name] = !state.all[name]; show(); }
  if (url) openSheet(url, state.board?.may_purge);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("sheet").open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "radio") return;
  if (event.key === "/") { event.preventDefault(); $("url").focus(); }
  if (event.key === "t") nextTheme();
  const range = state.board?.ranges[Number(event.key) - 1];
  if (range) choose({ range: range.name });
});

// Theme

const THEMES = { auto: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let theme = localStorage.getItem("theme") in THEMES ? localStorage.getItem("theme") : "auto";

function applyTheme() {
  const [sign, text] = THEMES[theme];
  document.documentElement.dataset.theme = theme === "auto" ? (prefersDark.matches ? "dark" : "light") : theme;
  $("theme").textContent = sign;
  $("theme").setAttribute("aria-label", `Theme: ${text}`);
  $("theme").title = `Theme: ${text}`;
  for (const chart of Object.values(charts)) chart.redraw();
}

function nextTheme() {
  const names = Object.keys(THEMES);
  theme = names[(names.indexOf(theme) + 1) % names.length];
  localStorage.setItem("theme", theme);
  applyTheme();
}

$("theme").addEventListener("click", nextTheme);
prefersDark.addEventListener("change", applyTheme);

const given = new URLSearchParams(location.hash.slice(1));
state.range = given.get("range") ?? state.range;
state.source = given.get("source") ?? "";
applyTheme();
ask();
