// The sentence and the stations: where lines are, and whether all is well.

import { by, el, fill, link, say } from "./dom.js";
import { clock, count, duration, instant, rate, seconds, short } from "./format.js";

const TITLES = {
  source: "Source", agent1: "Agent 1", topic: "Topic", agent2: "Agent 2", hdfs: "HDFS", windows: "Windows",
};
const WORDS = { well: "well", late: "late", away: "does not answer", stopped: "stopped", unknown: "not known" };
const TASKS = { agent_1: "agent1", agent_2: "agent2", spark_job: "windows" };
const heals = new Map(); // station -> its newest heal
let shown = null;

/** *n lines sent, lost 0, doubled 0, in flight k*. */
export function drawSentence(found) {
  const mark = by("sentence-mark");
  if (!found) {
    mark.dataset.state = "unknown";
    say(by("sentence-text"), "It is not known yet whether any line is missing");
    say(by("sentence-note"), "Nothing was added up yet: the accounting follows, once there is a topic.");
    by("sentence-more").hidden = true;
    return;
  }
  const { source, lost, doubled, in_flight: flight } = found;
  mark.dataset.state = !found.is_exact ? "bad" : found.unfinished.length ? "late" : "well";
  fill(by("sentence-text"),
    el("b", {}, count(source)), " lines sent, ", el("span.part", {}, "lost ", el(lost ? "b.bad" : "b", {}, count(lost)), ","), " ",
    el("span.part", {}, "doubled ", el(doubled ? "b.bad" : "b", {}, count(doubled)), ","), " ",
    el("span.part", {}, "in flight ", el("b", {}, count(flight))));
  fill(by("sentence-note"), `Added up at ${clock(found.at)}: ${count(found.topic)} lines in the topic, ` +
    `${count(found.hdfs)} in HDFS, ${count(found.windows)} in the windows. `, link("dags/replay_log", "Its runs"));
  const told = [...found.problems, ...found.details.filter((text) => !found.problems.includes(text))];
  by("sentence-more").hidden = told.length === 0;
  fill(by("sentence-details"), el("ul", {}, ...told.map((text) => el("li", {}, text))));
}

/** The stations in the direction of the flow. */
export function drawFlow(body) {
  shown = body;
  fill(by("flow-list"), ...body.stations.map(station));
}

function station(each) {
  const facts = [];
  if (each.behind !== null) {
    facts.push(each.behind === 0 ? "nothing behind" :
      `${short(each.behind)} behind${each.behind_s ? `, ${duration(each.behind_s)}` : ""}`);
  }
  if (each.name === "source") facts.push(each.running ? `${count(each.running)} replay${each.running > 1 ? "s" : ""} running` : "nothing is sent");
  if (each.name === "agent1" && each.held !== null) facts.push(each.held ? `${short(each.held)} in memory` : "holds nothing");
  if (each.name === "topic" && each.held !== null) facts.push(`holds ${short(each.held)}`);
  if (each.name === "hdfs" && each.not_final) facts.push(`${short(each.not_final)} in open files`);
  if (each.name === "windows" && each.commit) facts.push(`commit ${count(each.commit.step)}, ${clock(seconds(each.commit.committed_at))}`);
  if (each.name === "windows" && each.late_lines) facts.push(`${short(each.late_lines)} came late`);
  const heal = heals.get(each.name);
  if (heal) facts.push(el("span", { title: heal.reason }, `healed ${instant(seconds(heal.at))}: ${heal.reason}`));
  const process = each.process?.began ? `${each.process.name} since ${instant(each.process.began)}` : each.process?.name;
  return el("li.station", { "data-state": each.state, "data-moves": each.per_s > 0, title: each.why || process },
    el("h3", {}, el("i.dot", { "aria-hidden": "true" }), TITLES[each.name],
      el("span.state", {}, each.state === "well" ? el("span.unseen", {}, WORDS.well) : WORDS[each.state])),
    el("p.big", {}, rate(each.per_s), el("small", {}, " lines/s")),
    el("p.sum", {}, each.lines === null ? " " : `${count(each.lines)} lines`),
    ...facts.map((text) => el("p.quiet", {}, text)));
}

/** Ask Airflow, with the reader's own rights, what its supervision has healed. */
export function watchHeals(every) {
  const look = async () => {
    if (!document.hidden) {
      try {
        await askHeals();
        if (shown) drawFlow(shown);
      } catch {
        // Airflow is away, or the reader may not see it: the page says so elsewhere.
      }
    }
    setTimeout(look, every * 1000);
  };
  look();
}

async function askHeals() {
  const dag = "../api/v2/dags/stream_services/dagRuns";
  const get = async (path) => {
    const answer = await fetch(path, { signal: AbortSignal.timeout(10000) });
    return answer.ok ? answer.json() : null;
  };
  const runs = await get(`${dag}?limit=1&order_by=-run_after`);
  const run = runs?.dag_runs?.[0]?.dag_run_id;
  if (!run) return;
  const base = `${dag}/${encodeURIComponent(run)}/taskInstances`;
  const answers = await Promise.all(Object.keys(TASKS).map((task) => get(`${base}/${task}/xcomEntries?limit=20`)));
  for (const [index, [task, name]] of Object.entries(TASKS).entries()) {
    if (!answers[index]?.xcom_entries?.some((entry) => entry.key === "heals")) continue;
    const found = await get(`${base}/${task}/xcomEntries/heals?deserialize=false`);
    const value = typeof found?.value === "string" ? JSON.parse(found.value) : found?.value;
    const last = Array.isArray(value) ? value.at(-1) : null;
    if (last) heals.set(name, last);
  }
}
