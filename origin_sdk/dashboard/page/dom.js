// Elements out of data, and a page that changes only where the data did: focus, scroll and selection stay.

// h("td.number", {title: "…"}, "text", child, …): text is always text, never markup.
export function h(kind, attributes, ...children) {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value != null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

// Make the children of `root` be `wanted`, keeping every node that can stay.
export function put(root, ...wanted) {
  const box = document.createElement("div");
  box.append(...wanted.flat(Infinity).filter((child) => child != null && child !== false));
  morphChildren(root, box);
}

function morphChildren(old, fresh) {
  const next = [...fresh.childNodes];
  next.forEach((node, at) => {
    const known = old.childNodes[at];
    if (!known) old.append(node);
    else if (known.nodeName !== node.nodeName || known.nodeType !== node.nodeType) known.replaceWith(node);
    else morph(known, node);
  });
  while (old.childNodes.length > next.length) old.lastChild.remove();
}

function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morphChildren(old, fresh);
}

// Backticks become code, and links their text: the documents aren't here.
export function prose(markdown) {
  const text = markdown.replace(/\[([^\]]+)\]\([^)]*\)/g, "$1");
  return text.split("`").map((part, at) => (at % 2 ? h("code", null, part) : part));
}
