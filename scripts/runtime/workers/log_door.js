// Lets Workers of another process reach the Durable Objects of this one: the header says which.
export default {
  fetch(request, env) {
    const name = request.headers.get("log-object");
    return env.PURGE_LOG.get(env.PURGE_LOG.idFromName(name)).fetch(request);
  },
};
