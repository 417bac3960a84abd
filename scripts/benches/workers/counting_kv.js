// A KV namespace, over the protocol of the KV binding, that counts what is billed: a bulk get by its keys.
const METADATA = "CF-KV-Metadata";
let reads = 0;
let writes = 0;

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const key = decodeURIComponent(url.pathname.slice(1));
    if (key === "-/count") {
      return Response.json({ reads, writes });
    }
    if (request.method === "POST") {
      const { keys, type } = await request.json();
      reads += keys.length;
      return Response.json(Object.fromEntries(await env.CACHE.get(keys, { type })));
    }
    return request.method === "PUT" ? write(key, url, request, env.CACHE) : read(key, env.CACHE);
  },
};

async function read(key, kv) {
  reads += 1;
  const { value, metadata } = await kv.getWithMetadata(key, "arrayBuffer");
  if (value === null) {
    return new Response("", { status: 404 });
  }
  return new Response(value, { headers: metadata ? { [METADATA]: JSON.stringify(metadata) } : {} });
}

async function write(key, url, request, kv) {
  writes += 1;
  const metadata = request.headers.get(METADATA);
  await kv.put(key, await request.arrayBuffer(), {
    expirationTtl: Number(url.searchParams.get("expiration_ttl")) || undefined,
    metadata: metadata ? JSON.parse(metadata) : undefined,
  });
  return new Response("");
}
