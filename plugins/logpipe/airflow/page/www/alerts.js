// Alerts: those that stand, then those that are over, the newest first.

import { by, el, fill, say } from "./dom.js";
import { count, duration, instant } from "./format.js";

function row(alert) {
  const over = alert.resolved_at_s !== null;
  // Times are those of what the alert is about: a log that is replayed has its own.
  const when = over ? `${instant(alert.fired_at_s)}, for ${duration(alert.resolved_at_s - alert.fired_at_s)}` : `since ${instant(alert.fired_at_s)}`;
  return el("tr", { title: `Alert ${alert.number}, found ${instant(alert.seen_at_s)}` },
    el("td", {}, el("span.badge", { "data-state": over ? "resolved" : alert.severity }, over ? "resolved" : alert.severity)),
    el("th", { scope: "row" }, alert.title), el("td", {}, alert.told), el("td.quiet", {}, when));
}

export function drawAlerts({ firing, history, untold, notifiers, is_watched: isWatched, error }) {
  const told = [];
  if (error) told.push(`The rules cannot work, so the last ones count: ${error}`);
  if (!isWatched) told.push("Nobody in Airflow asks for alerts: is watch_logs paused, does the triggerer work?");
  say(by("alert-told"), told.join(" "));
  const sent = notifiers ? `sent by ${count(notifiers)} notifier${notifiers > 1 ? "s" : ""}` : "sent to nobody: LOGPIPE_ALERTS_FILE names no notifier";
  say(by("alert-note"), untold ? `${sent}; ${count(untold)} not sent yet` : sent);
  const rows = [...firing, ...history].map(row);
  fill(by("alert-list"), rows.length === 0
    ? el("p.quiet.empty", {}, "No alert yet.")
    : el("table", {}, el("thead.unseen", {}, el("tr", {}, ...["state", "alert", "what was found", "when"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...rows)));
}
