// Makes elements. Texts are always set as text: nothing that a log holds is ever read as markup.

// They steer the text around them, or show nothing: a log may hold them to have a row read otherwise.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** A text that shows what it holds. */
export const visible = (text) => String(text).replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** An element: `el("button.plain", {type: "button", onclick: f}, "text", child)`. */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([key, each]) => made.style.setProperty(key, each));
    else made.setAttribute(name, value === true ? "" : value);
  }
  const shown = children.filter((child) => child !== null && child !== undefined && child !== false);
  made.append(...shown.map((child) => (typeof child === "string" ? visible(child) : child)));
  return made;
}

export const by = (id) => document.getElementById(id);

/** Replace what an element holds; keeps the keyboard where it was, by `data-key`. */
export function fill(parent, ...children) {
  const held = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  parent.replaceChildren(...children.filter(Boolean));
  if (held) parent.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
}

/** Set a text where it changed: a screen reader is not told the same again. */
export function say(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

/** A link to one of Airflow's own pages. This page's frame may not move the window, but Airflow's router hears this. */
export function link(path, text) {
  const url = new URL(`../${path}`, location.href);
  return el("a", {
    href: url.pathname,
    target: "_blank",
    onclick(event) {
      if (parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      parent.history.pushState(null, "", url.pathname);
      parent.dispatchEvent(new PopStateEvent("popstate"));
    },
  }, text);
}

/** A link that opens another tab. This page's frame may open none, but a link of the window around it may. */
export function tab(what, attributes, ...children) {
  return el(what, {
    ...attributes,
    target: "_blank",
    onclick(event) {
      if (parent === window) return;
      event.preventDefault();
      const around = parent.document.createElement("a");
      Object.assign(around, { href: event.currentTarget.href, target: "_blank", rel: "noopener" });
      around.click();
    },
  }, ...children);
}
