// The origin: every path answers with 2 KB that may be stored, but /stale, which fails, and /keys. It counts.
const BODY = JSON.stringify({ data: "x".repeat(2037) });
let requests = 0;

export default {
  fetch(request, env) {
    const { pathname: path, searchParams: query } = new URL(request.url);
    if (path === "/-/count") {
      return new Response(String(requests));
    }
    if (path === "/keys") {
      return Response.json({ keys: env.KEYS });
    }
    requests += 1;
    if (path === "/stale") {
      return new Response("", { status: 503 });
    }
    return new Response(BODY, {
      headers: {
        "content-type": "application/json",
        etag: '"v1"',
        "cache-control": "public, max-age=86400",
        "cache-groups": `"products", "product${path}"`,
        date: new Date().toUTCString(),
        "x-request-id": "5d41402abc4b2a76",
        ...(query.has("ref") && { "no-vary-search": 'params=("ref")' }),
      },
    });
  },
};
