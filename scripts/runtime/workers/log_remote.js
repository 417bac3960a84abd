// A binding that looks like a namespace of Durable Objects, which a door in another process leads to.
export default function (env) {
  const within = (jurisdiction) => ({
    jurisdiction: within,
    idFromName: (name) => name,
    get: (name) => ({
      fetch: (url, init) => {
        const request = new Request(url, init);
        request.headers.set("log-object", name + (jurisdiction && ` in ${jurisdiction}`));
        return env.door.fetch(request);
      },
    }),
  });
  return within("");
}
