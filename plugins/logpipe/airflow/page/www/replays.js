// Replays: how far each is, and what it waits for. To start one is a run in Airflow, in the reader's name.

import { carefully, trigger } from "./actions.js";
import { by, el, fill, say } from "./dom.js";
import { count, duration, instant, rate, seconds, short } from "./format.js";

const MAX = 6;
const last = (url) => decodeURIComponent(url.split(/[?#]/)[0].split("/").filter(Boolean).at(-1) || url);

export function drawReplays({ replays, kept, folded }) {
  by("replay-stop").hidden = !replays.some((each) => each.state === "running");
  if (!replays.length) {
    fill(by("replay-list"), el("p.quiet.empty", {}, folded ? `${count(folded)} replays, all sealed long ago.` : "Nothing was replayed yet."));
    return;
  }
  const rest = kept + folded - Math.min(MAX, replays.length);
  fill(by("replay-list"), ...replays.slice(0, MAX).map(row),
    rest > 0 && el("p.quiet", {}, `and ${count(rest)} before`));
}

function row(each) {
  const percent = each.share === null ? null : Math.floor(100 * each.share);
  const isRunning = each.state === "running";
  const facts = [
    isRunning ? each.per_s !== null && `${rate(each.per_s)} lines/s` : instant(seconds(each.started_at)),
    isRunning && each.left_s !== null && `${duration(each.left_s)} left`,
    isRunning ? each.pace : each.finished_at && `took ${duration(seconds(each.finished_at) - seconds(each.started_at))}`,
    each.set_aside > 0 && `${count(each.set_aside)} set aside`,
  ].filter(Boolean);
  return el("article.replay", { "data-state": each.state, title: each.id },
    el("div.bar", {}, el("b.cut", { title: each.url }, last(each.url)), el("span.grow", {}),
      el("span", {}, `${short(each.lines)} lines`), el("span.badge", { "data-state": each.sealed_at ? "sealed" : each.state }, each.sealed_at ? "sealed" : each.state)),
    isRunning && el("progress", percent === null ? { "aria-label": "progress, not known" } : { max: 100, value: percent, "aria-label": "progress" }),
    el("p.quiet", {}, facts.join(" · ")),
    each.waits_for && el("p.quiet", {}, `waits for ${each.waits_for}`),
    each.reason && el("p.bad", {}, each.reason));
}

/** Wire up the form that starts one. */
export function setUpReplays() {
  const dialog = by("replay-dialog");
  const stop = carefully("Stop", "Stop all replays?", by("replay-told"), () => trigger("stop_pipeline", { service: "replayer" }));
  stop.id = "replay-stop";
  by("replay-new").before(stop);
  by("replay-new").onclick = () => {
    say(by("replay-state"), "");
    dialog.showModal();
  };
  by("replay-close").onclick = () => dialog.close();
  by("replay-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
    if (values.limit) values.limit = Number(values.limit);
    say(by("replay-state"), "Asking …");
    say(by("replay-state"), await trigger("replay_log", values));
  });
}
