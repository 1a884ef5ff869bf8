// Renders the OpenAPI document; no library, nothing from other servers.
const element = (name, text) => Object.assign(document.createElement(name), { textContent: text ?? "" });

const resolve = (doc, node, depth = 0) => {
  if (!node || typeof node !== "object" || depth > 6) return node;
  if (node.$ref) return resolve(doc, node.$ref.slice(2).split("/").reduce((at, key) => at?.[key], doc), depth + 1);
  if (Array.isArray(node)) return node.map((item) => resolve(doc, item, depth + 1));
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, resolve(doc, value, depth + 1)]));
};

const operation = (doc, method, path, op) => {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("b", method.toUpperCase()), path);
  details.append(summary, element("p", [op.summary, op.description].filter(Boolean).join("\n")));
  const schema = op.requestBody?.content?.["application/json"]?.schema;
  const shown = { parameters: op.parameters, body: schema, responses: Object.keys(op.responses ?? {}) };
  details.addEventListener("toggle", () => {
    if (!details.querySelector("pre")) details.append(element("pre", JSON.stringify(resolve(doc, shown), null, 2)));
  });
  return details;
};

const show = async () => {
  const main = document.getElementById("routes");
  const doc = await (await fetch("/api/openapi.json")).json();
  const groups = {};
  for (const [path, item] of Object.entries(doc.paths))
    for (const [method, op] of Object.entries(item)) (groups[op.tags?.[0] ?? "server"] ??= []).push(operation(doc, method, path, op));
  main.replaceChildren();
  for (const [name, rows] of Object.entries(groups)) main.append(element("h2", name), ...rows);
};

show().catch((error) => (document.getElementById("routes").textContent = `The document could not be read: ${error}`));
