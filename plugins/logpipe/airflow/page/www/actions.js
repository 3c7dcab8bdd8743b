// What can be done from here is a run in Airflow, with the reader's own rights: Airflow says who may.

import { el, say } from "./dom.js";

const SURE_FOR = 5000; // ms

/** Trigger a DAG; gives what came of it, in words. */
export async function trigger(dag, conf) {
  try {
    const answer = await fetch(`../api/v2/dags/${dag}/dagRuns`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ logical_date: null, conf }),
    });
    if (answer.status === 403) return "Your user may see runs, but not start them.";
    if (answer.status === 401) return "You are logged out.";
    const body = await answer.json();
    if (answer.ok) return `Run ${body.dag_run_id} of ${dag} is ${body.state}.`;
    return typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail);
  } catch {
    return "Airflow does not answer.";
  }
}

/** A button that asks once more before it acts; `told` shows what came of it. */
export function carefully(text, question, told, act) {
  let timer = 0;
  const button = el("button", {
    type: "button",
    async onclick() {
      if (!timer) {
        say(button, question);
        timer = setTimeout(calm, SURE_FOR);
        return;
      }
      calm();
      say(told, "Asking …");
      say(told, await act());
    },
  }, text);
  function calm() {
    clearTimeout(timer);
    timer = 0;
    say(button, text);
  }
  return button;
}
