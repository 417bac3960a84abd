// Stands in for a shield that fails, in the way that the path names.
export default {
  async fetch(request) {
    const way = new URL(request.url).pathname.split("/")[1];
    const told = { "Edge-Shield": `birth=${Date.now()}&later=1`, "Cache-Control": "public, max-age=600" };
    if (way === "hangs") await new Promise(() => {});
    if (way === "throws") throw new Error("away");
    if (way === "errs") return new Response("no shield", { status: 500 });
    if (way === "mistells") return new Response("no shield", { headers: { ...told, "Edge-Shield": "birth=x" } });
    if (way === "breaks-off") {
      const { readable, writable } = new FixedLengthStream(100);
      const writer = writable.getWriter();
      writer.write(new TextEncoder().encode("half"));
      setTimeout(() => writer.abort(new Error("broken")), 20);
      return new Response(readable, { headers: told });
    }
    return new Response("of the shield", { headers: told });
  },
};
