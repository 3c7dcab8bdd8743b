// From a number to its lines: a hundred at a time, as text, whatever bytes they have.

import { by, el, fill, say } from "./dom.js";
import { count, instant } from "./format.js";
import { once } from "./poll.js";

let asked = null;
let cursor = null;
let searched = 0;
let shown = 0;

/** Open the lines of a range, of a dimension's key or of a status class. */
export function showLines(question) {
  asked = question;
  cursor = null;
  searched = shown = 0;
  const what = question.dimension ? `${question.dimension} ${question.key}` : question.class || "all requests";
  say(by("lines-title"), `Lines: ${what}`);
  say(by("lines-note"), `Windows from ${instant(question.from)} to ${instant(question.to)}`);
  fill(by("lines-list"));
  say(by("lines-query"), "");
  by("lines-dialog").showModal();
  more();
}

async function more() {
  const mine = asked;
  by("lines-more").hidden = true;
  say(by("lines-state"), searched ? `Reading on, ${count(searched)} lines were read …` : "Reading …");
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== "" && value !== undefined));
  if (cursor) query.set("cursor", cursor);
  try {
    const found = await once(`api/lines?${query}`);
    if (mine !== asked) return;
    cursor = found.cursor;
    searched += found.searched;
    shown += found.lines.length;
    by("lines-list").append(...found.lines.map(row));
    say(by("lines-query"), found.query);
    const notes = [`${count(shown)} lines of ${count(searched)} that were read, from ${found.source}`, ...found.notes];
    say(by("lines-state"), `${notes.join(". ")}.`);
    by("lines-more").hidden = !cursor;
    if (cursor && shown === 0) more(); // none yet: search on
  } catch (error) {
    if (mine === asked) say(by("lines-state"), error.message);
  }
}

function row(line) {
  return el("li", { title: line.place },
    el("code", {}, ...line.text.map(([text, isByte]) => (isByte ? el("span.byte", {}, text) : text))),
    line.cut > 0 && el("span.quiet", {}, ` … ${count(line.cut)} bytes more`));
}

by("lines-more").onclick = more;
by("lines-close").onclick = () => by("lines-dialog").close();
by("lines-dialog").addEventListener("close", () => (asked = null));
by("lines-dialog").addEventListener("click", (event) => event.target === by("lines-dialog") && by("lines-dialog").close());
