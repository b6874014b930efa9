// Sends datagrams to echo servers, and says from where they came back: node's dgram,
// of which libuv sends and receives several at a time.
import dgram from "node:dgram";

const echo = (host) => new Promise((resolve, reject) => {
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  const back = [];
  socket.on("error", reject);
  socket.on("message", (data, from) => {
    back.push(`${data} ${from.address} ${from.port}`);
    if (back.length === 5) {
      socket.close();
      resolve(back.sort());
    }
  });
  for (let i = 0; i < 5; i++) socket.send(`message ${i}`, 7, host);
});

for (const host of process.argv.slice(2)) {
  for (const line of await echo(host)) console.log(line);
}
