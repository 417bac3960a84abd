// An origin whose responses all differ, each of a group of its own.
export default {
  fetch(request) {
    const group = new URL(request.url).pathname.slice(1).replaceAll("/", "-") || "root";
    const fields = { "cache-control": "max-age=3600", "cache-tag": group };
    return new Response(`${Date.now()} ${Math.random()}`, { headers: fields });
  },
};
