// The traffic: what is asked, and how its answer is drawn. One set of filters holds for all of it.

import { Charts, COLOURS, LATENCY, pointTime } from "./charts.js";
import { by, el, fill, say } from "./dom.js";
import { bytes, change, count, instant, millis, setZone, share, shift, short, zoneName } from "./format.js";
import { showLines } from "./lines.js";

const RANGES = [[900, "15 m"], [3600, "1 h"], [21600, "6 h"], [86400, "24 h"], [604800, "7 d"], [2592000, "30 d"], [31536000, "1 y"]];
const LABELS = {
  "2xx": "2xx answered", "3xx": "3xx elsewhere", "4xx": "4xx refused", "5xx": "5xx failed", "1xx": "1xx",
  malformed: "malformed", lines: "requests",
};
const TABLES = {
  endpoint: "Endpoints", host: "Hosts", error: "Errors", log: "Logs", vhost: "Virtual hosts", referrer: "Referrers",
  agent: "Agents", os: "Systems", bot: "Bots", content: "Contents", tls: "TLS",
};
const NAMES = { vhost: "virtual host", os: "system" }; // where they are not the dimension's own
const UNKNOWN = { lines: 0, bytes: 0, errors_4xx: 0, errors_5xx: 0, malformed: 0 };

const bar = (part, whole) => el("span.fillbar", { style: { width: `${whole ? Math.max(0.5, (100 * part) / whole) : 0}%` }, "aria-hidden": "true" });

export class Traffic {
  constructor(ask) {
    this.ask = ask;
    this.last = 3600;
    this.span = null; // [from, to] once the reader has zoomed or moved
    this.status = "";
    this.dimension = "";
    this.key = "";
    this.charts = new Charts({
      requests: by("plot-requests"), bytes: by("plot-bytes"), latency: by("plot-latency"),
      zoomed: (span) => this.#set({ span }), pointed: (at) => this.#legend(at), picked: (at) => this.#lines(at),
    });
    this.#remember();
    by("range-back").onclick = () => this.#move(-0.5);
    by("range-on").onclick = () => this.#move(0.5);
    by("range-live").onclick = () => this.#set({ span: null });
    by("plot-table").onclick = () => this.#toggleTable();
    by("plot-lines").onclick = () => this.#lines(null);
    by("plot-requests").addEventListener("keydown", (event) => this.#key(event));
    this.#controls();
  }

  /** The question, as the service takes it. */
  path() {
    const asked = new URLSearchParams(this.span ? { from: this.span[0], to: this.span[1] } : { last: this.last });
    asked.set("shift", shift());
    if (this.status) asked.set("class", this.status);
    if (this.dimension) {
      asked.set("dimension", this.dimension);
      asked.set("key", this.key);
    }
    return `api/traffic?${asked}`;
  }

  #remember() {
    const known = new URLSearchParams(location.hash.slice(1));
    if (Number(known.get("last"))) this.last = Number(known.get("last"));
    if (Number(known.get("from"))) this.span = [Number(known.get("from")), Number(known.get("to"))];
    this.status = known.get("class") || "";
    this.dimension = known.get("dimension") || "";
    this.key = known.get("key") || "";
  }

