// One URL: what is stored and what comes next, its key and rules, and a purge that first shows what it would hit.

import { h, put } from "/dom.js";
import * as as from "/format.js";

const sheet = document.getElementById("sheet");
const content = document.getElementById("sheet-content");
const MARK = { "x-edge-dashboard": "1", "content-type": "application/json" };
let shown = "";

export async function openSheet(url, mayPurge) {
  shown = url;
  draw(url, h("p.muted", null, "Looking it up …"));
  if (!sheet.open) sheet.showModal();
  try {
    const found = await asked(`/api/url?${new URLSearchParams({ url })}`);
    if (shown === url) draw(url, ...described(found), purging(url, mayPurge));
  } catch (error) {
    if (shown === url) draw(url, h("p.verdict.bad", null, "It can’t be looked up."), h("p", null, error.message));
  }
}

async function asked(address, body) {
  const response = await fetch(address, body ? { method: "POST", headers: MARK, body: JSON.stringify(body) } : undefined);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function draw(url, ...parts) {
  put(content, h("div.sheet-head", null, h("h2", { id: "sheet-title" }, url), h("button.plain", { type: "button", "data-close": true, "aria-label": "Close" }, "✕")), ...parts);
}

sheet.addEventListener("click", (event) => {
  if (event.target === sheet || event.target.closest("[data-close]")) sheet.close();
});

function list(items) {
  return h("ul", null, items.map((item) => h("li", null, item)));
}

function facts(rows) {
  return h("dl.facts", null, rows.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

function described({ explain, inspect }) {
  const stored = inspect.stored.filter((each) => each.born);
  const first = stored[0];
  const kind = !first ? "warn" : first.outcome.startsWith("hit") ? "good" : first.outcome.startsWith("miss") ? "bad" : "warn";
  const variants = stored.length > 1 ? ` ${stored.length} responses are stored, by ${inspect.varies_by.join(", ") || "scheme"}.` : "";
  return [
    h(`p.verdict.${kind}`, null, first ? `The next request: ${first.outcome}.${variants}` : "Nothing is stored: the next request asks the origin."),
    ...stored.slice(0, 20).map(storedCard),
    h("div.card", null, h("h3", null, explain.rule ? `Rule ${explain.rule}` : "No rule applies: the defaults do"),
      facts([["key", h("code", null, explain.key || "none: it is never stored")],
        explain.rules.length ? ["rules", list(explain.rules.map(({ name, applies, why }) => [applies ? h("b", null, name) : name, `: ${why}`]))] : null,
        ["shared by", explain.merged.length ? list(explain.merged) : "nobody else"], ["told apart by", list(explain.split_by)],
        ["purged by", list(explain.marks.map((mark) => h("code", null, mark)))]])),
  ];
}

function storedCard(each) {
  const marks = each.marks.filter((mark) => mark.applies);
  return h("div.card", null, h("h3", null, each.is_variant ? `Variant ${each.key.split("#").at(-1)}` : `Stored: ${each.status}, ${as.bytes(each.body_bytes)}`),
    facts([
      each.is_variant ? ["response", `${each.status}, ${as.bytes(each.body_bytes)}`] : null,
      ["age", `${as.seconds(each.age)}, ${each.fresh_for > 0 ? `fresh for ${as.seconds(each.fresh_for)} more` : `stale for ${as.seconds(-each.fresh_for)}`}`],
      ["groups", each.groups.length ? h("code", null, each.groups.join(" ")) : "none"],
      each.expires_at ? ["KV drops it", as.clock(Date.parse(each.expires_at) / 1000, true)] : null,
      marks.length ? ["purged by", list(marks.map((mark) => `${mark.name} (${mark.lane}), ${as.clock(Date.parse(mark.moment) / 1000, true)}`))] : null,
    ]));
}

function purging(url, mayPurge) {
  if (!mayPurge) return h("p.note.actions", null, "This dashboard only looks. Started with --allow-purge, it can purge, too.");
  return h("div.actions", { id: "purge" }, h("button.button", { type: "button", "data-preview": "soft" }, "Purge softly …"), h("button.button", { type: "button", "data-preview": "hard" }, "Purge hard …"),
    h("span.note", null, "shows first what it would hit"));
}

content.addEventListener("click", async (event) => {
  const { preview, intent } = event.target.dataset;
  const place = document.getElementById("purge");
  const url = shown;
  if (!preview && !intent) return;
  for (const button of place.querySelectorAll("button")) button.disabled = true;
  try {
    if (preview) previewed(place, await asked("/api/preview", { urls: [url], hard: preview === "hard", reason: "from the dashboard" }), preview);
    else await purged(place, url, await asked("/api/purge", { intent }));
  } catch (error) {
    put(place, h("p.verdict.bad", { role: "alert" }, error.message));
  }
});

function previewed(place, { intent, radius }, kind) {
  const hits = `${as.count(radius.responses)} stored ${radius.responses === 1 ? "response" : "responses"} of ${as.bytes(radius.body_bytes)}`;
  put(place, h("div.card", { role: "status" }, h("h3", null, `A ${kind} purge would hit ${hits}`),
    h("p.note", null, kind === "hard" ? "As if they weren’t stored: the next request waits for the origin, and nothing stands in if that is down." : "They count as stale: they may still be served while they are refreshed, or while the origin is down."),
    radius.examples.length ? list(radius.examples.map((example) => h("code", null, example))) : null),
    h("button.button.danger", { type: "button", "data-intent": intent }, `Purge ${hits}`), h("button.button", { type: "button", "data-close": true }, "Leave it"));
  place.querySelector("[data-close]").focus();
}

async function purged(place, url, receipt) {
  put(place, h("p.verdict.good", { role: "status" }, `Purged. Every location honours it by ${as.clock(Date.parse(receipt.visible_by) / 1000)}.`), h("code.note", null, receipt.id));
}
