// The days on HDFS as a calendar: the darker, the more lines; the edge says how far a day is.

import { carefully, trigger } from "./actions.js";
import { by, el, fill, tab } from "./dom.js";
import { bytes, count, instant, seconds, short } from "./format.js";

const STATES = {
  open: "open: lines still come", over: "over, not sealed yet", sealed: "sealed: whole, and not to change",
  forgotten: "forgotten: its sums stay",
};
const WEEKDAYS = ["Mon", "", "Wed", "", "Fri", "", "Sun"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY = 86400000;
const WEEKS = 27;
const LATEST = 7;

const weekday = (time) => (new Date(time).getUTCDay() + 6) % 7;

function told(day) {
  const parts = [`${day.date}: ${STATES[day.state]}`, `${count(day.lines)} lines, ${bytes(day.size_bytes)}, ${count(day.files)} files`];
  if (day.sealed_at) parts.push(`sealed ${instant(seconds(day.sealed_at))}`);
  if (day.is_mended) parts.push("a repair has put files aside");
  if (day.report) parts.push("its report is a click away");
  if (day.is_unconfirmed) parts.push("some lines could not be compared with the topic");
  return parts.join("\n");
}

const buttons = new Map(); // by day and name; one stays while it asks whether it is meant

function button(name, dag, date) {
  const key = `${name} ${date}`;
  if (!buttons.has(key)) buttons.set(key, carefully(name, `${key}?`, by("day-told"), () => trigger(dag, { date })));
  return buttons.get(key);
}

export function drawDays({ days }) {
  if (!days) return;
  if (!days.length) {
    fill(by("day-list"), el("p.quiet.empty", {}, "No day yet."));
    return;
  }
  const known = new Map(days.map((day) => [Date.parse(day.date), day]));
  const last = Math.max(...known.keys());
  const end = last + (6 - weekday(last)) * DAY;
  const most = Math.max(1, ...days.map((day) => day.lines || 0));
  const weeks = [];
  for (let monday = end - (WEEKS * 7 - 1) * DAY; monday <= end; monday += 7 * DAY) {
    const cells = [0, 1, 2, 3, 4, 5, 6].map((number) => {
      const day = known.get(monday + number * DAY);
      const level = day ? Math.ceil(4 * Math.sqrt((day.lines || 0) / most)) : 0;
      const shown = day ? { "data-state": day.state, "data-level": level, "data-mended": day.is_mended, title: told(day) } : {};
      return day?.report ? tab("a.day", { ...shown, href: day.report, tabindex: -1 }) : el("span.day", shown);
    });
    const first = new Date(monday + 6 * DAY);
    weeks.push(el("div.week", {}, el("span.month", {}, first.getUTCDate() <= 7 ? MONTHS[first.getUTCMonth()] : ""), ...cells));
  }
  const rows = days.slice(-LATEST).reverse().map((day) => el("tr", { title: told(day) },
    el("th", { scope: "row" }, day.report ? tab("a", { href: day.report }, day.date) : day.date), el("td.number", {}, short(day.lines)), el("td.number", {}, bytes(day.size_bytes)),
    el("td", {}, el("span.badge", { "data-state": day.state }, day.state), day.is_mended && el("span.badge", { "data-state": "mended" }, "mended"), day.state === "over" && button("Seal", "hdfs_partitions", day.date), day.state !== "forgotten" && button("Repair", "repair_day", day.date))));
  fill(by("day-list"),
    el("div.calendar", { "aria-hidden": "true" }, el("div.week.weekdays", {}, el("span.month", {}), ...WEEKDAYS.map((name) => el("span", {}, name))), ...weeks),
    el("table", {}, el("thead.unseen", {}, el("tr", {}, ...["day", "lines", "size", "state"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...rows)));
  fill(by("day-keys"), ...["open", "over", "sealed", "forgotten"].map((state) => el("span", { title: STATES[state] }, el("span.day", { "data-state": state, "data-level": state === "forgotten" ? 0 : 2 }), state)));
}
