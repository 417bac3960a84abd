// A JavaScript Worker that reads KV on each request and answers. POST /fill puts what the bench reads.
const READ = { type: "stream", cacheTtl: 60 };

export default {
  async fetch(request, env) {
    const path = new URL(request.url).pathname;
    if (request.method === "POST" && path === "/fill") {
      return fill(await request.json(), env.CACHE);
    }
    const found = await env.CACHE.getWithMetadata("plain/" + path.slice(path.lastIndexOf("/") + 1), READ);
    return new Response(found.value, { headers: { "content-type": "application/json" } });
  },
};

async function fill({ prefix, from, to, value, metadata }, kv) {
  for (let at = from; at < to; at += 50) {
    const keys = Array.from({ length: Math.min(50, to - at) }, (_, i) => prefix + (at + i));
    await Promise.all(keys.map((key) => kv.put(key, value, { metadata })));
  }
  return new Response("filled");
}
