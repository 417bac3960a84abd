// The origin: every path answers with 2 KB that may be stored, but /stale, which fails. It counts.
const BODY = "x".repeat(2048);
let requests = 0;

export default {
  fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === "/-/count") {
      return new Response(String(requests));
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
      },
    });
  },
};
