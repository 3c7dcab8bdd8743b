// Light or dark as Airflow is, whose page is around this one; or as the system is, where there is none.

/** Follow the theme; `changed` is called after each change. */
export function followTheme(changed) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let root = null;
  try {
    if (parent !== window) root = parent.document.documentElement;
  } catch {
    root = null; // another origin: Airflow is embedded itself
  }
  const apply = () => {
    const known = root && (root.classList.contains("dark") || root.classList.contains("light"));
    const dark = known ? root.classList.contains("dark") : system.matches;
    document.documentElement.classList.toggle("dark", dark);
    changed();
  };
  if (root) new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["class"] });
  system.addEventListener("change", apply);
  queueMicrotask(apply);
}
