// Puts the page together: what is asked, how often, and what is said when there is no answer.

import { drawAlerts } from "./alerts.js";
import { drawDays } from "./days.js";
import { by, el, fill, say } from "./dom.js";
import { drawFlow, drawSentence, watchHeals } from "./flow.js";
import { clock } from "./format.js";
import { Poll } from "./poll.js";
import { drawReplays, setUpReplays } from "./replays.js";
import { followTheme } from "./theme.js";
import { Traffic } from "./traffic.js";

const FAST = 3, SLOW = 10, SLOWEST = 30; // seconds
const failures = new Map(); // question -> what is said of it
const away = new Map(); // question -> sources that do not answer
let since = 0;

const SOURCES = {
  ledger: "the records of the replays", topic: "Kafka", agent1: "agent 1", agent2: "agent 2", hdfs: "HDFS",
  windows: "the windows on HDFS", days: "the days on HDFS", accounting: "the accounting", processes: "the process host", room: "the disks",
};

function tell() {
  const bar = by("alert-bar");
  const failed = [...failures.values()];
  const sources = Object.assign({}, ...away.values());
  const stopped = new Set(["agent1", "agent2", "airflow"]); // the last is asked for heals only
  const names = Object.keys(sources).filter((name) => !stopped.has(name));
  document.body.classList.toggle("stale", failed.length > 0);
  if (failed.length) {
    since ||= Date.now() / 1000;
    const loggedOut = failed.some((each) => each.loggedOut);
    const text = `${failed[0].error}. The figures are those of ${clock(since)}.`;
    if (bar.dataset.text === text && !bar.hidden) return;
    bar.dataset.text = text;
    fill(bar, el("span", {}, text), loggedOut &&
      el("button", { type: "button", onclick: () => parent.location.reload() }, "Log in again"));
  } else if (names.length) {
    since = 0;
    const oldest = Math.min(...names.map((name) => sources[name].at));
    const text = `No answer from ${names.map((name) => SOURCES[name] || name).join(", ")}` +
      (oldest ? `; what is told of ${names.length > 1 ? "them" : "it"} is of ${clock(oldest)}.` : ".");
    if (bar.dataset.text !== text || bar.hidden) {
      bar.dataset.text = text;
      fill(bar, el("span", { title: names.map((name) => sources[name].error).join("\n") }, text));
    }
  } else since = 0;
  bar.hidden = !(failed.length || names.length);
}

function question(name, path, seconds, draw) {
  return new Poll(path, seconds, {
    got(body) {
      failures.delete(name);
      away.set(name, body.away || {});
      draw(body);
      tell();
    },
    same() {
      if (failures.delete(name)) tell();
    },
    failed(found) {
      failures.set(name, found);
      tell();
    },
  });
}

followTheme(() => traffic.redraw());
const traffic = new Traffic(() => polls.traffic.now());
question("flow", () => "api/flow", FAST, (body) => {
  drawSentence(body.accounting);
  drawFlow(body);
});
const polls = { traffic: question("traffic", () => traffic.path(), FAST, (body) => traffic.draw(body)) };
setUpReplays();
question("replays", () => "api/replays", SLOW / 2, drawReplays);
question("alerts", () => "api/alerts", FAST, drawAlerts);
question("days", () => "api/days", SLOWEST, drawDays);
watchHeals(SLOW);
say(document.querySelector("title"), "Logs");
