// Ask workerd's inspector how much a Worker's heap holds: node heap_usage.mjs <address of the inspector> <worker>
const [address, worker] = process.argv.slice(2);
const targets = await (await fetch(`http://${address}/json`)).json();
const { webSocketDebuggerUrl } = targets.find(({ id }) => id === worker);
const socket = new WebSocket(webSocketDebuggerUrl);
socket.onopen = () => socket.send(JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" }));
socket.onmessage = ({ data }) => {
  const { id, result } = JSON.parse(data);
  if (id !== 1) return;
  console.log(JSON.stringify(result));
  process.exit();
};