  #set(values) {
    Object.assign(this, values);
    history.replaceState(null, "", `#${this.path().split("?")[1]}`);
    this.#controls();
    this.ask();
  }

  #move(by) {
    if (!this.answer) return;
    const { from, to, step_s: step } = this.answer;
    const way = Math.sign(by) * Math.max(step, Math.round(((to - from) * Math.abs(by)) / step) * step);
    this.#set({ span: [from + way, to + way] });
  }

  #controls() {
    const press = (text, isOn, onclick, key) => el("button", { type: "button", "aria-pressed": String(isOn), onclick, "data-key": key }, text);
    fill(by("range-list"), ...RANGES.map(([seconds, text]) =>
      press(text, !this.span && this.last === seconds, () => this.#set({ last: seconds, span: null }), `range-${seconds}`)));
    fill(by("zone-list"), ...["UTC", "local"].map((name) => press(name, zoneName() === name, () => {
      setZone(name);
      this.#set({});
    }, `zone-${name}`)));
    by("range-live").setAttribute("aria-pressed", String(!this.span));
    const chip = (text, values) => el("button.chip", { type: "button", title: "Drop this filter", onclick: () => this.#set(values) }, el("span", {}, text), " ✕");
    fill(by("filter-list"),
      this.status && chip(LABELS[this.status], { status: "" }),
      this.dimension && chip(`${NAMES[this.dimension] || this.dimension} ${this.key}`, { dimension: "", key: "" }));
  }

  #filter(dimension, key) {
    const isSame = this.dimension === dimension && this.key === key;
    this.#set({ dimension: isSame ? "" : dimension, key: isSame ? "" : key, status: "" });
  }

  draw(answer) {
    this.answer = answer;
    by("latency").hidden = !answer.latency; // what is hidden has no width to draw in
    this.charts.draw(answer);
    this.#tiles();
    this.#legend(null);
    this.#note();
    fill(by("table-list"), ...Object.entries(TABLES).filter(([name]) => this.answer.tables[name]).map(([name, title]) => this.#table(name, title)), this.#methods());
    if (!by("plot-rows").hidden) this.#rows();
  }

  redraw() {
    if (this.answer) this.draw(this.answer);
  }

  // ------------------------------------------------------------------ parts

  #tiles() {
    const { totals, tables } = this.answer;
    const before = totals.before || UNKNOWN;
    const hosts = tables.host.crossed ? tables.host.keys : null;
    const tile = (name, value, now, then, isBad) => el("div.tile", {},
      el("span.quiet", {}, name), el("span.big", {}, value),
      el("span.change", { "data-bad": isBad && now > then, title: "against as long a time before" }, now === null ? " " : change(now, then)));
    fill(by("tile-list"),
      tile("requests", short(totals.lines), totals.lines, before.lines),
      tile("sent", bytes(totals.bytes), totals.bytes, before.bytes),
      tile("refused (4xx)", share(totals.errors_4xx, totals.lines), totals.errors_4xx, before.errors_4xx, true),
      tile("failed (5xx)", share(totals.errors_5xx, totals.lines), totals.errors_5xx, before.errors_5xx, true),
      tile("hosts", hosts === null ? "–" : short(hosts), null));
  }

  #legend(at) {
    const { series, step_s: step } = this.answer;
    const names = Object.keys(series.lines);
    const value = (row) => (at === null || at === undefined ? row.reduce((sum, each) => sum + each, 0) : row[at]);
    fill(by("legend-list"),
      el("span.when", {}, at === null || at === undefined ? "in all" : pointTime(series.t[at], step)),
      ...names.map((name) => el("button.key", {
        type: "button", "data-key": `class-${name}`, "aria-pressed": String(this.status === name), disabled: name === "lines",
        title: this.status === name ? "Show all" : `Only ${LABELS[name]}`,
        onclick: () => this.#set({ status: this.status === name ? "" : name, dimension: "", key: "" }),
      }, el("i.swatch", { "data-colour": COLOURS[name] }), LABELS[name], " ", el("b", {}, count(value(series.lines[name]))))),
      el("span.key", {}, el("i.swatch", { "data-colour": "sent" }), "sent ", el("b", {}, bytes(value(series.bytes)))));
    const { latency } = this.answer;
    if (!latency) return;
    const isAll = at === null || at === undefined;
    fill(by("latency-list"),
      el("span.when", { title: `Each is off by at most ${(100 * latency.relative_error).toFixed(1)} %` }, `${count(latency.lines)} requests with a latency took at most`),
      ...Object.keys(latency.ms).map((name) => el("span.key", {}, el("i.swatch", { "data-colour": LATENCY[name] }), `${name} `,
        el("b", {}, millis(isAll ? latency.in_all_ms[name] : latency.ms[name][at])))));
  }

  #note() {
    const { commit, from, to, open_from: open, newest, totals } = this.answer;
    const texts = [`${instant(from)} to ${instant(to)}, ${zoneName() === "UTC" ? "UTC" : "your time"}, at commit ${count(commit.step)}.`];
    if (open !== null && open < to) texts.push("Hatched: windows that still grow.");
    if (!totals.lines && newest) texts.push(`Nothing here; the newest window ends ${instant(newest)}.`);
    say(by("plot-note"), texts.join(" "));
    by("plot-requests").setAttribute("aria-label", `Requests over time, ${count(totals.lines)} in all; arrow keys move through it, Enter shows its lines`);
  }

  #table(name, title) {
    const found = this.answer.tables[name];
    const top = found.rows.length ? found.rows[0][1] : 0;
    const row = ([key, now, before, sent]) => el("tr", {},
      el("td.name", {}, bar(now, top),
        el("button.plain", { type: "button", "data-key": `${name}-${key}`, title: key, "aria-pressed": String(this.dimension === name && this.key === key), onclick: () => this.#filter(name, key) }, key || "(empty)")),
      el("td.number", { title: `${bytes(sent)} sent` }, short(now)),
      el("td.number.change", { "data-bad": name === "error" && now > before }, change(now, before)),
      el("td.act", {}, el("button.plain", { type: "button", "aria-label": `Lines of ${key}`, title: "Its lines", onclick: () => this.#lines(null, name, key) }, "≡")));
    return el("section.card", { "aria-label": title },
      el("header.bar", {}, el("h3", {}, title), el("span.quiet", {}, found.keys ? `${short(found.keys)}` : ""),
        !found.crossed && el("span.quiet.aside", { title: "Windows count one thing at a time: how this table falls under the filter is not in them. The lines behind a row can be read." }, "of all requests")),
      found.rows.length ? el("table", {},
        el("colgroup", {}, el("col"), el("col.count"), el("col.moved"), el("col.act")),
        el("thead.unseen", {}, el("tr", {}, ...[title, "lines", "change", "read"].map((text) => el("th", { scope: "col" }, text)))),
        el("tbody", {}, ...found.rows.map(row))) : el("p.quiet.empty", {}, "None."));
  }

  #methods() {
    const found = this.answer.methods;
    return el("section.card.methods", { "aria-label": "Methods" }, el("header.bar", {}, el("h3", {}, "Methods"),
      !found.crossed && el("span.quiet.aside", {}, "of all requests")),
    el("div.flowing", {}, ...found.rows.map(([key, now]) => el("button.chip", {
      type: "button", "data-key": `method-${key}`, "aria-pressed": String(this.dimension === "method" && this.key === key),
      onclick: () => this.#filter("method", key),
    }, key, " ", el("b", {}, short(now)), el("small", {}, ` ${share(now, found.lines)}`)))));
  }

  #toggleTable() {
    const rows = by("plot-rows");
    rows.hidden = !rows.hidden;
    by("plot-table").setAttribute("aria-expanded", String(!rows.hidden));
    if (!rows.hidden) this.#rows();
  }

  #rows() {
    const { series, step_s: step } = this.answer;
    const names = Object.keys(series.lines);
    const took = Object.entries(this.answer.latency ? this.answer.latency.ms : {});
    const head = ["time", ...names.map((name) => LABELS[name]), "bytes sent", ...took.map(([name]) => `latency ${name}`)];
    fill(by("plot-rows"), el("table", {},
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, ...series.t.map((at, number) => el("tr", {},
        el("th", { scope: "row" }, pointTime(at, step)),
        ...names.map((name) => el("td.number", {}, count(series.lines[name][number]))),
        el("td.number", {}, count(series.bytes[number])),
        ...took.map(([, ms]) => el("td.number", {}, millis(ms[number]))))).reverse())));
  }

  #key(event) {
    const far = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (far && event.shiftKey) this.#move(far / 2);
    else if (far) this.at = this.charts.move(far);
    else if (event.key === "Enter") this.#lines(this.at ?? null);
    else if (event.key === "Escape") this.#set({ span: null });
    else return;
    event.preventDefault();
  }

  /** The lines behind a point of the chart, or behind the whole range; of a key, or of the filter. */
  #lines(at, dimension = this.dimension, key = this.key) {
    const { series, step_s: step, from, to } = this.answer;
    const span = at === null || at === undefined ? [from, to] : [series.t[at], series.t[at] + step];
    showLines({ from: span[0], to: span[1], dimension, key, class: dimension ? "" : this.status });
  }
}
