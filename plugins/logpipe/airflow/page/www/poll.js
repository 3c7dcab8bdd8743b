// Asks again and again, and takes what has changed. It does not ask while nobody looks.

const LOGGED_OUT = 401;

/** What a question came to: `answer`, or `error` with what it means for the page. */
async function ask(path, tag) {
  let answer;
  try {
    answer = await fetch(path, {
      headers: tag ? { "If-None-Match": tag } : {},
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
  } catch {
    return { error: "Airflow does not answer" };
  }
  if (answer.status === 304) return { same: true };
  if (answer.status === LOGGED_OUT) return { error: "You are logged out", loggedOut: true };
  if (answer.status === 403) return { error: "Your user may not see the pipeline's runs" };
  let body = {};
  try {
    body = await answer.json();
  } catch {
    return { error: `Airflow answers with ${answer.status}` };
  }
  if (!answer.ok) return { error: body.error || body.detail || `HTTP ${answer.status}` };
  return { body, tag: answer.headers.get("ETag") };
}

/** Asks one question once. Throws an error whose message is for people. */
export async function once(path) {
  const { body, error } = await ask(path);
  if (error) throw new Error(error);
  return body;
}

export class Poll {
  /** @param {() => string} path  @param {number} seconds  @param {{got, failed}} to */
  constructor(path, seconds, to) {
    this.path = path;
    this.every = seconds * 1000;
    this.to = to;
    this.asked = "";
    this.round = 0;
    document.addEventListener("visibilitychange", () => document.hidden || this.now());
    this.now();
  }

  /** Ask at once, whatever was asked before. */
  now() {
    clearTimeout(this.timer);
    this.#ask(++this.round);
  }

  async #ask(round) {
    const path = this.path();
    if (path && !document.hidden) {
      const found = await ask(path, path === this.asked ? this.tag : undefined);
      if (round !== this.round) return; // another question came since
      if (found.body) {
        this.tag = found.tag;
        this.asked = path;
        this.to.got(found.body);
      } else if (found.same) this.to.same?.();
      else this.to.failed(found);
    }
    this.timer = setTimeout(() => this.#ask(round), this.every);
  }
}
